package mobile

import (
	"errors"
	"testing"
)

// BenchmarkTrack is what the caller of Track waits for: four properties, with a
// queue file and without a network.
func BenchmarkTrack(b *testing.B) {
	c, err := Open(b.TempDir(), &Config{Key: "wk_test"}, sending(func(*Reply) error { return errors.New("the network is down") }), nil)
	if err != nil || !c.AwaitOpen(30_000) {
		b.Fatal(err)
	}
	defer c.Close(1000)
	for b.Loop() {
		p := NewProperties()
		p.PutString("plan", "pro")
		p.PutLong("n", 1)
		p.PutDouble("total", 12.5)
		p.PutBool("first", true)
		if err := c.Track("order_paid", p); err != nil {
			b.StopTimer() // faster than the disk: let it catch up
			_ = c.Flush(30_000)
			b.StartTimer()
		}
	}
}
