package causality_test

import (
	"context"
	"log"
	"log/slog"
	"time"

	"github.com/causality-project/causality/sdk"
)

func Example() {
	c, err := causality.New(causality.Options{Host: "http://127.0.0.1:8080", WriteKey: "wk_…"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(context.Background())
	if err := c.Track(context.Background(), causality.Event{
		Name: "signup", UserID: "u1", Properties: causality.Properties{"plan": "pro"},
	}); err != nil {
		log.Print(err)
	}
}

// With a queue file, events survive a crash of the process and a server that is
// away for days.
func Example_durable() {
	c, err := causality.New(causality.Options{
		Host:      "https://causality.example.com",
		WriteKey:  "wk_…",
		QueueFile: "/var/lib/shop/causality.queue",
		Logger:    slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		log.Print(err)
	}
}

func ExampleClient_Identify() {
	c, err := causality.New(causality.Options{Host: "http://127.0.0.1:8080", WriteKey: "wk_…"})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer c.Close(ctx)
	err = c.Identify(ctx, causality.Identity{
		UserID:      "u1",
		AnonymousID: "a-7f3", // what it did before is the user's from now on
		Traits: causality.Traits{
			Set:     causality.Properties{"plan": "pro"},
			SetOnce: causality.Properties{"first_seen": time.Now()},
			Add:     causality.Properties{"logins": 1},
		},
	})
	if err != nil {
		log.Print(err)
	}
}
