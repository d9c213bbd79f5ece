package postgres

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Listener hears one channel. Calls come from one goroutine, in order.
type Listener struct {
	// Up is called when listening has begun, also anew after an outage: whatever
	// was committed before and not announced is visible now.
	Up func(ctx context.Context)
	// Notify is called for each notification.
	Notify func(ctx context.Context, payload string)
	// Down is called when listening broke: changes may go by unheard until Up.
	Down func()
}

// Listen registers a listener, before or while Run runs. All listeners share
// one connection.
func (s *Server) Listen(channel string, l Listener) { s.hub.add(channel, l) }

type hub struct {
	config *pgx.ConnConfig
	log    *slog.Logger

	mu        sync.Mutex
	listeners []*listener
	changed   chan struct{} // holds one token when listeners were added
}

type listener struct {
	Listener
	channel string
	up      bool // owned by run
}

func newHub(config *pgx.ConnConfig, log *slog.Logger) *hub {
	return &hub{config: config.Copy(), log: log, changed: make(chan struct{}, 1)}
}

func (h *hub) add(channel string, l Listener) {
	h.mu.Lock()
	h.listeners = append(h.listeners, &listener{Listener: l, channel: channel})
	h.mu.Unlock()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *hub) all() []*listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.listeners[:len(h.listeners):len(h.listeners)]
}

// run listens until ctx ends, and again after each failure.
func (h *hub) run(ctx context.Context) {
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		if len(h.all()) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-h.changed:
			}
			continue
		}
		began := time.Now()
		err := h.session(ctx)
		for _, l := range h.all() {
			if l.up {
				l.up = false
				l.Down()
			}
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			pause = 100 * time.Millisecond
		}
		h.log.WarnContext(ctx, "listening to the database broke", "err", err, "retry_in", pause.String())
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, 2*time.Second)
	}
}

func (h *hub) session(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, h.config)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(end)
	}()
	if _, err := conn.Exec(ctx, "SET ROLE "+AppRole); err != nil {
		return err
	}
	for {
		for _, l := range h.all() {
			if l.up {
				continue
			}
			if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{l.channel}.Sanitize()); err != nil {
				return err
			}
			l.up = true
			l.Up(ctx)
		}
		note, err := h.wait(ctx, conn)
		switch {
		case err != nil:
			return err
		case note == nil:
			// Quiet, or a listener came: a statement shows whether the other end lives.
			ping, cancel := context.WithTimeout(ctx, 5*time.Second)
			err := conn.Ping(ping)
			cancel()
			if err != nil {
				return err
			}
		default:
			for _, l := range h.all() {
				if l.up && l.channel == note.Channel {
					l.Notify(ctx, note.Payload)
				}
			}
		}
	}
}

// wait returns the next notification, or nil after half a minute of quiet or
// when a listener was added.
func (h *hub) wait(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	quiet, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-h.changed:
			cancel()
		case <-done:
		}
	})
	note, err := conn.WaitForNotification(quiet)
	close(done)
	watching.Wait()
	if err != nil && ctx.Err() == nil && quiet.Err() != nil && !conn.IsClosed() {
		return nil, nil
	}
	if err != nil && ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), err)
	}
	return note, err
}
