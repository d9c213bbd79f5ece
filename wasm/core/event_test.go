package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/causality-project/causality/sdk/core"
)

func TestEventIsReadAsTheTypeScriptCoreWritesIt(t *testing.T) {
	t.Parallel()
	got, err := readEvent(`{
		"id": "i", "type": 2, "name": "n", "timestamp": -1700000000000001, "userId": "u", "anonymousId": "a",
		"sessionId": "s", "correlationId": "c", "groups": {"company": "acme", "team": null},
		"context": {
			"app": {"version": "1", "build": "2", "namespace": "3", "later": [{}]},
			"device": {"id": "4", "manufacturer": "5", "model": "6", "type": "7"},
			"os": {"name": "8", "version": "9"},
			"screen": {"width": 1080.5, "height": 99999999999, "density": 2.625},
			"locale": "pt", "timeZone": "Europe/Lisbon",
			"network": {"wifi": true, "cellular": false, "carrier": "10"},
			"page": {"url": "11", "path": "12", "title": "13", "referrer": "14"},
			"campaign": {"source": "15", "medium": "16", "name": "17", "term": "18", "content": "19"},
			"library": {"name": "20", "version": "21"},
			"ip": "22", "userAgent": "23", "geo": {"country": "24", "region": "25", "city": "26"}, "platform": "web"
		},
		"properties": {"big": 18446744073709551616.5e+3, "list": [1, "two", true, null, {}, []], "bigger": {"": -0}},
		"traits": {"set": {"a": 1}, "setOnce": {"b": "2"}, "add": {"c": 3}, "unset": ["d", "e"]},
		"groupType": "27", "groupId": "28", "previousId": "29", "unknown": {"skipped": [1]}
	}`)
	if err != nil {
		t.Fatal(err)
	}
	want := core.Event{
		ID: "i", Type: core.Identify, Name: "n", Timestamp: -1700000000000001, UserID: "u", AnonymousID: "a",
		SessionID: "s", CorrelationID: "c", Groups: map[string]string{"company": "acme", "team": ""},
		Context: &core.Context{
			App:    core.App{Version: "1", Build: "2", Namespace: "3"},
			Device: core.Device{ID: "4", Manufacturer: "5", Model: "6", Type: "7"},
			OS:     core.OS{Name: "8", Version: "9"},
			Screen: core.Screen{Width: 1080, Height: math.MaxInt32, Density: 2.625},
			Locale: "pt", TimeZone: "Europe/Lisbon",
			Network:  core.Network{WiFi: true, Carrier: "10"},
			Page:     core.Page{URL: "11", Path: "12", Title: "13", Referrer: "14"},
			Campaign: core.Campaign{Source: "15", Medium: "16", Name: "17", Term: "18", Content: "19"},
			Library:  core.Library{Name: "20", Version: "21"},
			IP:       "22", UserAgent: "23", Geo: core.Geo{Country: "24", Region: "25", City: "26"}, Platform: "web",
		},
		Properties: map[string]any{
			"big":    core.Number("18446744073709551616.5e+3"),
			"list":   []any{core.Number("1"), "two", true, nil, map[string]any{}, []any{}},
			"bigger": map[string]any{"": core.Number("-0")},
		},
		Traits: &core.Traits{
			Set: map[string]any{"a": core.Number("1")}, SetOnce: map[string]any{"b": "2"},
			Add: map[string]any{"c": core.Number("3")}, Unset: []string{"d", "e"},
		},
		GroupType: "27", GroupID: "28", PreviousID: "29",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestNullIsNothingAndTheLastOfEqualKeysCounts(t *testing.T) {
	t.Parallel()
	got, err := readEvent(`{"name":"first","name":"n","id":null,"type":null,"timestamp":null,"groups":null,` +
		`"context":{"screen":null,"page":null,"network":{"wifi":null}},"properties":{"a":1},"properties":{"b":1,"b":2},"traits":null}`)
	if err != nil {
		t.Fatal(err)
	}
	want := core.Event{
		Name: "n", Context: &core.Context{}, Properties: map[string]any{"b": core.Number("2")}, Traits: &core.Traits{},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestRefusalNamesTheField(t *testing.T) {
	t.Parallel()
	for text, field := range map[string]string{
		``:                                      "event",
		`[]`:                                    "event",
		`null`:                                  "event",
		`{"name":"n"`:                           "event",
		`{"name":"n"} x`:                        "event",
		`{"name":"n",}`:                         "event",
		`{"name":5}`:                            "name",
		`{"userId":{}}`:                         "user_id",
		`{"timestamp":1e3}`:                     "timestamp",
		`{"timestamp":99999999999999999999}`:    "timestamp",
		`{"timestamp":"now"}`:                   "timestamp",
		`{"groups":{"a":1}}`:                    "groups",
		`{"context":{"page":[]}}`:               "context",
		`{"properties":[]}`:                     "properties",
		`{"properties":{"a":01}}`:               "properties",
		`{"properties":{"a":nul}}`:              "properties",
		`{"traits":{"setOnce":1}}`:              "traits.set_once",
		`{"traits":{"unset":{}}}`:               "traits.unset",
		`{"properties":` + nested(200) + `}`:    "properties",
		`{"later":` + nested(200) + `}`:         "event",
		`{"properties":{"a":"` + "\x01" + `"}}`: "properties",
		`{"properties":{"a":"\u12"}}`:           "properties",
		`{"a":"` + strings.Repeat("x", maxText) + `"}`:    "event",
		strings.Repeat("[", maxText):                      "event",
		`{"properties":` + strings.Repeat(`{"a":`, 50000): "properties",
	} {
		_, err := readEvent(text)
		if err == nil {
			t.Errorf("%.60q is read", text)
		} else if err.Field != field {
			t.Errorf("%.60q: the field is %q, want %q (%v)", text, err.Field, field, err)
		}
	}
}

func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
}

// Properties deeper than the core takes are refused with the name of the property.
func TestTheCoreRefusesDeepProperties(t *testing.T) {
	t.Parallel()
	e, invalid := readEvent(`{"name":"n","properties":` + nested(34) + `}`)
	if invalid != nil {
		t.Fatal(invalid)
	}
	_, err := core.Encode(nil, 0, &e, nil)
	var refused *core.InvalidError
	if !errors.As(err, &refused) || !strings.HasPrefix(refused.Field, "properties.a.a.") {
		t.Errorf("the error is %v", err)
	}
}

// FuzzProperties holds the reader to encoding/json: it reads what that reads, and to the same values.
func FuzzProperties(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1}`, `{"a":[1,2,{"b":null}],"a":true}`, `{"a":"\ud83d\ude00 \ud83d \ude00 \ud83dx \u0000\"\\\/\b\f\n\r\t"}`,
		`{"a":-0.5e-7,"b":1E+9,"c":123456789012345678901234567890}`, "{\"a\":\"\xff\xfe ü\",\"\xff\":1,\"\xfe\":2}", ` { "a" : [ ] } `,
		`{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":+1}`, `{"a":tru}`, `{"a" 1}`, `{"a":1,}`, `[`, `{"a":"\x"}`, "{\"a\":\"\n\"}", `{} {}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := readEvent(`{"properties":` + text + `}`)
		d := json.NewDecoder(strings.NewReader(`{"properties":` + text + `}`))
		d.UseNumber()
		var all map[string]any
		valid := json.Valid([]byte(`{"properties":` + text + `}`))
		if err == nil && !valid {
			t.Fatal("the reader takes what is not JSON")
		}
		if !valid || d.Decode(&all) != nil {
			return
		}
		want, isObject := all["properties"].(map[string]any)
		for key := range all { // whatever text does to leave the braces
			if key != "properties" {
				return
			}
		}
		if all["properties"] == nil {
			isObject = true
		}
		if err != nil {
			if isObject && depth(all) < maxNesting && len(text) < maxText/2 {
				t.Fatalf("the reader refuses it: %v", err)
			}
			return
		}
		if !isObject {
			t.Fatal("the reader takes what is no object")
		}
		if len(want) == 0 {
			want = nil
		}
		if got := e.Properties; !reflect.DeepEqual(plain(got), plain(want)) {
			t.Errorf("got  %#v\nwant %#v", got, want)
		}
	})
}

// plain makes the numbers of both readers alike.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, inner := range v {
			out[k] = plain(inner)
		}
		return out
	case []any:
		out := []any{}
		for _, inner := range v {
			out = append(out, plain(inner))
		}
		return out
	case core.Number:
		return json.Number(v)
	}
	return v
}

func depth(v any) int {
	deepest := 0
	switch v := v.(type) {
	case map[string]any:
		for _, inner := range v {
			deepest = max(deepest, depth(inner))
		}
	case []any:
		for _, inner := range v {
			deepest = max(deepest, depth(inner))
		}
	default:
		return 0
	}
	return deepest + 1
}

// FuzzEvent throws anything at the reader, and what it reads at the encoder: the properties that travel are JSON.
func FuzzEvent(f *testing.F) {
	for _, seed := range []string{
		`{"name":"n"}`,
		`{"name":"n","timestamp":1700000000000001,"groups":{"a":"b"},"context":{"screen":{"width":1,"density":2.5}},"properties":{"a":[1]}}`,
		`{"type":2,"userId":"u","traits":{"set":{"a":1},"add":{"b":2.5e3},"unset":["c"]}}`,
		`{"type":4,"userId":"u","previousId":"p"}`, `{"type":-1}`, `{"type":300}`, "{\"name\":\"\xff\\ud800\"}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, invalid := readEvent(text)
		if invalid != nil {
			if invalid.Field == "" || invalid.Problem == "" {
				t.Errorf("the error says nothing: %+v", invalid)
			}
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatal("the reader takes what is not JSON")
		}
		encoded, err := core.Encode(nil, 1, &e, nil)
		if err != nil {
			return
		}
		if travels := field(t, encoded.Bytes(), 11); len(e.Properties) > 0 && !json.Valid(travels) {
			t.Errorf("what travels is not JSON: %q", travels)
		}
	})
}

// field finds a field of bytes in an encoded event, of which all others are numbers or bytes too.
func field(t *testing.T, message []byte, number uint64) []byte {
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		v, m := binary.Uvarint(message[max(n, 0):])
		if n <= 0 || m <= 0 {
			t.Fatalf("the event is cut off: %x", message)
		}
		message = message[n+m:]
		if tag&7 == 0 {
			continue
		}
		if tag&7 != 2 || v > uint64(len(message)) {
			t.Fatalf("the event has a field %d of a wrong length", tag>>3)
		}
		if tag>>3 == number {
			return message[:v]
		}
		message = message[v:]
	}
	return nil
}

func TestTapeReadsWhatItWrote(t *testing.T) {
	t.Parallel()
	var out tape
	out.putNumber(math.Inf(1))
	out.putInt(1 << 53)
	out.putBool(true)
	out.putText("ü")
	in := out
	if v := in.number(); !math.IsInf(v, 1) {
		t.Errorf("got %v", v)
	}
	if v := in.number(); v != 1<<53 {
		t.Errorf("got %v", v)
	}
	if v := in.int(); v != 1 {
		t.Errorf("got %v", v)
	}
	if v := in.bytes(); string(v) != "ü" {
		t.Errorf("got %q", v)
	}
	if len(in) != 0 {
		t.Errorf("%d bytes are left", len(in))
	}
}

// What the host writes is not trusted: beyond the end there are zeros, and a count is never more than what is there.
func TestTapeEndsInZeros(t *testing.T) {
	t.Parallel()
	for _, v := range []float64{math.NaN(), math.Inf(1), -1, 1e300, 5} {
		var in tape
		in.putNumber(v)
		in = append(in, 1, 2)
		if b := in.bytes(); len(b) > 2 {
			t.Errorf("%v: %d bytes", v, len(b))
		}
		in = in[:0]
		if in.int() != 0 || in.number() != 0 || len(in.bytes()) != 0 {
			t.Errorf("%v: something comes after the end", v)
		}
	}
	if short := (tape{1, 2, 3}); short.number() != 0 || !slices.Equal(short, nil) {
		t.Error("half a number is read")
	}
}
