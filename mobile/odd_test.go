package mobile

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// FuzzOddCalls calls whatever can be called, in any order, on nil, zero, open and
// closed values, from several goroutines. A panic would end the test, as it would end
// the app; one that a method made an error is a defect too.
func FuzzOddCalls(f *testing.F) {
	for _, seed := range []string{"", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f", "close\x06flush\x05", strings.Repeat("\xff\x10", 40)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		c, err := Open(t.TempDir(), &Config{Key: "wk_test", Context: NewEventContext()}, sending(func(r *Reply) error {
			r.SetStatus(int64(len(script)%600) - 1)
			r.SetBody(script)
			return nil
		}), &logs{})
		if err != nil {
			t.Fatal(err)
		}
		values := []any{
			c, &Client{}, (*Client)(nil), c,
			&Properties{}, (*Properties)(nil), &List{}, (*List)(nil), &Traits{}, (*Traits)(nil),
			&Reply{}, (*Reply)(nil), &Stats{}, (*Stats)(nil), c.Stats(), &EventContext{}, (*EventContext)(nil),
		}
		var group sync.WaitGroup
		for offset := range 3 {
			group.Go(func() {
				for i := offset; i+1 < len(script); i++ {
					odd(t, values, script[i], script[i+1], script[i:])
				}
			})
		}
		group.Wait()
		if err := c.Close(30_000); err != nil && !strings.Contains(err.Error(), "not every event was delivered") {
			t.Error(err)
		}
	})
}

// odd calls a method of one of values, with arguments out of script.
func odd(t *testing.T, values []any, which, method byte, script []byte) {
	v := reflect.ValueOf(values[int(which)%len(values)])
	if v.NumMethod() == 0 {
		return
	}
	m := v.Method(int(method) % v.NumMethod())
	name := v.Type().Method(int(method) % v.NumMethod()).Name
	var args []reflect.Value
	for i := range m.Type().NumIn() {
		from := int(script[i%len(script)])
		var arg any
		switch kind := m.Type().In(i); kind.Kind() {
		case reflect.String:
			arg = []string{"", " ", "n", "none", "wifi", string(script), strings.Repeat("\xff", 300), "\x00"}[from%8]
		case reflect.Int64:
			arg = []int64{0, 1, -1, math.MaxInt64, math.MinInt64, 3}[from%6]
			if slices.Contains([]string{"Flush", "Close", "AwaitOpen"}, name) { // which wait
				arg = int64(from%3) - 1
			}
		case reflect.Float64:
			arg = []float64{0, math.NaN(), math.Inf(1), -1.5}[from%4]
		case reflect.Bool:
			arg = from%2 == 0
		case reflect.Slice:
			arg = slices.Clone(script)
		default:
			args = append(args, pick(values, kind, from))
			continue
		}
		args = append(args, reflect.ValueOf(arg))
	}
	for _, result := range m.Call(args) {
		if err, ok := result.Interface().(error); ok && strings.Contains(err.Error(), "internal error") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// pick is one of the values of a type.
func pick(values []any, kind reflect.Type, from int) reflect.Value {
	var fit []reflect.Value
	for _, v := range values {
		if reflect.TypeOf(v) == kind {
			fit = append(fit, reflect.ValueOf(v))
		}
	}
	return fit[from%len(fit)]
}

func TestValuesMayBeSharedByThreads(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := open(t, "", s, nil)
	p, l := NewProperties(), NewList()
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := range 100 {
				p.PutLong(strings.Repeat("k", i+1), int64(n))
				l.AddLong(int64(n))
				p.PutList("list", l)
				if err := c.Track("n", p); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	flush(t, c)
	if got := len(s.seen()); got != 400 {
		t.Errorf("%d events arrived, want 400", got)
	}
}

func TestPutAgainReplacesWithoutGrowing(t *testing.T) {
	t.Parallel()
	c := open(t, "", serve(t), nil)
	p := NewProperties()
	for range 1000 {
		p.PutString("k", strings.Repeat("v", 1000))
	}
	if err := c.Track("n", p); err != nil {
		t.Error(err)
	}
}

func TestAnEventKeepsWhatItWasRecordedWith(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := open(t, t.TempDir(), s, nil)
	p, inner := NewProperties(), NewProperties()
	inner.PutString("k", "before")
	p.PutObject("o", inner)
	if err := c.Track("n", p); err != nil { // before there is a queue
		t.Fatal(err)
	}
	inner.PutString("k", "after")
	p.PutString("k", "after")
	flush(t, c)
	if got := s.seen()[0].properties; got != `{"o":{"k":"before"}}` {
		t.Errorf("arrived: %s", got)
	}
}
