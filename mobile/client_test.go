package mobile

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causality-project/causality/sdk/core"
	"github.com/causality-project/causality/sdk/driver"
	"github.com/causality-project/causality/sdk/driver/queue"
)

func TestWhatIsRecordedReachesTheServer(t *testing.T) {
	t.Parallel()
	s := serve(t)
	cfg := NewConfig()
	cfg.Key = "wk_test"
	cfg.Context = &EventContext{AppVersion: "1.2", Platform: "android"}
	c, err := Open(t.TempDir(), cfg, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.OnNetwork("wifi")
	p := NewProperties()
	p.PutString("plan", "pro")
	p.PutLong("n", 1<<60)
	p.PutDouble("total", 12.5)
	p.PutBool("first", true)
	p.PutNull("none")
	inner := NewList()
	inner.AddString("a")
	inner.AddObject(p)
	p.PutList("list", inner)
	track(t, c, "before identify")
	if err := c.Track("order_paid", p); err != nil {
		t.Fatal(err)
	}
	traits := NewTraits()
	traits.Set().PutString("name", "Ada")
	traits.Unset("nickname")
	if err := errors.Join(c.Identify("u1", traits), c.Group("company", "acme", nil), c.Alias("u0", "u1")); err != nil {
		t.Fatal(err)
	}
	flush(t, c)
	events := s.seen()
	if len(events) != 5 {
		t.Fatalf("%d events arrived, want 5", len(events))
	}
	paid, id := events[1], events[2]
	want := `{"first":true,"list":["a",{"first":true,"n":1152921504606846976,"none":null,"plan":"pro","total":12.5}],"n":1152921504606846976,"none":null,"plan":"pro","total":12.5}`
	if paid.properties != want {
		t.Errorf("properties are %s, want %s", paid.properties, want)
	}
	if paid.anonymous == "" || paid.session == "" || paid.user != "" || !strings.Contains(paid.context, "1.2") {
		t.Errorf("the event lacks who or where: %+v", paid)
	}
	if id.kind != 2 || id.user != "u1" || id.anonymous != paid.anonymous || id.session != paid.session {
		t.Errorf("identify does not continue the visit: %+v", id)
	}
	if c.UserID() != "u1" || c.AnonymousID() != paid.anonymous || c.SessionID() != paid.session {
		t.Errorf("the client says %q, %q, %q", c.UserID(), c.AnonymousID(), c.SessionID())
	}
	if stats := c.Stats(); stats.Sent() != 5 || stats.Queued() != 0 || stats.Storage() != "file" || stats.LastError() != "" {
		t.Errorf("stats: %+v", stats)
	}
	if err := c.Close(10_000); err != nil {
		t.Fatal(err)
	}
}

func TestTheVisitorAndTheQueueOutliveTheProcess(t *testing.T) {
	t.Parallel()
	s, dir := serve(t), t.TempDir()
	s.down.Store(true)
	first := open(t, dir, s, nil)
	if err := first.Identify("u1", nil); err != nil {
		t.Fatal(err)
	}
	if err := first.Flush(30_000); err == nil {
		t.Fatal("Flush reports success without a network")
	}
	anonymous, session := first.AnonymousID(), first.SessionID()
	if err := first.Close(10_000); err != nil {
		t.Fatalf("what is in the file is not lost, but: %v", err)
	}
	s.down.Store(false)
	second := open(t, dir, s, nil)
	track(t, second, "again")
	flush(t, second)
	events := s.seen()
	if len(events) != 2 || events[0].user != "u1" || events[1].user != "u1" ||
		events[1].anonymous != anonymous || events[1].session != session {
		t.Errorf("the visit does not go on after a restart: %+v", events)
	}
}

func TestAnotherKeyNeverSendsThisOnesEvents(t *testing.T) {
	t.Parallel()
	s, dir := serve(t), t.TempDir()
	s.down.Store(true)
	first := open(t, dir, s, nil)
	track(t, first, "mine")
	if err := first.Close(10_000); err != nil {
		t.Fatal(err)
	}
	s.down.Store(false)
	other, err := Open(dir, &Config{Key: "wk_other"}, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if flush(t, other); other.Stats().Queued() != 0 || len(s.seen()) != 0 {
		t.Error("another key took the events over")
	}
	if err := other.Close(10_000); err != nil {
		t.Fatal(err)
	}
}

func TestWrongSettingsAreNamedTogether(t *testing.T) {
	t.Parallel()
	_, err := Open("", &Config{FlushAt: -1, MaxAgeMillis: 5}, nil, nil)
	for _, part := range []string{"Key", "FlushAt", "MaxAgeMillis", "transport"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not name %s: %v", part, err)
		}
	}
}

func TestWrongEventsAreErrorsAndCounted(t *testing.T) {
	t.Parallel()
	s := serve(t)
	early := open(t, "", s, nil)
	late := ready(t, open(t, "", s, nil))
	huge := NewProperties()
	for i := range 100 {
		huge.PutString(strings.Repeat("k", i+1), strings.Repeat("v", 1000))
	}
	endless := NewProperties()
	for range 50 {
		endless.PutObject("self", endless)
	}
	nan := NewProperties()
	nan.PutDouble("n", func() float64 { zero := 0.0; return zero / zero }())
	notNumber := NewTraits()
	notNumber.Add().PutString("n", "1")
	for name, tt := range map[string]struct {
		call func(c *Client) error
		says string
	}{
		"no name":             {func(c *Client) error { return c.Track("", nil) }, "name"},
		"long name":           {func(c *Client) error { return c.Track(strings.Repeat("n", 201), nil) }, "name"},
		"too large":           {func(c *Client) error { return c.Track("n", huge) }, "larger"},
		"put into itself":     {func(c *Client) error { return c.Track("n", endless) }, "nested"},
		"not a number":        {func(c *Client) error { return c.Track("n", nan) }, "properties.n"},
		"no user":             {func(c *Client) error { return c.Identify(" ", nil) }, "user_id"},
		"adding no number":    {func(c *Client) error { return c.Identify("u", notNumber) }, "traits.add.n"},
		"no kind of group":    {func(c *Client) error { return c.Group("", "g", nil) }, "group"},
		"alias without an id": {func(c *Client) error { return c.Alias("", "u") }, "previous_id"},
		"impossible time":     {func(c *Client) error { return c.TrackAt("n", nil, 1<<62, "", "") }, "timestamp"},
	} {
		for when, c := range map[string]*Client{"before": early, "after": late} {
			if err := tt.call(c); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s, %s the queue is open: %v, want %q in it", name, when, err, tt.says)
			}
		}
	}
	for _, c := range []*Client{ready(t, early), late} {
		if stats := c.Stats(); stats.Dropped("invalid") != 8 || stats.Dropped("too_large") != 2 || stats.Reasons() != "invalid,too_large" {
			t.Errorf("counted: %s, invalid %d, too_large %d", stats.Reasons(), stats.Dropped("invalid"), stats.Dropped("too_large"))
		}
		if c.UserID() != "" {
			t.Errorf("a refused identify made the visitor %q", c.UserID())
		}
	}
}

// TestNothingWaitsForALockedFile holds the queue file as another process would, so
// that it stays unopened for a second.
func TestNothingWaitsForALockedFile(t *testing.T) {
	t.Parallel()
	s, dir := serve(t), t.TempDir()
	cfg := &Config{Key: "wk_test"}
	held, _, err := queue.Open(filepath.Join(dir, cfg.queueName()))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	log := &logs{}
	c := open(t, dir, s, log)
	c.OnForeground()
	track(t, c, "first")
	if err := c.Identify("u1", nil); err != nil {
		t.Fatal(err)
	}
	track(t, c, "last")
	if stats := c.Stats(); stats.Storage() != "opening" || stats.Queued() != 3 {
		t.Fatalf("the calls waited for the file: %s, %d queued", stats.Storage(), stats.Queued())
	}
	flush(t, c)
	if got := names(s.seen()); !slices.Equal(got, []string{"first", "", "last"}) {
		t.Errorf("arrived: %q", got)
	}
	if e := s.seen(); e[0].user != "" || e[2].user != "u1" || e[0].session != e[2].session {
		t.Errorf("the visitor was not followed in order: %+v", e)
	}
	if stats := c.Stats(); stats.Storage() != "memory" || !strings.Contains(stats.QueueError(), "in use") {
		t.Errorf("stats say %s, %q", stats.Storage(), stats.QueueError())
	}
	if err := c.Close(10_000); err != nil {
		t.Fatal(err)
	}
	if !log.has("error", "cannot be used") {
		t.Errorf("the observer heard %q", log.all())
	}
}

// TestWhatWaitsForTheFileIsBounded records more than fits before there is a queue.
func TestWhatWaitsForTheFileIsBounded(t *testing.T) {
	t.Parallel()
	s, dir := serve(t), t.TempDir()
	held, _, err := queue.Open(filepath.Join(dir, (&Config{Key: "wk_test"}).queueName()))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	c := open(t, dir, s, nil)
	kept, refused := 0, 0
	for c.Stats().Storage() == "opening" && refused < 10 {
		switch err := c.Track("n", nil); {
		case err == nil:
			kept++
		case errors.Is(err, core.ErrQueueFull):
			refused++
		default:
			t.Fatal(err)
		}
	}
	if kept > mostEarly || refused == 0 {
		t.Fatalf("%d events were kept, %d refused", kept, refused)
	}
	c.Reset() // finds room
	flush(t, c)
	if n := len(s.seen()); n != kept || c.Stats().Dropped("queue_full") != int64(refused) {
		t.Errorf("%d of %d arrived, %d counted as refused", n, kept, c.Stats().Dropped("queue_full"))
	}
}

func TestADamagedFileIsSetAside(t *testing.T) {
	t.Parallel()
	s, dir := serve(t), t.TempDir()
	path := filepath.Join(dir, (&Config{Key: "wk_test"}).queueName())
	if err := os.WriteFile(path, []byte(strings.Repeat("damage", 4000)), 0o600); err != nil {
		t.Fatal(err)
	}
	c := ready(t, open(t, dir, s, nil))
	track(t, c, "n")
	flush(t, c)
	if stats := c.Stats(); stats.Storage() != "file" || stats.QueueError() == "" || stats.Dropped("damaged") != 1 || len(s.seen()) != 1 {
		t.Errorf("storage %s, error %q, %d damaged, %d arrived", stats.Storage(), stats.QueueError(), stats.Dropped("damaged"), len(s.seen()))
	}
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
}

func TestWhatHappenedBeforeKeepsItsTimeSessionAndID(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := open(t, "", s, nil)
	const id = "01890a5d-ac96-774b-bcce-b302099a8057"
	if err := c.TrackAt("app_crash", nil, 1_700_000_000_500, "then", id); err != nil {
		t.Fatal(err)
	}
	track(t, c, "now")
	flush(t, c)
	e := s.seen()
	if e[0].seconds != 1_700_000_000 || e[0].session != "then" || e[0].id != id || e[0].anonymous != e[1].anonymous {
		t.Errorf("the crash is recorded as %+v", e[0])
	}
	if e[1].session == "then" || e[1].session == "" {
		t.Errorf("the new run belongs to session %q", e[1].session)
	}
}

func TestTheNetworkComingBackEndsTheWait(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.down.Store(true)
	c := ready(t, open(t, t.TempDir(), s, nil))
	c.OnNetwork("none")
	track(t, c, "n")
	for range 12 { // the wait is then up to five minutes
		if err := c.Flush(30_000); err == nil {
			t.Fatal("delivered without a network")
		}
	}
	s.down.Store(false)
	c.OnNetwork("cellular")
	s.await(t, 1)
}

func TestLeavingTheFrontSendsAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := ready(t, open(t, t.TempDir(), s, nil))
	c.OnForeground()
	track(t, c, "n") // which would wait for thirty seconds
	c.OnBackground()
	s.await(t, 1)
	track(t, c, "m")
	c.OnTrimMemory()
	s.await(t, 2)
}

func TestOptingOutForgetsAcrossRestarts(t *testing.T) {
	t.Parallel()
	s, dir := serve(t), t.TempDir()
	s.down.Store(true)
	c := open(t, dir, s, nil)
	if err := c.Identify("u1", nil); err != nil {
		t.Fatal(err)
	}
	ready(t, c)
	before := c.AnonymousID()
	c.SetOptOut(true)
	c.Reset()
	if !c.OptedOut() || c.UserID() != "" || c.AnonymousID() != "" {
		t.Errorf("opted out %v, user %q, anonymous %q", c.OptedOut(), c.UserID(), c.AnonymousID())
	}
	if err := c.Close(10_000); err != nil {
		t.Fatal(err)
	}
	s.down.Store(false)
	c = ready(t, open(t, dir, s, nil))
	if !c.OptedOut() || !c.Stats().OptedOut() {
		t.Error("the choice was forgotten")
	}
	if err := c.Track("ignored", nil); err != nil {
		t.Fatal(err)
	}
	c.SetOptOut(false)
	track(t, c, "back")
	flush(t, c)
	e := s.seen()
	if len(e) != 1 || e[0].name != "back" || e[0].anonymous == before || e[0].anonymous == "" || e[0].user != "" {
		t.Errorf("arrived: %+v", e)
	}
}

func TestOptingOutBeforeTheFileIsOpenCounts(t *testing.T) {
	t.Parallel()
	s, dir := serve(t), t.TempDir()
	held, _, err := queue.Open(filepath.Join(dir, (&Config{Key: "wk_test"}).queueName()))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	c := open(t, dir, s, nil)
	track(t, c, "before")
	if err := c.Track("", nil); err == nil {
		t.Error("an event without a name was taken")
	}
	c.SetOptOut(true)
	if !c.OptedOut() {
		t.Error("not opted out")
	}
	track(t, c, "after")
	if c.Stats().Storage() != "opening" {
		t.Fatal("the file was open too early for this test")
	}
	if ready(t, c); !c.OptedOut() {
		t.Error("not opted out once the file is open")
	}
	flush(t, c)
	if stats := c.Stats(); stats.Dropped("opted_out") != 2 || stats.Dropped("invalid") != 1 {
		t.Errorf("dropped: %s; want 2 opted_out, 1 invalid", stats.Reasons())
	}
	if len(s.seen()) != 0 {
		t.Error("an event was sent all the same")
	}
}

func TestTwoPeopleNeverBecomeOne(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := open(t, "", s, nil)
	for _, user := range []string{"u1", "u2"} {
		if err := c.Identify(user, nil); err != nil {
			t.Fatal(err)
		}
	}
	c.Reset()
	track(t, c, "n")
	flush(t, c)
	e := s.seen()
	if e[0].anonymous == e[1].anonymous || e[1].anonymous == e[2].anonymous || e[0].session == e[1].session || e[2].user != "" {
		t.Errorf("arrived: %+v", e)
	}
}

// hanging is a transport that does not return before the test ends.
type hanging struct{ end chan struct{} }

func (h hanging) Send([]byte, *Reply) error {
	<-h.end
	return nil
}

func TestATransportThatHangsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	defer close(end)
	dir := t.TempDir()
	c := ready(t, open(t, dir, hanging{end}, nil))
	track(t, c, "n")
	if err := c.Flush(50); !errors.Is(err, driver.ErrUndelivered) {
		t.Errorf("Flush = %v", err)
	}
	track(t, c, "m")
	if err := c.Close(50); err != nil {
		t.Errorf("both events are in the file, but Close = %v", err)
	}
	s := serve(t)
	flush(t, open(t, dir, s, nil))
	if got := names(s.seen()); !slices.Equal(got, []string{"n", "m"}) {
		t.Errorf("arrived: %q", got)
	}
}

func TestRepliesMeanWhatTheySay(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		send func(r *Reply) error
		says string
	}{
		"nothing said":       {func(*Reply) error { return nil }, "no answer"},
		"an exception":       {func(r *Reply) error { r.SetStatus(200); return errors.New("reset by peer") }, "reset by peer"},
		"a login page":       {func(r *Reply) error { r.SetStatus(200); r.Fail("the answer is text/html"); return nil }, "text/html"},
		"a refusal":          {func(r *Reply) error { r.SetStatus(503); r.Fail("busy"); return nil }, "503: busy"},
		"an endless answer":  {func(r *Reply) error { r.SetStatus(200); r.SetBody(make([]byte, mostReply+1)); return nil }, "2 MiB"},
		"a panic":            {func(*Reply) error { panic("boom") }, "boom"},
		"a negative wait":    {func(r *Reply) error { r.SetStatus(500); r.SetRetryAfterMillis(-1); return nil }, "500"},
		"nil, then an error": {func(*Reply) error { (*Reply)(nil).SetBody(nil); return errors.New("nil") }, "nil"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, "", sending(tt.send), nil)
			track(t, c, "n")
			if err := c.Flush(30_000); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Flush = %v, want %q in it", err, tt.says)
			}
			if stats := c.Stats(); stats.Queued() != 1 || !strings.Contains(stats.LastError(), tt.says) {
				t.Errorf("%d queued, last error %q", stats.Queued(), stats.LastError())
			}
		})
	}
}

type sending func(*Reply) error

func (f sending) Send(_ []byte, r *Reply) error { return f(r) }

// logs is an observer that remembers.
type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) Notice(level, message string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, level+" "+message)
	return errors.New("ignored")
}

func (l *logs) Rejected(id, code, field, message string) error { panic(id) }

func (l *logs) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func (l *logs) has(level, part string) bool {
	return slices.ContainsFunc(l.all(), func(line string) bool {
		return strings.HasPrefix(line, level+" ") && strings.Contains(line, part)
	})
}

// waiting is an observer that waits for the client which calls it.
type waiting struct {
	client chan *Client
	done   chan error
}

func (w waiting) Notice(string, string) error {
	select {
	case c := <-w.client:
		w.done <- c.Flush(30_000)
	default:
	}
	return nil
}

func (w waiting) Rejected(string, string, string, string) error { return nil }

func TestAnObserverMayWaitForItsClient(t *testing.T) {
	t.Parallel()
	s := serve(t)
	w := waiting{make(chan *Client, 1), make(chan error, 1)}
	c := open(t, "", s, w)
	w.client <- c
	track(t, c, "n")
	flush(t, c)
	select {
	case err := <-w.done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the observer waits for ever")
	}
}

func TestRejectionsAreHeardEvenIfTheObserverPanics(t *testing.T) {
	t.Parallel()
	// One rejection: index 0, id, code, field, message.
	body := []byte("\x1a\x1a\x12\x02id\x1a\x0eplan_violation\x22\x01f\x2a\x01m")
	c := open(t, "", sending(func(r *Reply) error {
		r.SetStatus(200)
		r.SetBody(body)
		return nil
	}), &logs{})
	track(t, c, "n")
	flush(t, c)
	if stats := c.Stats(); stats.Dropped("plan_violation") != 1 {
		t.Errorf("counted: %s", stats.Reasons())
	}
	if err := c.Close(10_000); err != nil {
		t.Fatal(err)
	}
}

func TestClosingTwiceAndUseAfterwards(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := open(t, t.TempDir(), s, nil)
	track(t, c, "n")
	if err := c.Close(0); err != nil { // before the file is open
		t.Fatal(err)
	}
	if err := c.Close(30_000); err != nil {
		t.Fatal(err)
	}
	if len(s.seen()) != 1 {
		t.Errorf("%d events arrived", len(s.seen()))
	}
	for name, err := range map[string]error{"Track": c.Track("n", nil), "Identify": c.Identify("u", nil), "Flush": c.Flush(1000), "a Flush that is not waited for": c.Flush(0)} {
		if !errors.Is(err, core.ErrClosed) {
			t.Errorf("%s after Close = %v", name, err)
		}
	}
	if c.SessionID() == "" || c.Stats().Sent() != 1 {
		t.Error("a closed client has forgotten what it knew")
	}
}
