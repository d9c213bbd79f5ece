package mobile

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/causality-project/causality/sdk/core"
)

const (
	// mostWeight bounds what the values of one event may hold before it is encoded,
	// where at most core.MaxEventBytes are left. It also ends what is put into itself.
	mostWeight = 2 * core.MaxEventBytes
	// mostDepth is beyond what the encoder allows, which then names the place.
	mostDepth = 40
)

// values is what Properties and List share: a limit, and a lock, since the
// platform's threads may share one. What has been put in is never changed, so a
// shallow copy is a snapshot.
type values struct {
	mu     sync.Mutex
	weight int
	depth  int // of the values in it
	tooBig bool
}

// admit makes room, unless that is too much.
func (v *values) admit(cost, depth int) bool {
	if v.weight+cost > mostWeight || depth > mostDepth {
		v.tooBig = true
		return false
	}
	v.weight, v.depth = v.weight+cost, max(v.depth, depth)
	return true
}

func weigh(v any) int {
	weight := 8
	switch v := v.(type) {
	case string:
		weight += len(v)
	case map[string]any:
		for key, value := range v {
			weight += len(key) + weigh(value)
		}
	case []any:
		for _, value := range v {
			weight += weigh(value)
		}
	}
	return weight
}

func tooBig(field string) error {
	return &core.InvalidError{Field: field, Problem: "are larger than 64 KiB, or nested too deep; send less in them", Reason: core.TooLarge}
}

// Properties are the properties of an event, or an object among them. A key that
// is put again replaces its value. Objects and lists are copied when they are put:
// later changes of them change nothing here.
//
// A value that makes the whole too large is left out, and the event then refused.
type Properties struct {
	values
	m map[string]any
}

// NewProperties returns empty ones.
func NewProperties() *Properties { return &Properties{} }

func (p *Properties) put(key string, value any, depth int) {
	defer contain()
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	cost := weigh(value)
	if old, replaces := p.m[key]; replaces {
		cost -= weigh(old)
	} else {
		cost += len(key)
	}
	if !p.admit(cost, depth) {
		return
	}
	if p.m == nil {
		p.m = make(map[string]any, 8)
	}
	p.m[key] = value
}

// PutString puts a text.
func (p *Properties) PutString(key, value string) { p.put(key, value, 0) }

// PutLong puts an integer.
func (p *Properties) PutLong(key string, value int64) { p.put(key, value, 0) }

// PutDouble puts a number. One that JSON does not have (NaN, infinity) makes the
// event invalid.
func (p *Properties) PutDouble(key string, value float64) { p.put(key, value, 0) }

// PutBool puts true or false.
func (p *Properties) PutBool(key string, value bool) { p.put(key, value, 0) }

// PutNull puts null.
func (p *Properties) PutNull(key string) { p.put(key, nil, 0) }

// PutObject puts a copy of value; nil is null.
func (p *Properties) PutObject(key string, value *Properties) {
	v, depth, ok := value.asValue()
	p.putCopy(key, v, depth, ok)
}

// PutList puts a copy of value; nil is null.
func (p *Properties) PutList(key string, value *List) {
	v, depth, ok := value.asValue()
	p.putCopy(key, v, depth, ok)
}

func (p *Properties) putCopy(key string, v any, depth int, ok bool) {
	if ok {
		p.put(key, v, depth)
	} else if p != nil {
		p.mu.Lock()
		p.tooBig = true
		p.mu.Unlock()
	}
}

// asValue is a copy as a value of another's; ok is false when something was left out.
func (p *Properties) asValue() (v any, depth int, ok bool) {
	if p == nil {
		return nil, 0, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		return map[string]any{}, p.depth + 1, !p.tooBig
	}
	return maps.Clone(p.m), p.depth + 1, !p.tooBig
}

// snapshot is a copy that nobody changes. field names the whole in errors.
func (p *Properties) snapshot(field string) (map[string]any, error) {
	if p == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tooBig {
		return nil, tooBig(field)
	}
	return maps.Clone(p.m), nil
}

// List is a list among properties. It copies like Properties.
type List struct {
	values
	list []any
}

// NewList returns an empty one.
func NewList() *List { return &List{} }

func (l *List) add(value any, depth int) {
	defer contain()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.admit(weigh(value), depth) {
		l.list = append(l.list, value)
	}
}

// AddString adds a text.
func (l *List) AddString(value string) { l.add(value, 0) }

// AddLong adds an integer.
func (l *List) AddLong(value int64) { l.add(value, 0) }

// AddDouble adds a number.
func (l *List) AddDouble(value float64) { l.add(value, 0) }

// AddBool adds true or false.
func (l *List) AddBool(value bool) { l.add(value, 0) }

// AddNull adds null.
func (l *List) AddNull() { l.add(nil, 0) }

// AddObject adds a copy of value; nil is null.
func (l *List) AddObject(value *Properties) {
	v, depth, ok := value.asValue()
	l.addCopy(v, depth, ok)
}

// AddList adds a copy of value; nil is null.
func (l *List) AddList(value *List) {
	v, depth, ok := value.asValue()
	l.addCopy(v, depth, ok)
}

func (l *List) addCopy(v any, depth int, ok bool) {
	if ok {
		l.add(v, depth)
	} else if l != nil {
		l.mu.Lock()
		l.tooBig = true
		l.mu.Unlock()
	}
}

func (l *List) asValue() (v any, depth int, ok bool) {
	if l == nil {
		return nil, 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list == nil {
		return []any{}, l.depth + 1, !l.tooBig
	}
	return slices.Clone(l.list), l.depth + 1, !l.tooBig
}

// Traits change what is known of a person or group, key by key.
type Traits struct {
	mu                sync.Mutex
	set, setOnce, add *Properties
	unset             []string
	weight            int
	tooBig            bool
}

// NewTraits returns empty ones.
func NewTraits() *Traits { return &Traits{} }

// Set is what replaces.
func (t *Traits) Set() *Properties {
	if t == nil {
		return &Properties{}
	}
	return t.part(&t.set)
}

// SetOnce is what counts only where nothing is known yet.
func (t *Traits) SetOnce() *Properties {
	if t == nil {
		return &Properties{}
	}
	return t.part(&t.setOnce)
}

// Add is what is added to numbers.
func (t *Traits) Add() *Properties {
	if t == nil {
		return &Properties{}
	}
	return t.part(&t.add)
}

func (t *Traits) part(p **Properties) *Properties {
	t.mu.Lock()
	defer t.mu.Unlock()
	if *p == nil {
		*p = &Properties{}
	}
	return *p
}

// Unset forgets a key.
func (t *Traits) Unset(key string) {
	defer contain()
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.weight += len(key) + 8; t.weight > mostWeight {
		t.tooBig = true
		return
	}
	t.unset = append(t.unset, strings.Clone(key))
}

func (t *Traits) toCore() (*core.Traits, error) {
	if t == nil {
		return nil, nil
	}
	t.mu.Lock()
	set, setOnce, add := t.set, t.setOnce, t.add
	out := &core.Traits{Unset: slices.Clone(t.unset)}
	big := t.tooBig
	t.mu.Unlock()
	if big {
		return nil, tooBig("traits.unset")
	}
	var err error
	if out.Set, err = set.snapshot("traits.set"); err != nil {
		return nil, err
	}
	if out.SetOnce, err = setOnce.snapshot("traits.set_once"); err != nil {
		return nil, err
	}
	if out.Add, err = add.snapshot("traits.add"); err != nil {
		return nil, err
	}
	return out, nil
}
