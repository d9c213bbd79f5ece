package insights

import (
	"cmp"
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/causality-project/causality/backend/internal/analysis/query"
	"github.com/causality-project/causality/backend/internal/platform/calendar"
	"github.com/causality-project/causality/backend/internal/platform/fault"
)

// Config configures a Service.
type Config struct {
	Engine     query.Engine // required
	Source     query.Source // required
	EngineName string       // duckdb (default) or trino: whose SQL is written, and what answers say
	// HasProperty says whether any event of an app carries a JSON property of
	// this name. It spares reading all properties when people ask for a column of
	// the same name, such as country. Optional; nil and errors mean yes.
	HasProperty func(ctx context.Context, appID, name string) (bool, error)
	// HoldsLists says whether any event of an app holds a list under this name.
	// It spares taking every value for one. Optional; nil and errors mean yes.
	HoldsLists func(ctx context.Context, appID, name string) (bool, error)
	CacheBytes int64            // of kept answers; default 64 MiB
	Now        func() time.Time // default time.Now
}

// Service answers questions.
type Service struct {
	cfg     Config
	dialect dialect // nil: DuckDB's
	cache   *cache
}

// New returns a service.
func New(cfg Config) (*Service, error) {
	if cfg.Engine == nil || cfg.Source == nil {
		return nil, errors.New("insights: an engine and a source are required")
	}
	cfg.EngineName = cmp.Or(cfg.EngineName, "duckdb")
	cfg.CacheBytes = cmp.Or(cfg.CacheBytes, 64<<20)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{cfg: cfg, cache: newCache(cfg.CacheBytes)}
	switch cfg.EngineName {
	case "duckdb":
	case "trino":
		s.dialect = trino{}
	default:
		return nil, fmt.Errorf("insights: there is no dialect of the engine %q", cfg.EngineName)
	}
	return s, nil
}

const (
	answerRows  = 1_000_000
	answerBytes = 64 << 20
)

// Trend answers a trend. fresh computes anew what is cached.
func (s *Service) Trend(ctx context.Context, app query.App, spec Trend, fresh bool) (*TrendAnswer, error) {
	begun := s.cfg.Now()
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	plan, err := s.plan(ctx, app, &spec, begun)
	if err != nil {
		return nil, err
	}
	if err := plan.bounded(); err != nil {
		return nil, err
	}
	snapshot, err := s.snapshot(ctx, app, plan)
	if err != nil {
		return nil, err
	}
	defer snapshot.Release()

	answer := &TrendAnswer{}
	zone := plan.compiler.calendar.Zone()
	answer.Meta = Meta{
		FreshTo: snapshot.FreshTo, Engine: s.cfg.EngineName, Cached: true, SQL: plan.sql(), From: plan.span.From.In(zone), To: plan.span.To.In(zone), TimeZone: zone.String(),
	}
	current, cached, err := s.ask(ctx, app, snapshot, plan, fresh)
	if err != nil {
		return nil, err
	}
	answer.Meta.Cached, answer.Meta.ScannedRows, answer.Meta.ScannedBytes = cached, current.scannedRows, current.scannedBytes
	answer.Meta.Skipped, answer.Meta.Missing, answer.Meta.GroupsTotal = current.skipped, current.missing, current.groupsTotal
	other := current.other

	if spec.Compare == "previous" {
		unit, _ := calendar.ParseUnit(spec.Granularity)
		span, until := plan.compiler.calendar.Previous(plan.span, unit, begun)
		groups := append([][]*string{}, current.groups...) // fixed even when there are none
		before, err := s.over(plan, span, groups)
		if err != nil {
			return nil, err
		}
		past, hit, err := s.previous(ctx, app, before, fresh)
		if err != nil {
			return nil, err
		}
		answer.Meta.also(past, hit)
		past.groups = current.groups
		totals := past
		if until.Before(span.To) {
			head, err := s.over(plan, calendar.Span{From: span.From, To: until}, groups)
			if err != nil {
				return nil, err
			}
			head.totals = true
			if totals, hit, err = s.previous(ctx, app, head, fresh); err != nil {
				return nil, err
			}
			answer.Meta.also(totals, hit)
		}
		other = other || past.other
		answer.Previous = before.assemble(past, totals, other)
	}
	answer.Series = plan.assemble(current, current, other)
	answer.Meta.Elapsed = s.cfg.Now().Sub(begun)
	return answer, nil
}

// bounded refuses answers that no chart could show and no browser hold.
func (p *trendPlan) bounded() error {
	groups := 1
	if len(p.spec.Breakdowns) > 0 {
		groups = cmp.Or(p.spec.Top, defaultTop) + 1
	}
	points := groups * (len(p.spec.Series) + len(p.spec.Formulas)) * len(p.read)
	if points > answerRows/2 {
		return fault.InvalidField("top", "%d series of %d groups by %d points are %d values; choose fewer groups or a coarser granularity",
			len(p.spec.Series)+len(p.spec.Formulas), groups, len(p.read), points)
	}
	return nil
}

func (s *Service) plan(ctx context.Context, app query.App, spec *Trend, now time.Time) (*trendPlan, error) {
	zone, err := calendar.LoadZone(cmp.Or(spec.TimeZone, app.TimeZone, "UTC"))
	if err != nil {
		return nil, fault.InvalidField("timeZone", "%s", err.Error())
	}
	weekStart := time.Monday
	if spec.WeekStart == "sunday" {
		weekStart = time.Sunday
	}
	cal := calendar.New(zone, weekStart)
	unit, _ := calendar.ParseUnit(spec.Granularity)
	span, err := cal.Resolve(spec.Range, unit, now)
	if err != nil {
		return nil, err
	}
	plan := &trendPlan{spec: spec, compiler: &compiler{calendar: cal, now: now, shadowed: told(ctx, app, s.cfg.HasProperty), listed: told(ctx, app, s.cfg.HoldsLists), dialect: s.dialect}}
	return s.over(plan, span, nil)
}

// told asks the catalog something of properties, once a name. It is called while
// SQL is written, after the snapshot is taken: what the snapshot holds is then
// known.
func told(ctx context.Context, app query.App, ask func(ctx context.Context, appID, name string) (bool, error)) func(property string) bool {
	if ask == nil {
		return func(string) bool { return true }
	}
	known := map[string]bool{}
	return func(property string) bool {
		answer, ok := known[property]
		if !ok {
			yes, err := ask(ctx, app.ID, property)
			answer = yes || err != nil
			known[property] = answer
		}
		return answer
	}
}

// over is the plan over another span, with fixed groups.
func (s *Service) over(plan *trendPlan, span calendar.Span, groups [][]*string) (*trendPlan, error) {
	next := *plan
	inner := *plan.compiler
	inner.span = span
	next.compiler, next.span, next.groups = &inner, span, groups
	unit, _ := calendar.ParseUnit(plan.spec.Granularity)
	var err error
	if next.buckets, err = inner.calendar.Buckets(span, unit, inner.now); err != nil {
		return nil, err
	}
	next.read = next.buckets
	if k := plan.spec.Rolling; k > 1 {
		next.read = append(inner.calendar.Before(span.From, unit, k-1, inner.now), next.buckets...)
	}
	return &next, nil
}

func (s *Service) snapshot(ctx context.Context, app query.App, plan *trendPlan) (query.Snapshot, error) {
	from, to := plan.from(), plan.span.To
	if plan.history() {
		from, to = time.Time{}, time.Time{}
	}
	return s.cfg.Source.Snapshot(ctx, app.ID, from, to)
}

func (s *Service) previous(ctx context.Context, app query.App, plan *trendPlan, fresh bool) (*raw, bool, error) {
	snapshot, err := s.snapshot(ctx, app, plan)
	if err != nil {
		return nil, false, err
	}
	defer snapshot.Release()
	return s.ask(ctx, app, snapshot, plan, fresh)
}

func (s *Service) ask(ctx context.Context, app query.App, snapshot query.Snapshot, plan *trendPlan, fresh bool) (*raw, bool, error) {
	sql, tables := s.planned(plan, &snapshot)
	answer, cached, err := s.collect(ctx, app, snapshot, tables.Tables, sql, fresh)
	if err != nil {
		return nil, false, err
	}
	r, err := parseRaw(answer, len(plan.spec.Breakdowns))
	if err != nil {
		return nil, false, err
	}
	r.scannedRows, r.scannedBytes = tables.Rows, tables.Bytes
	return r, cached, nil
}

// planned is a question as it runs over a snapshot. Other engines than DuckDB
// choose what they read themselves.
func (s *Service) planned(plan *trendPlan, snapshot *query.Snapshot) (string, query.Planned) {
	if s.dialect != nil {
		return plan.sql(), query.Planned{}
	}
	return plan.planned(snapshot)
}

// also adds what another part of the answer took.
func (m *Meta) also(r *raw, cached bool) {
	m.Cached = m.Cached && cached
	m.ScannedRows += r.scannedRows
	m.ScannedBytes += r.scannedBytes
}

// collect runs SQL of ours once for all who ask it of the same data. The answer
// is shared and must not be changed.
func (s *Service) collect(ctx context.Context, app query.App, snapshot query.Snapshot, tables query.Tables, sql string, fresh bool) (*query.Answer, bool, error) {
	key := answerKey(app, snapshot, sql)
	return s.cache.get(ctx, key, fresh, func(ctx context.Context) (*query.Answer, error) {
		answer, err := query.Collect(ctx, s.cfg.Engine, query.Request{
			Workspace: app.WorkspaceID, App: app.ID, Tables: tables, Published: snapshot.Published, Zone: cmp.Or(app.TimeZone, "UTC"), SQL: sql, Trusted: true,
			MaxRows: answerRows, MaxBytes: answerBytes,
		})
		if err == nil && answer.Truncated {
			return nil, fault.New(fault.Exhausted, "The answer has more than %d values; choose fewer groups or a coarser granularity.", answerRows)
		}
		return answer, err
	})
}

// answerKey names an answer by everything that it depends on: the SQL holds the
// question and its instants; the objects and the links are the data.
func answerKey(app query.App, snapshot query.Snapshot, sql string) [32]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %d %v\n", app.WorkspaceID, app.ID, app.TimeZone, sql, snapshot.Links.Number, snapshot.Published)
	for _, object := range snapshot.Objects {
		fmt.Fprintf(h, "%q %d\n", object.ID, object.LinkNumber)
	}
	return [32]byte(h.Sum(nil))
}

// PropertyValue is a value of a property and how many events carry it.
type PropertyValue struct {
	Value string
	Count int64
}

// Values lists the most frequent values of a property over the last 90 days, or
// over all time when these have none.
func (s *Service) Values(ctx context.Context, app query.App, property string, events []string, contains string, limit int) ([]PropertyValue, error) {
	v := &validation{}
	v.property("property", property)
	if limit < 0 || limit > 200 {
		v.add("limit", "must be 1 to 200 (0 for 50)")
	}
	if len(events) > maxValues {
		v.add("events", "are too many")
	} else {
		for i, name := range events {
			v.event(fmt.Sprintf("events[%d]", i), name)
		}
	}
	if len(contains) > maxText || strings.ContainsRune(contains, 0) {
		v.add("contains", "is too long, or holds a zero byte")
	}
	if err := fault.InvalidFields(v.fields); err != nil {
		return nil, err
	}
	limit = cmp.Or(limit, 50)
	now := s.cfg.Now()
	recent := now.Add(-90 * 24 * time.Hour).Truncate(24 * time.Hour) // steady, so that answers can be kept
	for _, from := range []time.Time{recent, {}} {
		values, err := s.valuesSince(ctx, app, property, events, contains, limit, from)
		if err != nil || len(values) > 0 {
			return values, err
		}
	}
	return nil, nil
}

func (s *Service) valuesSince(ctx context.Context, app query.App, property string, events []string, contains string, limit int, from time.Time) ([]PropertyValue, error) {
	c := &compiler{calendar: utcCalendar, shadowed: told(ctx, app, s.cfg.HasProperty), listed: told(ctx, app, s.cfg.HoldsLists), dialect: s.dialect}
	snapshot, err := s.cfg.Source.Snapshot(ctx, app.ID, from, time.Time{})
	if err != nil {
		return nil, err
	}
	defer snapshot.Release()
	if s.dialect == nil {
		c.reads = newReads(snapshot.Promoted)
	}
	sql := valuesSQL(c, property, events, contains, limit, from)
	var need query.Need
	if c.reads != nil {
		need = c.reads.need()
	}
	need.Events = true
	answer, _, err := s.collect(ctx, app, snapshot, snapshot.Plan(need).Tables, sql, false)
	if err != nil {
		return nil, err
	}
	out := make([]PropertyValue, 0, len(answer.Rows))
	for _, row := range answer.Rows {
		var n int64
		if _, err := fmt.Sscan(row[1].Text, &n); err != nil {
			return nil, err
		}
		out = append(out, PropertyValue{row[0].Text, n})
	}
	return out, nil
}

// cache keeps answers, least recently used out first, and lets those who ask the
// same at once wait for one computation.
type cache struct {
	mu      sync.Mutex
	most    int64
	size    int64
	entries map[[32]byte]*list.Element
	recent  *list.List // of *kept
	flights map[[32]byte]*flight
}

type kept struct {
	key    [32]byte
	answer *query.Answer
	size   int64
}

// flight is a computation that others wait for. It ends when nobody waits.
type flight struct {
	done    chan struct{}
	waiting int
	cancel  context.CancelFunc
	answer  *query.Answer
	err     error
}

func newCache(most int64) *cache {
	return &cache{most: most, entries: map[[32]byte]*list.Element{}, recent: list.New(), flights: map[[32]byte]*flight{}}
}

func (c *cache) get(ctx context.Context, key [32]byte, fresh bool, compute func(context.Context) (*query.Answer, error)) (*query.Answer, bool, error) {
	c.mu.Lock()
	if e, ok := c.entries[key]; ok && !fresh {
		c.recent.MoveToFront(e)
		c.mu.Unlock()
		return e.Value.(*kept).answer, true, nil
	}
	f, ok := c.flights[key]
	if !ok || fresh {
		// The computation belongs to all who wait, so the first one's leaving
		// does not end it; the last one's does.
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{done: make(chan struct{}), cancel: cancel}
		c.flights[key] = f
		go func() {
			defer cancel()
			answer, err := compute(shared)
			c.mu.Lock()
			defer c.mu.Unlock()
			f.answer, f.err = answer, err
			if c.flights[key] == f {
				delete(c.flights, key)
			}
			if err == nil {
				c.keep(key, answer)
			}
			close(f.done)
		}()
	}
	f.waiting++
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.answer, false, f.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	f.waiting--
	last := f.waiting == 0
	if last && c.flights[key] == f {
		delete(c.flights, key)
	}
	c.mu.Unlock()
	if last {
		f.cancel()
		<-f.done // objects are released only when nothing reads them
	}
	return nil, false, fault.Wrap(ctx.Err(), fault.Canceled, "The question was stopped.")
}

func (c *cache) keep(key [32]byte, answer *query.Answer) {
	size := int64(200)
	for _, row := range answer.Rows {
		size += 24
		for _, cell := range row {
			size += 24 + int64(len(cell.Text))
		}
	}
	if size > c.most/4 {
		return
	}
	if e, ok := c.entries[key]; ok {
		c.size -= e.Value.(*kept).size
		c.recent.Remove(e)
	}
	c.entries[key] = c.recent.PushFront(&kept{key, answer, size})
	for c.size += size; c.size > c.most; {
		oldest := c.recent.Back()
		old := c.recent.Remove(oldest).(*kept)
		delete(c.entries, old.key)
		c.size -= old.size
	}
}
