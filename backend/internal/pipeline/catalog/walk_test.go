package catalog

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestWalkVisitsTopLevelMembers(t *testing.T) {
	t.Parallel()
	type member struct {
		Name string
		Kind Kind
		Raw  string
	}
	tests := map[string]struct {
		text string
		want []member
		ok   bool
	}{
		"every kind": {
			` {"a":"x" , "b":-1.5e3,"c":true,"d":false,"e":[1,"]",{"f":2}],"g":{"h":"}"},"i":null } `,
			[]member{{"a", Text, `"x"`}, {"b", Number, "-1.5e3"}, {"c", Boolean, "true"}, {"d", Boolean, "false"}, {"e", List, `[1,"]",{"f":2}]`}, {"g", Object, `{"h":"}"}`}}, true},
		"empty":            {"{}", nil, true},
		"escapes":          {`{"a\"b":"c\\","d":"\\\""}`, []member{{`a"b`, Text, `"c\\"`}, {"d", Text, `"\\\""`}}, true},
		"unicode escape":   {`{"\u00e4":1}`, []member{{"ä", Number, "1"}}, true},
		"no object":        {`[1]`, nil, false},
		"nothing":          {``, nil, false},
		"cut in a string":  {`{"a":1,"b":"x`, []member{{"a", Number, "1"}}, false},
		"cut after colon":  {`{"a":`, nil, false},
		"trailing garbage": {`{"a":1} x`, []member{{"a", Number, "1"}}, false},
		"a word":           {`{"a":yes}`, nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []member
			ok := Walk(tt.text, func(name string, kind Kind, raw string) { got = append(got, member{name, kind, raw}) })
			if ok != tt.ok {
				t.Errorf("Walk = %v, want %v", ok, tt.ok)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("members (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKindsAreListedInOrder(t *testing.T) {
	t.Parallel()
	if got := (Object | Text | Boolean).Names(); !slices.Equal(got, []string{"text", "boolean", "object"}) {
		t.Errorf("names %v", got)
	}
}

func TestStorableIsTakenByPostgreSQL(t *testing.T) {
	t.Parallel()
	if got := Storable("a\x00b\x1fc\xffd"); got != "abc\uFFFDd" {
		t.Errorf("Storable = %q", got)
	}
}

// FuzzWalk compares with encoding/json on whatever that takes as an object.
func FuzzWalk(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `{"a":{"b":[1,2,{"c":"}"}]},"d":null}`, `{"\u0061":"\\"}`, `{"a":tru}`, `{"a":1,}`, `{`, `{"x":"\ud800"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := map[string]string{}
		ok := Walk(text, func(name string, kind Kind, raw string) {
			if kind == 0 || !strings.Contains(text, raw) {
				t.Fatalf("kind %d of %q", kind, raw)
			}
			got[name] = raw
			_ = sampleOf(kind, raw)
			if sample := sampleOf(kind, raw); !utf8.ValidString(sample) || utf8.RuneCountInString(sample) > maxSampleRunes+1 {
				t.Fatalf("sample %q", sample)
			}
		})
		var want map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &want) != nil || want == nil || !utf8.ValidString(text) {
			return
		}
		if !ok {
			t.Fatalf("Walk refuses %q", text)
		}
		for name, raw := range want {
			if string(raw) == "null" {
				// A repeated name may be null last and a value before.
				delete(got, name)
				continue
			}
			if !strings.Contains(name, "\uFFFD") && got[name] != string(raw) && strings.Count(text, string(raw)) == 1 {
				t.Fatalf("member %q is %q, want %q", name, got[name], raw)
			}
		}
	})
}

func BenchmarkWalk(b *testing.B) {
	const text = `{"price":129.99,"sku":"sku-1234","title":"A thing that is sold","position":3,"list":"home","tags":["a","b"],"first":true}`
	b.ReportAllocs()
	for b.Loop() {
		Walk(text, func(string, Kind, string) {})
	}
}
