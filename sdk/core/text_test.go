package core

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestPropertiesBecomeTheTextThatJavaScriptWouldWrite(t *testing.T) {
	t.Parallel()
	tests := map[string]any{
		`null`:                     nil,
		`true`:                     true,
		`-9223372036854775808`:     int64(math.MinInt64),
		`18446744073709551615`:     uint64(math.MaxUint64),
		`0`:                        math.Copysign(0, -1),
		`12.5`:                     12.5,
		`0.1`:                      float32(0.1),
		`1e+21`:                    1e21,
		`100000000000000000000`:    1e20,
		`1e-7`:                     1e-7,
		`0.000001`:                 1e-6,
		`5e-324`:                   math.SmallestNonzeroFloat64,
		`"\"\\\n\t\u0001<é\u007f"`: "\"\\\n\t\x01<é\x7f",
		`["a",1,{}]`:               []any{"a", 1, map[string]any{}},
		`["x","y"]`:                []string{"x", "y"},
		`{"a":1,"b":{"c":null}}`:   map[string]any{"b": map[string]any{"c": nil}, "a": int8(1)},
	}
	for want, v := range tests {
		got, err := appendValue(nil, v, 1, nil)
		if err != nil {
			t.Errorf("%v: %v", v, err)
		}
		if want == `"\"\\\n\t\u0001<é\u007f"` {
			want = "\"\\\"\\\\\\n\\t\\u0001<é\x7f\""
		}
		if string(got) != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

func TestValuesWithoutAJSONFormAreRefusedByName(t *testing.T) {
	t.Parallel()
	deep := map[string]any{}
	for range 40 {
		deep = map[string]any{"d": deep}
	}
	for field, m := range map[string]map[string]any{
		"properties.nan":        {"nan": math.NaN()},
		"properties.a.1":        {"a": []any{1, math.Inf(1)}},
		"properties.chan":       {"chan": make(chan int)},
		"properties.deep.d.d.d": {"deep": deep},
	} {
		_, err := Encode(nil, 1, &Event{Name: "x", Properties: m}, nil)
		var invalid *InvalidError
		if !errors.As(err, &invalid) || len(invalid.Field) < len(field) || invalid.Field[:len(field)] != field {
			t.Errorf("Encode = %v, want it to name %s", err, field)
		}
	}
}

// TestTextReadsBack compares with the standard library's reader.
func TestTextReadsBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		f := rapid.Float64().Draw(t, "number")
		text, err := appendValue(nil, map[string]any{"s": s, "f": f}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		var back struct {
			S string
			F float64
		}
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		mended := string(appendMended(nil, s))
		if back.S != mended || back.F != f || !utf8.ValidString(mended) || len(mended) != validLen(s) {
			t.Fatalf("%q and %v came back as %q and %v", s, f, back.S, back.F)
		}
		like, _ := json.Marshal(f)
		if n, _ := appendFloat(nil, f, 64); f != 0 && string(n) != string(like) {
			t.Fatalf("%v is written %s, the standard library writes %s", f, n, like)
		}
	})
}

func FuzzDecodeResponse(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{8, 2, 16, 1})
	f.Add([]byte("\x1a\x10\x08\x01\x12\x02id\x1a\x04code\x2a\x01m"))
	f.Add([]byte{0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		answer, ok := DecodeAnswer(b)
		if ok && len(answer.Rejected) > len(b) {
			t.Errorf("%d rejections out of %d bytes", len(answer.Rejected), len(b))
		}
	})
}

func FuzzState(f *testing.F) {
	c := newCore(f, Config{})
	f.Add(c.encodeState())
	f.Add([]byte("\x08\x01\x10\x01\x1a\x01x\x20\x02\x28\x05\x30\x05\x38\x07\x40\x01\x48\x01\x52\x0b\x0a\x07expired\x10\x02"))
	shared := newCore(f, Config{Shared: true})
	shared.Lead(1, nil, []BlockInfo{{1, 1, 3, 300}, {2, 2, 2, 200}})
	f.Add(shared.encodeState())
	f.Add([]byte("\x08\x02\x10\x01\x1a\x01x\x20\x01\x60\x02"))
	stored := []BlockInfo{{1, 1, 3, 300}, {2, 2, 2, 200}}
	f.Fuzz(func(t *testing.T, state []byte) {
		c, err := New(Config{Random: random(), Visitor: &VisitorConfig{}}, state, stored)
		if err != nil {
			t.Fatal(err)
		}
		sendAll(t, c)
		c, err = New(Config{Random: random(), Shared: true}, state, stored)
		if err != nil {
			t.Fatal(err)
		}
		c.Lead(1, state, stored)
		sendAll(t, c)
	})
}

// sendAll answers for all that a core sends of a queue of five events in two blocks,
// which it must not leave.
func sendAll(t *testing.T, c *Core) {
	t.Helper()
	now := Micros(1_790_000_000) * Second
	c.cfg.MaxAge = Never
	left := c.queuedEvents
	for range 100 {
		command, more := c.Poll(now)
		if !more {
			now = min(c.Deadline(now), now+Hour)
		}
		if command.Commit != nil {
			c.Committed(now, true)
		}
		if r := command.Send; r != nil {
			if r.Events < 1 || r.Skip+r.Events > 5 || r.First < 1 || r.Last > 2 || r.First > r.Last {
				t.Fatalf("request %+v from a queue of 5 events", r)
			}
			left -= r.Events
			c.Answered(now, r.Attempt, Response{Status: 200, Body: []byte{8, 5}})
		}
	}
	if s := c.Stats(); s.Queued != 0 || left != 0 && !s.OptedOut {
		t.Fatalf("%d events are left, %d unsent, %+v", s.Queued, left, s)
	}
}

func FuzzAppendBody(f *testing.F) {
	f.Add([]byte("\x0a\x01a\x0a\x02bc"), 1, 1)
	f.Fuzz(func(t *testing.T, block []byte, skip, events int) {
		body, ok := AppendBody(nil, [][]byte{block}, skip, events, nil)
		if ok && len(body) > len(block) {
			t.Errorf("%d bytes out of %d", len(body), len(block))
		}
	})
}

// TestTypesOfPropertiesAreAllKnown keeps the type switch complete for scalars.
func TestTypesOfPropertiesAreAllKnown(t *testing.T) {
	t.Parallel()
	for _, v := range []any{int(1), int8(1), int16(1), int32(1), int64(1), uint(1), uint8(1), uint16(1), uint32(1), uint64(1), float32(1), float64(1)} {
		got, err := appendValue(nil, v, 1, nil)
		if n, bad := strconv.Atoi(string(got)); err != nil || bad != nil || n != 1 {
			t.Errorf("%s is written %s (%v)", reflect.TypeOf(v), got, err)
		}
	}
}

func BenchmarkEncodeAndAdd(b *testing.B) {
	c := newCore(b, Config{})
	now := Micros(1_790_000_000) * Second
	e := &Event{
		Name: "order paid", UserID: "user-4711", SessionID: "s-1",
		Properties: map[string]any{"total": 12.5, "plan": "pro", "items": 3, "coupon": strings.Repeat("c", 100)},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Track(now, e); err != nil {
			b.Fatal(err)
		}
		if len(c.unsaved) > 0 {
			c.Poll(now)
			c.Committed(now, true)
		}
	}
}
