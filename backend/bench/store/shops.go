package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causality-project/causality/backend/cmd/causality/demo"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// perMessage is the events of one request.
const perMessage = 1000

// shops are many copies of the sample shop, each with people of its own, told
// day by day.
type shops struct {
	app    tenancy.App
	world  *demo.World
	copies int

	day    int           // of today
	copied int           // copies of today that were told
	told   int           // events of the next copy that were told
	today  []event.Event // of the first copy
	random *rand.Rand
}

func newShops(days int, events int64, app tenancy.App) *shops {
	start := time.Now().UTC().AddDate(0, 0, -days)
	whole, one := demo.NewWorld(start), int64(0)
	for day := range days {
		one += int64(len(whole.Events(day)))
	}
	s := &shops{app: app, world: demo.NewWorld(start), copies: int((events + one - 1) / one), random: rand.New(rand.NewPCG(1, 2))}
	s.begin(0)
	return s
}

// begin makes a day's events, once for all copies.
func (s *shops) begin(day int) {
	s.day = day
	s.today = s.today[:0]
	for _, e := range s.world.Events(day) {
		s.today = append(s.today, accepted(&e))
	}
}

// next is the next event, of somebody of the copy that it happened in.
func (s *shops) next() event.Event {
	for s.told == len(s.today) {
		s.told, s.copied = 0, s.copied+1
		if s.copied == s.copies {
			s.copied = 0
			s.begin(s.day + 1)
		}
	}
	s.told++
	e := s.today[s.told-1]
	e.UserID, e.AnonymousID, e.SessionID = mine(e.UserID, s.copied), mine(e.AnonymousID, s.copied), mine(e.SessionID, s.copied)
	binary.BigEndian.PutUint64(e.ID[:], uint64(e.TS.UnixMilli())<<16|0x7000|uint64(s.random.Uint32()&0xfff))
	binary.BigEndian.PutUint64(e.ID[8:], s.random.Uint64()&^(3<<62)|1<<63)
	return e
}

// publish puts the next n events into the stream.
func (s *shops) publish(ctx context.Context, into *stream.Stream, n int64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for n > 0 && ctx.Err() == nil {
		batch := &stream.Batch{WorkspaceID: s.app.WorkspaceID, AppID: s.app.ID, Library: "causality-go", LibraryVersion: "1.0.0"}
		for range min(n, perMessage) {
			batch.Events = append(batch.Events, s.next())
		}
		n -= int64(len(batch.Events))
		batch.ReceivedAt = batch.Events[len(batch.Events)-1].TS.Add(time.Second)
		for i := range batch.Events {
			batch.Events[i].ReceivedAt = batch.ReceivedAt
		}
		group.Go(func() error { return into.Publish(ctx, stream.Import, batch) })
	}
	return group.Wait()
}

// accepted is a shop's event as the front door leaves it, but for its id.
func accepted(e *demo.Event) event.Event {
	out := event.Event{Type: event.Track, Name: e.Name, TS: e.Time.UTC().Truncate(time.Microsecond), UserID: e.UserID, AnonymousID: e.AnonymousID, SessionID: e.SessionID}
	properties := make(map[string]any, len(e.Properties))
	for _, p := range e.Properties {
		properties[p.Name] = p.Value
	}
	if e.Identify {
		out.Type, out.Name = event.Identify, ""
		out.Traits = text(map[string]any{"set": properties})
	} else if len(properties) > 0 {
		out.Properties = text(properties)
	}
	if len(e.Groups) > 0 {
		out.Groups = text(e.Groups)
	}
	m := e.Message()
	c := m.GetContext()
	out.Context = event.Context{
		Platform: c.GetPlatform(), OS: c.GetOs().GetName(), OSVersion: c.GetOs().GetVersion(), AppVersion: c.GetApp().GetVersion(),
		DeviceModel: c.GetDevice().GetModel(), DeviceType: c.GetDevice().GetType(), Country: c.GetGeo().GetCountry(), Region: c.GetGeo().GetRegion(),
		City: c.GetGeo().GetCity(), Locale: c.GetLocale(), PageURL: c.GetPage().GetUrl(), PagePath: c.GetPage().GetPath(),
		ReferrerHost: c.GetPage().GetReferrer(), UTMSource: c.GetCampaign().GetSource(), UTMMedium: c.GetCampaign().GetMedium(), UTMCampaign: c.GetCampaign().GetName(),
		Library: "causality-go", LibraryVersion: "1.0.0",
	}
	if c.GetUserAgent() != "" {
		out.Context.Rest = text(map[string]any{"user_agent": c.GetUserAgent()})
	}
	return out
}

func mine(id string, shop int) string {
	if id == "" || shop == 0 {
		return id
	}
	return id + "-" + strconv.Itoa(shop)
}

func text(v any) string {
	out, _ := json.Marshal(v) // text and plain numbers always encode
	return string(out)
}
