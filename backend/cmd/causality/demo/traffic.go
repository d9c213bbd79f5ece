package demo

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	causality "github.com/causality-project/causality/sdk"
)

const (
	// Somebody who has just opened the demo should see it move: at first visits
	// beyond the story begin every few seconds, later rarely, so that a day with
	// the demo open still looks like the days before.
	lively      = 10 * time.Minute
	livelyEvery = 2 * time.Second
	calmEvery   = 2 * time.Minute
	// extraPace makes the extra visits brisk.
	extraPace = 6

	saveEvery = time.Minute
	flushIn   = 5 * time.Second
)

// Traffic says where live events go.
type Traffic struct {
	Dir      string // of the demo's data
	Host     string // address of the server
	WriteKey string
	Logger   *slog.Logger
}

// Run plays the story as it happens, through the Go SDK like any shop would,
// until ctx ends; then it sends what is queued and remembers the time.
func (t Traffic) Run(ctx context.Context) (err error) {
	started := time.Now()
	story, err := loadStory(t.Dir, started)
	if err != nil {
		return err
	}
	client, err := causality.New(causality.Options{
		Host: t.Host, WriteKey: t.WriteKey, FlushEvery: time.Second, Logger: t.Logger,
		OnReject: func(r causality.Rejection) {
			t.Logger.Warn("the demo's event was refused", "code", r.Code, "message", r.Message)
		},
	})
	if err != nil {
		return fmt.Errorf("start the demo's traffic: %w", err)
	}
	defer func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushIn)
		defer cancel()
		story.SentTo = time.Now()
		err = errors.Join(err, client.Close(limited), story.save())
	}()

	play := newPlay(NewWorld(story.Start), started)
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	for {
		wake := time.NewTimer(time.Until(play.next()))
		select {
		case <-ctx.Done():
			wake.Stop()
			return nil
		case <-save.C:
			wake.Stop()
			story.SentTo = time.Now()
			if err := story.save(); err != nil {
				return err
			}
		case now := <-wake.C:
			for _, e := range play.due(now) {
				if err := tell(ctx, client, e); err != nil && !errors.Is(err, causality.ErrQueueFull) {
					return fmt.Errorf("send the demo's event %s: %w", e.Name, err)
				}
			}
		}
	}
}

// play is the queue of what will happen: the story's own events of today and the
// extra visits, in the order of time.
type play struct {
	world   *World
	started time.Time
	day     int // that is queued
	extra   time.Time
	visits  uint64
	queue   byTime
}

func newPlay(world *World, now time.Time) *play {
	p := &play{world: world, started: now, extra: now, day: world.Day(now)}
	p.enqueue(p.day-1, now) // a visit before midnight ends after it
	p.enqueue(p.day, now)
	return p
}

// next is when something happens.
func (p *play) next() time.Time {
	next := p.extra
	if len(p.queue) > 0 && p.queue[0].Time.Before(next) {
		next = p.queue[0].Time
	}
	if midnight := p.world.Begin(p.day + 1); midnight.Before(next) {
		next = midnight
	}
	return next
}

// due takes what has happened by now.
func (p *play) due(now time.Time) []Event {
	for !p.world.Begin(p.day + 1).After(now) {
		p.day++
		p.enqueue(p.day, p.started)
	}
	for !p.extra.After(now) {
		p.visits++
		for _, e := range p.world.Extra(now, p.visits) {
			e.Time = now.Add(e.Time.Sub(now) / extraPace)
			heap.Push(&p.queue, e)
		}
		pause := calmEvery
		if now.Sub(p.started) < lively {
			pause = livelyEvery
		}
		p.extra = now.Add(pause)
	}
	var due []Event
	for len(p.queue) > 0 && !p.queue[0].Time.After(now) {
		e, _ := heap.Pop(&p.queue).(Event)
		due = append(due, e)
	}
	return due
}

// enqueue adds a day's events from a time on; earlier ones were seeded.
func (p *play) enqueue(day int, from time.Time) {
	for _, e := range p.world.Events(day) {
		if !e.Time.Before(from) {
			heap.Push(&p.queue, e)
		}
	}
}

// tell says it with the SDK's words.
func tell(ctx context.Context, client *causality.Client, e Event) error {
	properties := causality.Properties{}
	for _, p := range e.Properties {
		properties[p.Name] = p.Value
	}
	surroundings := e.sdkContext()
	if e.Identify {
		return client.Identify(ctx, causality.Identity{
			UserID: e.UserID, AnonymousID: e.AnonymousID, Traits: causality.Traits{Set: properties}, Context: surroundings,
		})
	}
	return client.Track(ctx, causality.Event{
		ID: e.idText(), Name: e.Name, UserID: e.UserID, AnonymousID: e.AnonymousID, SessionID: e.SessionID, Groups: e.Groups,
		Properties: properties, Context: surroundings, Timestamp: e.Time,
	})
}

func (e *Event) sdkContext() *causality.Context {
	v := e.Visit
	if v.Platform == "server" {
		return &causality.Context{Platform: v.Platform}
	}
	c := &causality.Context{
		Platform: v.Platform, Locale: v.market.locale, UserAgent: v.device.userAgent, App: causality.App{Version: v.AppVersion},
		Geo:      causality.Geo{Country: v.market.country, Region: v.market.region, City: v.market.city},
		OS:       causality.OS{Name: v.device.os, Version: v.device.osVersion},
		Device:   causality.Device{Model: v.device.model, Type: v.device.kind},
		Campaign: causality.Campaign{Source: v.source.utmSource, Medium: v.source.utmMedium, Name: v.source.utmCampaign},
	}
	if e.Page.Path != "" {
		c.Page = causality.Page{URL: e.pageURL(), Path: e.Page.Path, Title: e.Page.Title, Referrer: v.source.referrer}
	}
	return c
}

type byTime []Event

func (q byTime) Len() int           { return len(q) }
func (q byTime) Less(i, j int) bool { return q[i].Time.Before(q[j].Time) }
func (q byTime) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *byTime) Push(item any) {
	e, _ := item.(Event)
	*q = append(*q, e)
}

func (q *byTime) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
