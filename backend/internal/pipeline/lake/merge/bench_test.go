package merge

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/parquetv1"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// shop makes a month of events such as the sample shop has, in objects of a
// few days each as the sink and the first merges leave them: visits of people
// who come back, with the pages, products and surroundings of a web shop.
func shop(b testing.TB, total, objects int) []*parquetv1.File {
	random := rand.New(rand.NewPCG(5, 5))
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	span := 30 * 24 * time.Hour / time.Duration(objects)
	var files []*parquetv1.File
	seq := 0
	for n := range objects {
		var rows []parquetv1.Row
		for len(rows) < total/objects {
			who := int(random.ExpFloat64() * float64(total) / 80)
			at := start.Add(time.Duration(n)*span + time.Duration(random.Int64N(int64(span-2*time.Hour)))).Truncate(time.Microsecond)
			rows = append(rows, visit(random, who, at)...)
		}
		for i := range rows {
			rows[i].Seq = int64(seq + i)
		}
		seq += len(rows)
		files = append(files, object(b, rows))
	}
	return files
}

func visit(random *rand.Rand, who int, at time.Time) []parquetv1.Row {
	device := []event.Context{
		{Platform: "web", OS: "macOS", OSVersion: "15.5", Browser: "Safari", DeviceType: "desktop"},
		{Platform: "web", OS: "Windows", OSVersion: "11", Browser: "Chrome", DeviceType: "desktop"},
		{Platform: "ios", OS: "iOS", OSVersion: "18.5", DeviceModel: "iPhone 16", DeviceType: "phone", AppVersion: "3.2.0"},
	}[who%3]
	place := [][4]string{{"DE", "BE", "Berlin", "de-DE"}, {"GB", "ENG", "London", "en-GB"}, {"FR", "IDF", "Paris", "fr-FR"}}[who/3%3]
	device.Country, device.Region, device.City, device.Locale = place[0], place[1], place[2], place[3]
	device.Library, device.LibraryVersion = "causality-js", "1.0.0"
	device.Rest = fmt.Sprintf(`{"screen":{"width":%d,"height":900},"time_zone":"Europe/Berlin","user_agent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15"}`, 1280+who%8*16)
	if who%4 == 0 {
		device.UTMSource, device.UTMMedium, device.UTMCampaign = "newsletter", "email", "weekly"
	} else {
		device.ReferrerHost = "search.example.com"
	}
	session := uuid.Must(uuid.NewRandomFromReader(reader{random})).String()
	var rows []parquetv1.Row
	for range 2 + random.IntN(12) {
		at = at.Add(time.Duration(random.Int64N(int64(90 * time.Second)))).Truncate(time.Millisecond)
		id := uuid.Must(uuid.NewRandomFromReader(reader{random}))
		ms := at.UnixMilli()
		copy(id[:6], []byte{byte(ms >> 40), byte(ms >> 32), byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms)})
		id[6] = id[6]&0x0f | 0x70
		product := random.IntN(500)
		e := &event.Event{
			ID: event.ID(id), Type: event.Track, TS: at, ReceivedAt: at.Add(time.Duration(random.Int64N(int64(10 * time.Second)))).Truncate(time.Microsecond),
			AnonymousID: fmt.Sprintf("%08x-9a3c-4d1e-8f00-%012x", who*2654435761, who), SessionID: session, Context: device,
		}
		if who%3 == 0 {
			e.UserID = fmt.Sprintf("u-%06d", who)
		}
		r := parquetv1.Row{Event: e, UserKey: e.OwnKey()}
		switch random.IntN(8) {
		case 0, 1, 2, 3:
			e.Name, e.Properties = "page_view", fmt.Sprintf(`{"title":"Plant %d","section":"shop"}`, product)
		case 4, 5:
			e.Name = "product_view"
			e.Properties = fmt.Sprintf(`{"product_id":"p-%d","name":"Plant %d","category":"indoor","brand":"Fernhill","price":%d.9,"position":%d}`, product, product, product%60, random.IntN(20))
		case 6:
			e.Name = "add_to_cart"
			e.Properties = fmt.Sprintf(`{"product_id":"p-%d","name":"Plant %d","quantity":%d,"price":%d.9,"cart_value":%d.%02d}`, product, product, 1+random.IntN(3), product%60, random.IntN(200), random.IntN(100))
		default:
			e.Name = "purchase_complete"
			r.Revenue, r.HasRevenue, r.Currency = float64(random.IntN(20000))/100, true, "EUR"
			e.Properties = fmt.Sprintf(`{"order_id":"o-%08d","revenue":%g,"currency":"EUR","items":%d,"payment":"card"}`, random.IntN(1e8), r.Revenue, 1+random.IntN(5))
		}
		if device.Platform == "web" {
			e.Context.PagePath = fmt.Sprintf("/products/%d", product)
			e.Context.PageURL = "https://shop.example.com" + e.Context.PagePath
			if random.IntN(4) == 0 {
				e.Context.PageURL += fmt.Sprintf("?ref=%08x", random.Uint32())
			}
		}
		rows = append(rows, r)
	}
	return rows
}

type reader struct{ random *rand.Rand }

func (r reader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.random.Uint32())
	}
	return len(p), nil
}

// BenchmarkSettle merges a month of events of a shop from loose objects into
// settled ones with all projections.
func BenchmarkSettle(b *testing.B) {
	const rows = 500_000
	inputs := shop(b, rows, 16)
	for _, bench := range []struct {
		name    string
		promote []parquetv1.Promoted
	}{{"plain", nil}, {"promoted", []parquetv1.Promoted{{Name: "product_id"}, {Name: "price", Number: true}}}} {
		b.Run(bench.name, func(b *testing.B) {
			bytes := map[string]int64{}
			job := Job{
				AppID: "app", Inputs: inputs, Settle: true, Zone: time.UTC, Promote: bench.promote, TempDir: b.TempDir(),
				Create: func(_ context.Context, _ *Part, kind string, write func(io.Writer) error) (int64, error) {
					var n counter
					err := write(&n)
					bytes[kind] += int64(n)
					return int64(n), err
				},
			}
			var done int64
			runtime.GC()
			cpu := processorTime()
			for b.Loop() {
				clear(bytes)
				result, err := Run(b.Context(), job)
				if err != nil {
					b.Fatal(err)
				}
				done += result.Rows
			}
			b.ReportMetric(float64(done)/(processorTime()-cpu).Seconds(), "events/cpu-s")
			var all int64
			for _, n := range bytes {
				all += n
			}
			perRun := float64(done) / float64(b.N)
			b.ReportMetric(float64(bytes[Events])/perRun, "B/event")
			b.ReportMetric(float64(all)/float64(bytes[Events]), "bytes-of-all/events")
			for _, kind := range []string{ByEvent, EventDays, UserDays} {
				b.ReportMetric(float64(bytes[kind])/perRun, kind+"-B/event")
			}
		})
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// processorTime is what this process has used, all threads.
func processorTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
