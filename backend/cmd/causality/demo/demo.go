// Package demo makes the sample shop: 90 days of invented visits up to now, and
// live ones after that. Each day follows from its number alone, so that seeding
// can be killed, repeated and continued on later starts.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causality-project/causality/backend/cmd/causality/send"
	eventv1 "github.com/causality-project/causality/proto/gen/causality/event/v1"
	"github.com/causality-project/causality/proto/gen/causality/ingest/v1/ingestv1connect"
)

// App is the name of the sample shop's app.
const App = "demo"

// story is what a later start must know: when the shop opened, and through when
// its events have been sent.
type story struct {
	Start  time.Time `json:"start"`
	SentTo time.Time `json:"sentTo"`
	path   string
}

// loadStory reads the file, or begins a story that has its 90th day today.
func loadStory(dir string, now time.Time) (*story, error) {
	s := &story{path: filepath.Join(dir, "demo.json")}
	content, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		s.Start = now.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1-History)
		s.SentTo = s.Start
		return s, s.save()
	}
	if err != nil {
		return nil, fmt.Errorf("read the demo's story: %w", err)
	}
	if err := json.Unmarshal(content, s); err != nil || s.Start.IsZero() {
		return nil, fmt.Errorf("%s is damaged; remove the demo's directory to begin anew", s.path)
	}
	return s, nil
}

func (s *story) save() error {
	content, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write the demo's story: %w", err)
	}
	if err := os.WriteFile(s.path+".new", append(content, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the demo's story: %w", err)
	}
	if err := os.Rename(s.path+".new", s.path); err != nil {
		return fmt.Errorf("write the demo's story: %w", err)
	}
	return nil
}

// Seeding says where to send the history.
type Seeding struct {
	Dir      string // of the demo's data
	Ingest   ingestv1connect.IngestServiceClient
	Version  string
	Progress func(done float64, events int64) // called now and then; required
	Note     func(string)                     // required
}

// Seed sends what is missing between the last start and now, and returns how
// much that was. Killed, it is repeated from where it began: the same events
// have the same ids.
func Seed(ctx context.Context, opts Seeding, now time.Time) (events int64, err error) {
	story, err := loadStory(opts.Dir, now)
	if err != nil {
		return 0, err
	}
	world := NewWorld(story.Start)
	var refused error // the first; Reject is called by one goroutine at a time, and not after Close
	sender := send.New(ctx, send.Options{
		Client: opts.Ingest, App: App, Library: &eventv1.Library{Name: "causality-demo", Version: opts.Version}, Note: opts.Note,
		Reject: func(r send.Rejection) {
			refused = fmt.Errorf("the server refused the demo's event %d: %s", r.Line, r.Message)
		},
	})
	first, last := world.Day(story.SentTo)-1, world.Day(now) // a visit before midnight ends after it
	for day := max(first, 0); day <= last && err == nil; day++ {
		for _, e := range world.Events(day) {
			if e.Time.Before(story.SentTo) || !e.Time.Before(now) {
				continue
			}
			events++
			if err = sender.Add(send.Item{Event: e.Message(), Line: events}); err != nil {
				break
			}
		}
		opts.Progress(float64(day-first+1)/float64(last-first+1), events)
	}
	if err := errors.Join(sender.Close(), refused); err != nil {
		return events, err
	}
	story.SentTo = now
	return events, story.save()
}

// Message is the event as the bulk lane takes it.
func (e *Event) Message() *eventv1.Event {
	m := &eventv1.Event{
		Id: e.idText(), Type: eventv1.Type_TRACK, Name: e.Name, Timestamp: timestamppb.New(e.Time), UserId: e.UserID,
		AnonymousId: e.AnonymousID, SessionId: e.SessionID, Groups: e.Groups, Context: e.context(),
	}
	text := propertiesJSON(e.Properties)
	if e.Identify {
		m.Type, m.Name, m.Traits = eventv1.Type_IDENTIFY, "", &eventv1.Traits{Set: text}
	} else {
		m.Properties = text
	}
	return m
}

func (e *Event) context() *eventv1.Context {
	v := e.Visit
	c := &eventv1.Context{Platform: v.Platform}
	if v.Platform == "server" {
		return c
	}
	c.Locale = v.market.locale
	c.Geo = &eventv1.Geo{Country: v.market.country, Region: v.market.region, City: v.market.city}
	c.Os = &eventv1.Os{Name: v.device.os, Version: v.device.osVersion}
	c.Device = &eventv1.Device{Model: v.device.model, Type: v.device.kind}
	c.UserAgent = v.device.userAgent
	if v.AppVersion != "" {
		c.App = &eventv1.App{Version: v.AppVersion}
	}
	if e.Page.Path != "" {
		c.Page = &eventv1.Page{Url: e.pageURL(), Path: e.Page.Path, Title: e.Page.Title, Referrer: v.source.referrer}
	}
	if v.source.utmSource != "" {
		c.Campaign = &eventv1.Campaign{Source: v.source.utmSource, Medium: v.source.utmMedium, Name: v.source.utmCampaign}
	}
	return c
}

func (e *Event) pageURL() string { return "https://shop.example.com" + e.Page.Path }

func (e *Event) idText() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", e.ID[:4], e.ID[4:6], e.ID[6:8], e.ID[8:10], e.ID[10:])
}

func propertiesJSON(properties []Property) string {
	if len(properties) == 0 {
		return ""
	}
	text := []byte{'{'}
	for i, p := range properties {
		if i > 0 {
			text = append(text, ',')
		}
		name, _ := json.Marshal(p.Name) // text and plain numbers always encode
		value, _ := json.Marshal(p.Value)
		text = append(append(append(text, name...), ':'), value...)
	}
	return string(append(text, '}'))
}
