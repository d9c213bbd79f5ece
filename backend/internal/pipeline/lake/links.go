package lake

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/causality-project/causality/backend/internal/pipeline/catalog"
	"github.com/causality-project/causality/backend/internal/platform/event"
)

// Links re-keys rows of objects that are folded through an earlier link than
// Number. A row's person is the first that applies:
//
//	user_id present:  ChangedUsers[user_id],      ByKey[user_key], user_key
//	user_id absent:   Changed[anonymous_id],      ByKey[user_key], user_key
//
// A row without a key stays without one. The maps are shared and never change.
type Links struct {
	Number       int64
	ByKey        map[int64]int64  // key of an anonymous id or merged user → its person now
	Changed      map[string]int64 // anonymous ids whose person was corrected, so that old keys mislead
	ChangedUsers map[string]int64 // user ids likewise
}

// Resolve is the person of a row now.
func (l *Links) Resolve(userKey int64, userID, anonymousID string) int64 {
	if userKey == 0 {
		return 0
	}
	if userID != "" {
		if k, ok := l.ChangedUsers[userID]; ok {
			return k
		}
	} else if k, ok := l.Changed[anonymousID]; ok {
		return k
	}
	if k, ok := l.ByKey[userKey]; ok {
		return k
	}
	return userKey
}

const (
	kindIdentify = "identify"
	kindAlias    = "alias"
)

// link is a row of person_links.
type link struct {
	number       int64 // 0: not stored yet
	kind         string
	fromID, toID string
	fromKey      int64
	toKey        int64
	ts           time.Time
	eventID      event.ID
	replaces     int64
	undone       bool
	why          string // of undone: earlier, cycle
}

// before orders links as they count: by event time, then event id.
func (k *link) before(o *link) bool {
	if c := k.ts.Compare(o.ts); c != 0 {
		return c < 0
	}
	return bytes.Compare(k.eventID[:], o.eventID[:]) < 0
}

// linkChange is what a run does to an app's links.
type linkChange struct {
	insert []link          // with their numbers
	moved  []link          // stored links whose event turned out to be an earlier one: same meaning, no number
	undo   map[int64]*link // stored links that no longer count, by number
	number int64           // of the last change; the app's number from now on
}

func (c *linkChange) empty() bool { return len(c.insert) == 0 && len(c.moved) == 0 && len(c.undo) == 0 }

// planLinks works out what a run's IDENTIFY and ALIAS events change, given the
// app's stored links. The result depends on the set of all events alone, in
// whatever order they arrive: of the links from one id the first by event time
// counts, and an alias that would close a circle is passed over. The app's row
// must be locked.
func planLinks(ctx context.Context, tx pgx.Tx, workspaceID, appID string, number int64, events []*event.Event) (linkChange, error) {
	change := linkChange{number: number, undo: map[int64]*link{}}
	identifies := map[string]*link{}
	var aliases []link
	for _, e := range events {
		switch {
		case e.Type == event.Identify && e.UserID != "" && e.AnonymousID != "":
			k := link{kind: kindIdentify, fromID: strings.Clone(catalog.Storable(e.AnonymousID)), toID: strings.Clone(catalog.Storable(e.UserID)),
				fromKey: event.AnonymousKey(e.AnonymousID), toKey: event.UserKey(e.UserID), ts: e.TS, eventID: e.ID}
			if have := identifies[k.fromID]; have == nil || k.before(have) {
				identifies[k.fromID] = &k
			}
		case e.Type == event.Alias && e.UserID != "" && e.PreviousID != "" && e.UserID != e.PreviousID:
			aliases = append(aliases, link{kind: kindAlias, fromID: strings.Clone(catalog.Storable(e.PreviousID)), toID: strings.Clone(catalog.Storable(e.UserID)),
				fromKey: event.UserKey(e.PreviousID), toKey: event.UserKey(e.UserID), ts: e.TS, eventID: e.ID})
		}
	}
	if len(identifies) > 0 {
		stored, err := queryLinks(ctx, tx, `kind = 'identify' AND from_id = ANY ($3) AND undone_at IS NULL`,
			workspaceID, appID, slices.Collect(maps.Keys(identifies)))
		if err != nil {
			return linkChange{}, err
		}
		change.identify(identifies, stored)
	}
	if len(aliases) > 0 {
		stored, err := queryLinks(ctx, tx, `kind = 'alias'`, workspaceID, appID)
		if err != nil {
			return linkChange{}, err
		}
		change.alias(aliases, stored)
	}
	return change, nil
}

func (c *linkChange) identify(wanted map[string]*link, stored []link) {
	current := make(map[string]*link, len(stored))
	for i := range stored {
		current[stored[i].fromID] = &stored[i]
	}
	// In the order of their events, so that numbers are the same at every try.
	for _, k := range slices.SortedFunc(maps.Values(wanted), compareLinks) {
		have := current[k.fromID]
		switch {
		case have == nil:
		case !k.before(have):
			continue
		case have.toID == k.toID:
			have.ts, have.eventID = k.ts, k.eventID
			c.moved = append(c.moved, *have)
			continue
		}
		c.number++
		k.number = c.number
		if have != nil {
			k.replaces = have.number
			have.undone, have.why = true, "earlier"
			c.undo[have.number] = have
		}
		c.insert = append(c.insert, *k)
	}
}

func compareLinks(a, b *link) int {
	switch {
	case a.before(b):
		return -1
	case b.before(a):
		return 1
	}
	return cmp.Compare(a.fromID, b.fromID)
}

// alias settles all aliases of the app anew. Aliases need a secret key and are
// few beside identifies; a million of them would take about a second here.
func (c *linkChange) alias(wanted, stored []link) {
	type pair struct{ from, to string }
	known := map[pair]*link{}
	for i := range stored {
		k := &stored[i]
		if k.toID == "" { // written by a rebuild: no event is behind it
			continue
		}
		p := pair{k.fromID, k.toID}
		if have := known[p]; have == nil || have.undone && (!k.undone || k.number > have.number) {
			known[p] = k
		}
	}
	for i := range wanted {
		k := &wanted[i]
		p := pair{k.fromID, k.toID}
		switch have := known[p]; {
		case have == nil:
			known[p] = k
		case !k.before(have):
		case have.number == 0:
			known[p] = k
		default:
			have.ts, have.eventID = k.ts, k.eventID
			c.moved = append(c.moved, *have)
		}
	}
	next := map[string]*link{}
	for _, k := range slices.SortedFunc(maps.Values(known), compareLinks) {
		why := ""
		if next[k.fromID] != nil {
			why = "earlier"
		} else {
			for at := k.toID; ; at = next[at].toID {
				if at == k.fromID {
					why = "cycle"
					break
				}
				if next[at] == nil {
					break
				}
			}
		}
		if why == "" {
			next[k.fromID] = k
		}
		switch {
		case k.number == 0: // new, current or not
			c.number++
			k.number, k.undone, k.why = c.number, why != "", why
			c.insert = append(c.insert, *k)
		case why != "" && !k.undone: // counted so far
			c.number++
			k.undone, k.why = true, why
			undone := *k
			c.undo[k.number] = &undone
		case why == "" && k.undone: // counts from now on
			c.number++
			again := *k
			again.replaces, again.number, again.undone, again.why = k.number, c.number, false, ""
			c.insert = append(c.insert, again)
		}
	}
}

func queryLinks(ctx context.Context, tx pgx.Tx, where string, args ...any) ([]link, error) {
	rows, err := tx.Query(ctx, `SELECT number, kind, from_id, from_key, to_id, to_key, ts, event_id, coalesce(replaces, 0),
		undone_at IS NOT NULL, coalesce(undone_why, '') FROM person_links WHERE workspace_id = $1 AND app_id = $2 AND `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read person links: %w", err)
	}
	links, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (link, error) {
		var k link
		var id uuid.UUID
		err := row.Scan(&k.number, &k.kind, &k.fromID, &k.fromKey, &k.toID, &k.toKey, &k.ts, &id, &k.replaces, &k.undone, &k.why)
		k.eventID = event.ID(id)
		return k, err
	})
	if err != nil {
		return nil, fmt.Errorf("read person links: %w", err)
	}
	return links, nil
}

// queue writes the change in one statement of each sort. Undoing comes first:
// only one link from an id may be current.
func (c *linkChange) queue(batch *pgx.Batch, workspaceID, appID string) {
	if len(c.undo) > 0 {
		var numbers []int64
		var why []string
		for number, k := range c.undo {
			numbers, why = append(numbers, number), append(why, k.why)
		}
		batch.Queue(`UPDATE person_links p SET undone_at = now(), undone_number = $5, undone_why = u.why
			FROM unnest($3::bigint[], $4::text[]) AS u (number, why)
			WHERE p.workspace_id = $1 AND p.app_id = $2 AND p.number = u.number`, workspaceID, appID, numbers, why, c.number)
	}
	if len(c.moved) > 0 {
		numbers, times, ids := make([]int64, len(c.moved)), make([]time.Time, len(c.moved)), make([]uuid.UUID, len(c.moved))
		for i, k := range c.moved {
			numbers[i], times[i], ids[i] = k.number, k.ts, uuid.UUID(k.eventID)
		}
		batch.Queue(`UPDATE person_links p SET ts = u.ts, event_id = u.id
			FROM unnest($3::bigint[], $4::timestamptz[], $5::uuid[]) AS u (number, ts, id)
			WHERE p.workspace_id = $1 AND p.app_id = $2 AND p.number = u.number`, workspaceID, appID, numbers, times, ids)
	}
	if len(c.insert) == 0 {
		return
	}
	n := len(c.insert)
	numbers, replaces, fromKeys, toKeys := make([]int64, n), make([]*int64, n), make([]int64, n), make([]int64, n)
	kinds, fromIDs, toIDs, why := make([]string, n), make([]string, n), make([]string, n), make([]*string, n)
	times, ids := make([]time.Time, n), make([]uuid.UUID, n)
	for i := range c.insert {
		k := &c.insert[i]
		numbers[i], fromKeys[i], toKeys[i], kinds[i], fromIDs[i], toIDs[i] = k.number, k.fromKey, k.toKey, k.kind, k.fromID, k.toID
		times[i], ids[i] = k.ts, uuid.UUID(k.eventID)
		if k.replaces != 0 {
			replaces[i] = &k.replaces
		}
		if k.undone {
			why[i] = &k.why
		}
	}
	batch.Queue(`INSERT INTO person_links (workspace_id, app_id, number, kind, from_id, from_key, to_id, to_key, ts, event_id,
		  replaces, undone_at, undone_number, undone_why)
		SELECT $1::uuid, $2::uuid, number, kind, from_id, from_key, to_id, to_key, ts, id, replaces,
		  CASE WHEN why IS NOT NULL THEN now() END, CASE WHEN why IS NOT NULL THEN number END, why
		FROM unnest($3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::bigint[], $9::timestamptz[], $10::uuid[], $11::bigint[], $12::text[])
		  AS u (number, kind, from_id, from_key, to_id, to_key, ts, id, replaces, why)`,
		workspaceID, appID, numbers, kinds, fromIDs, fromKeys, toIDs, toKeys, times, ids, replaces, why)
}

// resolver remembers one hop of each key that the sinks met, so that visitors
// who come again cost no question to the database.
type resolver struct {
	mu   sync.Mutex
	apps map[string]*hops
}

// hops are the next keys of an app's keys: 0 where a key is a person of its own.
// They hold at number; a lane uses them under the lock of the app's row.
type hops struct {
	number int64
	next   map[int64]int64
}

const maxHops = 1 << 20 // keys remembered of an app, about 40 MB

func (r *resolver) at(appID string, number int64) *hops {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.apps == nil {
		r.apps = map[string]*hops{}
	}
	h := r.apps[appID]
	if h == nil || h.number != number || len(h.next) > maxHops {
		if len(r.apps) > 1000 {
			clear(r.apps)
		}
		h = &hops{number: number, next: map[int64]int64{}}
		r.apps[appID] = h
	}
	return h
}

// forget drops an app's hops: they may hold what was never committed.
func (r *resolver) forget(appID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.apps, appID)
}

// learn reads the hops of keys, and of the keys that they lead to, where they
// are not known yet.
func (h *hops) learn(ctx context.Context, tx pgx.Tx, workspaceID, appID string, keys map[int64]struct{}) error {
	var ask []int64
	for k := range keys {
		if _, known := h.next[k]; !known {
			ask = append(ask, k)
		}
	}
	for len(ask) > 0 {
		rows, err := tx.Query(ctx, `SELECT from_key, to_key FROM person_links
			WHERE workspace_id = $1 AND app_id = $2 AND from_key = ANY ($3) AND undone_at IS NULL`, workspaceID, appID, ask)
		if err != nil {
			return fmt.Errorf("read person links: %w", err)
		}
		for _, k := range ask {
			h.next[k] = 0
		}
		var from, to int64
		var further []int64
		if _, err := pgx.ForEachRow(rows, []any{&from, &to}, func() error {
			h.next[from] = to
			if _, known := h.next[to]; !known {
				further = append(further, to)
			}
			return nil
		}); err != nil {
			return fmt.Errorf("read person links: %w", err)
		}
		ask = further
	}
	return nil
}

// apply takes in a change. What it cannot tell, the new target of an undone
// link, comes with the change as an inserted one, or is none.
func (h *hops) apply(c *linkChange) {
	for _, k := range c.undo {
		h.next[k.fromKey] = 0
	}
	for i := range c.insert {
		if k := &c.insert[i]; !k.undone {
			h.next[k.fromKey] = k.toKey
		}
	}
	h.number = c.number
}

// person follows the hops. Links form no circle; the bound is for a damaged
// table.
func (h *hops) person(k int64) int64 {
	for range 10_000 {
		to := h.next[k]
		if to == 0 {
			return k
		}
		k = to
	}
	return k
}

// linkCache keeps the links that questions need, per app, for the link number
// and the oldest object that they were read for.
type linkCache struct {
	mu   sync.Mutex
	apps map[string]cachedLinks
}

type cachedLinks struct {
	oldest   int64
	erasures int64 // the app's counter of erasures, which remove links
	links    Links
}

// load returns the links from oldest to number. When only identifies came since
// the last call, it adds them to a copy of what it has. A removal of links moves
// the number as well as the counter of erasures.
func (c *linkCache) load(ctx context.Context, tx pgx.Tx, workspaceID, appID string, number, oldest int64) (Links, error) {
	c.mu.Lock()
	have, ok := c.apps[appID]
	c.mu.Unlock()
	if ok && have.oldest == oldest && have.links.Number == number {
		return have.links, nil
	}
	var erasures int64
	err := tx.QueryRow(ctx, `SELECT erasures FROM lake_apps WHERE workspace_id = $1 AND app_id = $2`, workspaceID, appID).Scan(&erasures)
	if err != nil {
		return Links{}, fmt.Errorf("read person links: %w", err)
	}
	var links Links
	added := false
	if ok && have.oldest == oldest && have.erasures == erasures && have.links.Number < number {
		links, added, err = have.links.advance(ctx, tx, workspaceID, appID, number)
	}
	if err == nil && !added {
		links, err = readLinks(ctx, tx, workspaceID, appID, number, oldest)
	}
	if err != nil {
		return Links{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.apps == nil || len(c.apps) > 64 {
		c.apps = map[string]cachedLinks{}
	}
	if newest := c.apps[appID]; newest.links.Number <= number {
		c.apps[appID] = cachedLinks{oldest, erasures, links}
	}
	return links, nil
}

// advance adds the identifies of (l.Number, number]. It declines when anything
// was undone or any user merged, which may change what is known already.
func (l *Links) advance(ctx context.Context, tx pgx.Tx, workspaceID, appID string, number int64) (Links, bool, error) {
	var changed bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM person_links WHERE workspace_id = $1 AND app_id = $2
		AND (number > $3 AND number <= $4 AND kind = 'alias' OR undone_at IS NOT NULL AND undone_number > $3 AND undone_number <= $4))
		OR EXISTS (SELECT FROM person_links WHERE workspace_id = $1 AND app_id = $2 AND kind = 'alias' AND undone_at IS NULL)`,
		workspaceID, appID, l.Number, number).Scan(&changed)
	if err != nil {
		return Links{}, false, fmt.Errorf("read person links: %w", err)
	}
	if changed {
		return Links{}, false, nil
	}
	fresh, err := queryLinks(ctx, tx, `number > $3 AND number <= $4 AND undone_at IS NULL`, workspaceID, appID, l.Number, number)
	if err != nil {
		return Links{}, false, err
	}
	next := *l
	next.Number = number
	next.ByKey = maps.Clone(l.ByKey)
	if next.ByKey == nil {
		next.ByKey = map[int64]int64{}
	}
	for i := range fresh {
		next.ByKey[fresh[i].fromKey] = fresh[i].toKey
	}
	return next, true, nil
}

// readLinks reads the links as they stood at number, for objects folded through
// oldest or later.
func readLinks(ctx context.Context, tx pgx.Tx, workspaceID, appID string, number, oldest int64) (Links, error) {
	const currentAt = `number <= $3 AND (undone_at IS NULL OR undone_number > $3)`
	links := Links{Number: number, ByKey: map[int64]int64{}, Changed: map[string]int64{}, ChangedUsers: map[string]int64{}}
	aliases, err := queryLinks(ctx, tx, `kind = 'alias' AND `+currentAt, workspaceID, appID, number)
	if err != nil {
		return Links{}, err
	}
	merged := hops{next: make(map[int64]int64, len(aliases))}
	for i := range aliases {
		merged.next[aliases[i].fromKey] = aliases[i].toKey
	}
	fresh, err := queryLinks(ctx, tx, `number > $4 AND `+currentAt, workspaceID, appID, number, oldest)
	if err != nil {
		return Links{}, err
	}
	for i := range fresh {
		links.ByKey[fresh[i].fromKey] = merged.person(fresh[i].toKey)
	}
	// Links that counted when some object was folded and do so no more. Rows
	// under them carry keys that say too little; their own ids decide.
	undone, err := queryLinks(ctx, tx, `undone_at IS NOT NULL AND undone_number > $4 AND undone_number <= $3 AND number < undone_number`,
		workspaceID, appID, number, oldest)
	if err != nil {
		return Links{}, err
	}
	under := map[string][]string{} // user id → user ids that were ever merged into it since
	anonymous := map[string]struct{}{}
	users := map[string]struct{}{}
	for i := range aliases {
		under[aliases[i].toID] = append(under[aliases[i].toID], aliases[i].fromID)
	}
	for i := range undone {
		if undone[i].kind == kindAlias {
			under[undone[i].toID] = append(under[undone[i].toID], undone[i].fromID)
		}
	}
	var collect func(id string)
	collect = func(id string) {
		if _, done := users[id]; done {
			return
		}
		users[id] = struct{}{}
		for _, below := range under[id] {
			collect(below)
		}
	}
	for i := range undone {
		if undone[i].kind == kindAlias {
			collect(undone[i].fromID)
		} else {
			anonymous[undone[i].fromID] = struct{}{}
		}
	}
	for id := range users {
		links.ChangedUsers[id] = merged.person(event.UserKey(id))
	}
	if len(users) == 0 && len(anonymous) == 0 {
		return links, nil
	}
	// What the anonymous ids point to now, and those that point to a changed user.
	pointing, err := queryLinks(ctx, tx, `kind = 'identify' AND `+currentAt+` AND (from_id = ANY ($4) OR to_id = ANY ($5))`,
		workspaceID, appID, number, slices.Collect(maps.Keys(anonymous)), slices.Collect(maps.Keys(users)))
	if err != nil {
		return Links{}, err
	}
	for id := range anonymous {
		links.Changed[id] = event.AnonymousKey(id)
	}
	for i := range pointing {
		links.Changed[pointing[i].fromID] = merged.person(pointing[i].toKey)
	}
	return links, nil
}

// forget drops what was read of an app's links.
func (c *linkCache) forget(appID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.apps, appID)
}
