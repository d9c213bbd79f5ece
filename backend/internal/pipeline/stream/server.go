package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const startWait = 30 * time.Second

// connect starts the embedded server or dials the configured one, and readies
// the streams. For servers elsewhere it waits until ctx ends, and says so: the
// processes of an installation start in any order.
func (s *Stream) connect(ctx context.Context) (*link, error) {
	l := &link{alone: s.cfg.URL == "" && !s.cfg.Cluster.on()}
	l.life, l.end = context.WithCancel(context.Background())
	err := s.dial(ctx, l)
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (s *Stream) dial(ctx context.Context, l *link) (err error) {
	options := []nats.Option{
		nats.Name("causality"),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),                 // a publish while disconnected fails at once
		nats.SyncQueueLen(4 * fetchChunkMessages), // the default allocates 512 KiB for each read
	}
	url := s.cfg.URL
	if url == "" {
		if l.server, err = s.startServer(); err != nil {
			return err
		}
		options = append(options, nats.InProcessServer(l.server))
		if !l.alone {
			options = append(options, nats.Token(s.cfg.Cluster.Token))
		}
	} else {
		options = append(options, nats.ReconnectWait(leaderPause), nats.PingInterval(10*time.Second))
	}
	for {
		l.conn, err = nats.Connect(url, options...)
		if err == nil {
			break
		}
		err = fmt.Errorf("connect to the event stream's server: %w", err)
		if l.server != nil || errors.Is(err, nats.ErrAuthorization) || !errors.Is(err, nats.ErrNoServers) && !isNetwork(err) ||
			!s.patient(ctx, "waiting for the event stream's servers at "+hosts(url), err) {
			return err
		}
	}
	if l.js, err = jetstream.New(l.conn, jetstream.WithDefaultTimeout(ackWait)); err != nil {
		return err
	}
	for {
		err = s.create(ctx, l)
		if err == nil || l.alone || !passes(err) || !s.patient(ctx, s.waitingFor(l), err) {
			return err
		}
	}
}

// passes reports whether an error is one of a cluster that is not complete yet,
// or changes its leader.
func passes(err error) bool {
	for _, known := range []error{
		context.DeadlineExceeded, nats.ErrNoResponders, nats.ErrTimeout, nats.ErrDisconnected, nats.ErrConnectionReconnecting,
		nats.ErrReconnectBufExceeded, jetstream.ErrStreamNotFound, // that another replica is about to make
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return isLeaderless(err)
}

// patient pauses, says now and then what it waits for, and reports false when
// ctx has ended.
func (s *Stream) patient(ctx context.Context, what string, err error) bool {
	if now := time.Now(); now.Sub(s.said) > 5*time.Second {
		s.said = now
		s.log.WarnContext(ctx, what, "err", err)
	}
	return pauseFor(ctx, watchEvery/2)
}

// pauseFor waits, and reports false when ctx ends first.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (s *Stream) startServer() (*server.Server, error) {
	dir := s.cfg.Dir
	options := &server.Options{
		ServerName:             "causality",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		SyncAlways:             true,
		MaxPayload:             8 << 20, // the most the server is content with
		DisableJetStreamBanner: true,
		JetStreamMaxMemory:     64 << 20,
		// The streams' own limits bound the disk; a reservation that the disk
		// cannot hold now must not keep a server with little data from starting.
		JetStreamMaxStore: 4*shardsMost*s.cfg.MaxBytes + 4*deadMaxBytes,
	}
	var err error
	if dir, err = s.cfg.Cluster.prepare(dir, options); err != nil {
		return nil, err
	}
	options.StoreDir = dir
	srv, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("start the event stream in %s: %w", dir, err)
	}
	srv.SetLoggerV2(serverLog{s.log}, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(startWait) || !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("start the event stream in %s: the embedded server did not become ready; see the log lines above, and check that the directory is writable and has room%s", dir, s.cfg.Cluster.hint())
	}
	return srv, nil
}

func (l *link) close() {
	l.end()
	if l.conn != nil {
		l.conn.Close()
	}
	if l.server != nil {
		if !l.alone {
			l.server.LameDuckShutdown() // hands leadership over, so that the others need no election
		}
		l.server.Shutdown()
		l.server.WaitForShutdown()
	}
}

// mark stores an empty message in each lane. Its acknowledgement proves that the
// lane takes writes and that everything before it is on disk, too.
func (s *Stream) mark(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeout(ctx, ackWait)
	defer cancel()
	for _, ln := range s.lanes {
		place, err := s.send(ctx, l, ln, nats.Header{}, nil, 0)
		if isFull(err) {
			continue // by its own limit: that is not a broken disk
		}
		if err != nil {
			return fmt.Errorf("write to the %s lane: %w", ln.name, err)
		}
		ln.stored(place, 0)
	}
	return nil
}

func (s *Stream) suspectWrites() {
	select {
	case s.suspect <- struct{}{}:
	default:
	}
}

// watch replaces the embedded server after a write error, since the server
// answers nothing from then on, until ctx ends. A configured server heals
// itself, and the client reconnects. In a cluster only the own server's failure
// is a reason: a majority that is away comes back without us.
func (s *Stream) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		suspected := false
		select {
		case <-ctx.Done():
			return
		case <-s.suspect:
			suspected = true
		case <-tick.C:
			l := s.link.Load()
			suspected = l.server != nil && (!l.alone || s.pending.Load() > 0 && s.Ready(ctx) != nil)
		}
		switch l := s.link.Load(); {
		case suspected && (l.alone || s.failed()):
			s.heal(ctx)
		case suspected && l.server == nil && s.pending.Load() > 0:
			s.elsewhere(ctx, l)
		}
	}
}

// elsewhere goes to another server of the cluster when this one does not get an
// event stored: it may be cut off from the others.
func (s *Stream) elsewhere(ctx context.Context, l *link) {
	err := s.mark(ctx, l)
	if err == nil || ctx.Err() != nil || !l.conn.IsConnected() {
		return
	}
	s.log.WarnContext(ctx, "the event stream's server does not store; trying the next", "server", l.conn.ConnectedAddr(), "err", err)
	if err := l.conn.ForceReconnect(); err != nil {
		s.log.WarnContext(ctx, "the event stream's server could not be left", "err", err)
	}
}

// failed reports whether the embedded server has given up.
func (s *Stream) failed() bool {
	l := s.link.Load()
	return l.server != nil && l.server.Healthz(&server.HealthzOptions{JSEnabledOnly: !l.alone}).StatusCode != 200
}

// slowMarks is how many writes of its own may go unanswered by a server that
// says it is well, before it is restarted all the same: disks do stall.
const slowMarks = 3

var errStopped = errors.New("the embedded server has stopped storing")

// heal checks the suspicion with a write of its own, and reopens the server
// until one succeeds. While the disk is full it leaves the server alone, which
// can still be read and purged.
func (s *Stream) heal(ctx context.Context) {
	unanswered := 0
	for wait := watchEvery / 4; ctx.Err() == nil; wait = min(2*wait, reopenBackoffMost) {
		if s.disk.check() == nil {
			err := s.mark(ctx, s.link.Load())
			alone, failed := s.link.Load().alone, s.failed()
			switch {
			case ctx.Err() != nil, err == nil && (alone || !failed): // in a cluster another server may have answered
				return
			case !failed && !alone:
				return // nothing here is broken: the others are away
			case err == nil:
				err = errStopped
			}
			if unanswered++; unanswered < slowMarks && !failed {
				s.log.WarnContext(ctx, "the event stream is slow to write", "err", err)
				continue
			}
			s.log.ErrorContext(ctx, "the event stream failed to write and is restarted", "err", err)
			err = s.reopen(ctx)
			if err == nil {
				err = s.mark(ctx, s.link.Load())
			}
			if err == nil {
				s.log.InfoContext(ctx, "the event stream works again")
				return
			}
			s.log.ErrorContext(ctx, "restart of the event stream failed; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (s *Stream) reopen(ctx context.Context) error {
	s.link.Load().close()
	l, err := s.connect(ctx)
	if err != nil {
		return err
	}
	s.link.Store(l)
	for _, ln := range s.lanes {
		ln.news.wake()
	}
	return nil
}

// serverLog passes the embedded server's warnings and errors on. Its notices
// are for people who run NATS themselves.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(format string, v ...any) { l.at(slog.LevelDebug, format, v) }
func (l serverLog) Debugf(string, ...any)           {}
func (l serverLog) Tracef(string, ...any)           {}
func (l serverLog) Warnf(format string, v ...any)   { l.at(slog.LevelWarn, format, v) }
func (l serverLog) Errorf(format string, v ...any) {
	if strings.HasPrefix(format, "Error trying to connect to route") {
		l.at(slog.LevelDebug, format, v) // once a second; the watch says who is away
		return
	}
	l.at(slog.LevelError, format, v)
}
func (l serverLog) Fatalf(format string, v ...any) { l.at(slog.LevelError, format, v) }

func (l serverLog) at(level slog.Level, format string, v []any) {
	ctx := context.Background() // the server logs outside any request
	if l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "event stream", "message", strings.TrimSpace(fmt.Sprintf(format, v...)))
	}
}
