package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
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

	day    int // of today
	copied int // copies of today that were told
	told   int // events of the next copy that were told
	today  []demo.Event
	random *rand.Rand
}

func newShops(days int, events int64, app tenancy.App) *shops {
	start := time.Now().UTC().AddDate(0, 0, -days)
	whole, one := demo.NewWorld(start), int64(0)
	for day := range days {
		one += int64(len(whole.Events(day)))
	}
	s := &shops{app: app, world: demo.NewWorld(start), copies: int((events + one - 1) / one), random: rand.New(rand.NewPCG(1, 2))}
	s.today = s.world.Events(0)
	return s
}

// next is the next event and the copy of the shop that it happened in.
func (s *shops) next() (*demo.Event, int) {
	for s.told == len(s.today) {
		s.told, s.copied = 0, s.copied+1
		if s.copied == s.copies {
			s.copied, s.day = 0, s.day+1
			s.today = s.world.Events(s.day)
		}
	}
	s.told++
	return &s.today[s.told-1], s.copied
}

// publish puts the next n events into the stream.
func (s *shops) publish(ctx context.Context, into *stream.Stream, n int64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for n > 0 && ctx.Err() == nil {
		batch := &stream.Batch{WorkspaceID: s.app.WorkspaceID, AppID: s.app.ID, Library: "causality-go", LibraryVersion: "1.0.0"}
		for range min(n, perMessage) {
			e, shop := s.next()
			batch.Events = append(batch.Events, s.event(e, shop))
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

// event is a shop's event as the front door leaves it, of somebody of that copy.
func (s *shops) event(e *demo.Event, shop int) event.Event {
	out := event.Event{Type: event.Track, Name: e.Name, TS: e.Time.UTC().Truncate(time.Microsecond), UserID: mine(e.UserID, shop),
		AnonymousID: mine(e.AnonymousID, shop), SessionID: mine(e.SessionID, shop)}
	binary.BigEndian.PutUint64(out.ID[:], uint64(out.TS.UnixMilli())<<16|0x7000|uint64(s.random.Uint32()&0xfff))
	binary.BigEndian.PutUint64(out.ID[8:], s.random.Uint64()&^(3<<62)|1<<63)
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
	return fmt.Sprintf("%s-%d", id, shop)
}

func text(v any) string {
	out, _ := json.Marshal(v) // text and plain numbers always encode
	return string(out)
}
