package causality_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/causality-project/causality/sdk"
)

func Example() {
	ctx := context.Background()
	c, err := causality.New(causality.Options{Host: server.URL, WriteKey: "wk_0123456789"})
	if err != nil {
		log.Fatal(err)
	}
	err = c.Track(ctx, causality.Event{Name: "signup", UserID: "u1", Properties: causality.Properties{"plan": "pro"}})
	if err := errors.Join(err, c.Close(ctx)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Stats().Sent, "sent")
	// Output: 1 sent
}

// With a queue file, events survive a crash of the process and a server that is
// away for days.
func Example_durable() {
	folder, err := os.MkdirTemp("", "shop") // a service would use a folder like /var/lib/shop
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	options := causality.Options{
		Host:      "http://127.0.0.1:1", // nobody is there
		WriteKey:  "wk_0123456789",
		QueueFile: filepath.Join(folder, "causality.queue"),
		Logger:    slog.New(slog.DiscardHandler), // a service would use slog.Default()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	c, err := causality.New(options)
	if err != nil {
		log.Fatal(err)
	}
	err = c.Track(ctx, causality.Event{Name: "order paid", UserID: "u1"})
	// What is in the file is not lost, and so Close has nothing to complain of.
	if err := errors.Join(err, c.Close(ctx)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Stats().Sent, "sent,", c.Stats().Queued, "queued")

	options.Host = server.URL
	if c, err = causality.New(options); err != nil {
		log.Fatal(err)
	}
	if err := c.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Stats().Sent, "sent after the restart")
	// Output:
	// 0 sent, 1 queued
	// 1 sent after the restart
}

// An import sends faster than any server takes events: WaitForRoom slows it down
// where a service would drop what it cannot keep.
func Example_import() {
	ctx := context.Background()
	c, err := causality.New(causality.Options{
		Host: server.URL, WriteKey: "wk_0123456789", WaitForRoom: true,
		OnError: func(err error) { log.Print(err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	for n := range 10_000 {
		at := time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC)
		if err := c.Track(ctx, causality.Event{Name: "visit", UserID: "u1", Timestamp: at}); err != nil {
			log.Fatal(err)
		}
	}
	if err := c.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Stats().Sent, "sent,", len(c.Stats().Dropped), "reasons for losses")
	// Output: 10000 sent, 0 reasons for losses
}

// Typed events have the names and properties that the server's reports know. Where
// zero is a value, the field is a pointer.
func ExamplePurchaseComplete() {
	ctx := context.Background()
	c, err := causality.New(causality.Options{Host: server.URL, WriteKey: "wk_0123456789"})
	if err != nil {
		log.Fatal(err)
	}
	e := causality.PurchaseComplete{
		OrderID:  "o-4711",
		Revenue:  new(12.5),
		Currency: "EUR",
		Products: []causality.Product{{ProductID: "p1", Quantity: new(2)}},
	}.Event("u1")
	e.SessionID = "s1" // every other field of an event can be set too
	if err := errors.Join(c.Track(ctx, e), c.Close(ctx)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(e.Name, c.Stats().Sent, "sent")
	// Output: purchase_complete 1 sent
}

func ExampleClient_Identify() {
	ctx := context.Background()
	c, err := causality.New(causality.Options{Host: server.URL, WriteKey: "wk_0123456789"})
	if err != nil {
		log.Fatal(err)
	}
	err = c.Identify(ctx, causality.Identity{
		UserID:      "u1",
		AnonymousID: "a-7f3", // what it did before is the user's from now on
		Traits: causality.Traits{
			Set:     causality.Properties{"plan": "pro"},
			SetOnce: causality.Properties{"first_seen": time.Now()},
			Add:     causality.Properties{"logins": 1},
			Unset:   []string{"trial_ends"},
		},
	})
	if err := errors.Join(err, c.Close(ctx)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Stats().Sent, "sent")
	// Output: 1 sent
}

// The events of one request share a correlation id, also with those of the services
// that it calls.
func ExampleMiddleware() {
	prices := httptest.NewServer(causality.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "priced in ", causality.CorrelationID(r.Context()))
	})))
	defer prices.Close()
	client := &http.Client{Transport: causality.Propagate(nil)}

	shop := causality.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Track with r.Context() gives events the id too.
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, prices.URL, nil)
		if err != nil {
			log.Fatal(err)
		}
		answer, err := client.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		defer answer.Body.Close()
		fmt.Println(answer.Header.Get(causality.CorrelationHeader))
	}))
	r := httptest.NewRequest(http.MethodGet, "/cart", nil)
	r.Header.Set(causality.CorrelationHeader, "request-4711")
	shop.ServeHTTP(httptest.NewRecorder(), r)
	// Output: request-4711
}
