package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	eventv1 "github.com/causality-project/causality/proto/gen/causality/event/v1"
	ingestv1 "github.com/causality-project/causality/proto/gen/causality/ingest/v1"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func TestTypedEventsAreHeldToTheirMessage(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	tests := map[string]struct{ name, properties, field, says string }{ // no field: it is accepted
		"every kind":               {"purchase_complete", `{"order_id":"o1","revenue":12.50,"currency":"EUR","item_count":2,"products":[{"product_id":"p","price":1,"quantity":2}]}`, "", ""},
		"nothing":                  {"purchase_complete", `{}`, "", ""},
		"null is none":             {"purchase_complete", `{"revenue":null,"order_id":null,"item_count": null,"products":null}`, "", ""},
		"what is the sender's own": {"purchase_complete", `{"revenue":1,"store":7,"orderId":7,"Revenue":"x","lines":[1,"a"]}`, "", ""},
		"a camelCase event":        {"purchaseComplete", `{"revenue":"12,50"}`, "properties.revenue", `a number, not text ("12,50")`},
		"text for a number":        {"purchase_complete", `{"order_id":"o1","revenue":"12.50"}`, "properties.revenue", `purchase_complete must be a number, not text ("12.50")`},
		"a number for text":        {"product_view", `{"product_id":42}`, "properties.product_id", "text, not the number 42"},
		"text for true":            {"user_login", `{"success":"yes"}`, "properties.success", "true or false"},
		"a number for true":        {"user_login", `{"success":1}`, "properties.success", "true or false, not the number 1"},
		"false":                    {"user_login", `{"success":false}`, "", ""},
		"true for a number":        {"scroll_event", `{"depth":true}`, "properties.depth", "a number, not true"},
		"an object for text":       {"error", `{"message":{"text":"boom"}}`, "properties.message", "text, not an object"},
		"a list for text":          {"search", `{"query":["a"]}`, "properties.query", "text, not a list"},
		"half an item":             {"search", `{"results":1.5}`, "properties.results", "a whole number, not the number 1.5"},
		"whole as floating":        {"search", `{"results":5.0}`, "", ""},
		"whole in exponents":       {"search", `{"results":1.5e1}`, "", ""},
		"whole and negative":       {"search", `{"results":-3}`, "", ""},
		"whole of 64 bits":         {"screen_exit", `{"duration_ms":9223372036854775807}`, "", ""},
		"beyond 64 bits":           {"screen_exit", `{"duration_ms":9223372036854775808}`, "properties.duration_ms", "a whole number"},
		"whole and far beyond":     {"screen_exit", `{"duration_ms":1e400}`, "properties.duration_ms", "a whole number"},
		"text for a whole number":  {"search", `{"results":"12"}`, "properties.results", "a whole number, not text"},
		"a list of texts":          {"user_profile_update", `{"fields":["name","plan"]}`, "", ""},
		"an empty list":            {"user_profile_update", `{"fields":[]}`, "", ""},
		"a number among texts":     {"user_profile_update", `{"fields":["name", 7]}`, "properties.fields", "fields[1] of the typed event user_profile_update must be text, not the number 7"},
		"null among texts":         {"user_profile_update", `{"fields":[null]}`, "properties.fields", "fields[0] of the typed event user_profile_update must be text, not null"},
		"text for a list":          {"user_profile_update", `{"fields":"name"}`, "properties.fields", "a list of texts"},
		"an object for a list":     {"purchase_complete", `{"products":{"product_id":"p"}}`, "properties.products", "a list of objects, not an object"},
		"text among objects":       {"purchase_complete", `{"products":[{},"p"]}`, "properties.products", "products[1] of the typed event purchase_complete must be an object, not text"},
		"deep in an object":        {"purchase_complete", `{"products":[{"price":1},{"name":"x","mine":[{"price":"x"}],"price":"free"}]}`, "properties.products", `products[1].price of the typed event purchase_complete must be a number, not text ("free")`},
		"null in an object":        {"purchase_complete", `{"products":[{"price":null}]}`, "", ""},
		"the second of a name":     {"search", `{"query":"a","query":1}`, "properties.query", "text"},
		"an escaped name":          {"search", `{"qu\u0065ry":1}`, "properties.query", "text"},
		"white space":              {"search", " {\n \"query\" :\t1 } ", "properties.query", "text"},
		"long text is cut":         {"search", `{"results":"` + strings.Repeat("é", 200) + `"}`, "properties.results", "é…)"},
		"a name of one's own":      {"purchase_completed", `{"revenue":"12.50","products":"none"}`, "", ""},
		"the last of many members": {"search", `{` + strings.Repeat(`"x":1,`, 900) + `"query":1}`, "properties.query", "text"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			quoted, err := json.Marshal(tt.properties)
			if err != nil {
				t.Fatal(err)
			}
			body, err := proto.Marshal(&ingestv1.IngestRequest{Events: []*eventv1.Event{{Name: tt.name, Properties: tt.properties}}})
			if err != nil {
				t.Fatal(err)
			}
			for form, req := range map[string]Request{
				"JSON":      {Format: JSON, Body: []byte(`{"name":"` + tt.name + `","traits":{"set":{"query":1}},"properties":` + tt.properties + `,"context":{"app":{"version":"1"}}}`)},
				"JSON text": {Format: JSON, Body: []byte(`{"properties":` + string(quoted) + `,"name":"` + tt.name + `"}`)},
				"protobuf":  {Body: body},
			} {
				req.Sender = anyone
				answer, batch := d.accept(t, t.Context(), req)
				if tt.field == "" {
					if answer.Accepted != 1 || batch.Events[0].Properties != strings.TrimSpace(tt.properties) {
						t.Errorf("%s: %+v", form, answer)
					}
					continue
				}
				if len(answer.Rejected) != 1 {
					t.Fatalf("%s: accepted: %+v", form, answer)
				}
				if r := answer.Rejected[0]; r.Code != invalidProperty || r.Field != tt.field || !strings.Contains(r.Message, tt.says) || len(r.Message) > 400 {
					t.Errorf("%s: %s at %s: %s", form, r.Code, r.Field, r.Message)
				}
			}
		})
	}
}

func TestOnlyFreshTypedEventsAreHeldToTheirMessage(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	trusted := anyone
	trusted.Trusted = true
	bad := `{"name":"search","properties":{"query":7}}`
	if answer, _ := d.json(t, trusted, bad); len(answer.Rejected) != 1 {
		t.Errorf("a server's: %+v", answer)
	}
	for name, body := range map[string]string{
		"people are no typed events": `{"type":"IDENTIFY","name":"search","userId":"u","properties":{"query":7}}`,
		"a payload's own kinds":      `{"search":{"query":"q","results":"12"}}`,
	} {
		if answer, _ := d.json(t, anyone, body); answer.Accepted != 1 {
			t.Errorf("%s: %+v", name, answer)
		}
	}
	for name, body := range map[string]string{
		"a payload":                    `{"search":{"query":7}}`,
		"what wins over the payload":   `{"search":{"query":"q"},"properties":{"query":7}}`,
		"what stands beside a payload": `{"search":{},"properties":{"results":"x"}}`,
	} {
		if answer, _ := d.json(t, anyone, body); len(answer.Rejected) != 1 || answer.Rejected[0].Code != invalidProperty {
			t.Errorf("%s: %+v", name, answer)
		}
	}
	// History cannot be mended at its source, and a CSV file knows no kinds.
	answer, err := d.Accept(t.Context(), &Request{Sender: trusted, Lane: stream.Import, Format: JSON, Body: []byte(bad)})
	if err != nil || answer.Accepted != 1 {
		t.Errorf("an import: %+v, %v", answer, err)
	}
	// One event's members are not taken for the next one's.
	answer, _ = d.json(t, anyone, `[{"name":"mine","properties":{"query":7}},{"name":"search"},{"name":"search","properties":null},{"name":"search","properties":{"query":"q"},"traits":{"set":{"query":7}}}]`)
	if answer.Accepted != 4 {
		t.Errorf("four that are right: %+v", answer)
	}
}

// fitsMessage is the same rule, slowly: by the contract's descriptors and
// decoded JSON.
func fitsMessage(message protoreflect.MessageDescriptor, object map[string]any) bool {
	for name, value := range object {
		field := message.Fields().ByName(protoreflect.Name(name))
		if field == nil || value == nil {
			continue
		}
		values := []any{value}
		if field.IsList() {
			var ok bool
			if values, ok = value.([]any); !ok {
				return false
			}
		}
		for _, v := range values {
			ok := false
			switch field.Kind() {
			case protoreflect.StringKind:
				_, ok = v.(string)
			case protoreflect.BoolKind:
				_, ok = v.(bool)
			case protoreflect.DoubleKind:
				_, ok = v.(json.Number)
			case protoreflect.Int32Kind, protoreflect.Int64Kind:
				var n json.Number
				if n, ok = v.(json.Number); ok {
					_, intErr := strconv.ParseInt(n.String(), 10, 64)
					whole, floatErr := n.Float64()
					ok = intErr == nil || floatErr == nil && strings.ContainsAny(n.String(), ".eE") && whole == math.Trunc(whole) && math.Abs(whole) < 1<<63
				}
			case protoreflect.MessageKind:
				var inner map[string]any
				if inner, ok = v.(map[string]any); ok {
					ok = fitsMessage(field.Message(), inner)
				}
			}
			if !ok {
				return false
			}
		}
	}
	return true
}

func FuzzTypedProperties(f *testing.F) {
	for _, seed := range []struct {
		payload    uint8
		properties string
	}{
		{17, `{"order_id":"o","revenue":1.5,"item_count":2,"products":[{"price":1,"quantity":2},{}]}`},
		{17, `{"products":[{"price":"x"}]}`}, {17, `{"products":[null]}`}, {17, `{"products":{}}`}, {17, `{"item_count":1e2}`}, {17, `{"item_count":-0.0}`},
		{3, `{"fields":["a",1]}`}, {3, `{"fields":[]}`}, {0, `{"success":true,"method":null}`}, {0, `{"\u0073uccess":1}`},
		{5, `{"duration_ms":9223372036854775808}`}, {29, `{"query":"a","results":1.0000000000000000000001}`}, {34, `{"value":1E999,"x":[[{}]]}`}, {34, ` {"name" : "a" } `},
	} {
		f.Add(seed.payload, []byte(seed.properties))
	}
	front, err := New(Config{Keys: noKeys{}, Apps: noApps{}, Stream: keepNothing{f}, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	messages := (&eventv1.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("payload").Fields()
	f.Fuzz(func(t *testing.T, which uint8, properties []byte) {
		front.cfg.Stream = keepNothing{t}
		at := int(which) % len(payloads)
		// Of a name that comes twice, encoding/json shows the last value alone.
		decoder := json.NewDecoder(strings.NewReader(string(properties)))
		decoder.UseNumber()
		var object map[string]any
		if decoder.Decode(&object) != nil || object == nil || strings.Contains(string(properties), `\u`) {
			return
		}
		again, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		body := []byte(`{"name":"` + payloads[at].name + `","properties":` + string(again) + `}`)
		answer, err := front.Accept(context.Background(), &Request{Sender: anyone, Format: JSON, Body: body})
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		for _, r := range answer.Rejected {
			if !strings.Contains(r.Message, "typed event") {
				return // refused for another reason
			}
		}
		if want := fitsMessage(messages.Get(at).Message(), object); want != (answer.Accepted == 1) {
			t.Fatalf("%s %s: %+v, the contract says %v", payloads[at].name, again, answer, want)
		}
	})
}

type discard struct{}

func (discard) Publish(context.Context, stream.Lane, *stream.Batch) error { return nil }

// BenchmarkAccept reads and checks 100 events a round, without storing them:
// the same ones under a name that is typed and under one that is not.
func BenchmarkAccept(b *testing.B) {
	front, err := New(Config{Keys: noKeys{}, Apps: noApps{}, Stream: discard{}, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	for kind, name := range map[string]string{"untyped": "product_seen", "typed": "product_view"} {
		b.Run(kind, func(b *testing.B) {
			var body []byte
			for i := range 100 {
				body = fmt.Appendf(append(body, ','), `{"id":"0198c0de-aaaa-7000-8000-%012x","name":%q,"timestamp":"2026-02-01T10:00:00Z","userId":"u-%d","properties":{"product_id":"sku-%d","name":"Shoe %d","category":"shoes","brand":"a","price":%d.95,"currency":"EUR","position":%d,"in_stock":true,"tags":["new","sale"]}}`, i, name, i, i, i, i, i)
			}
			body[0] = '['
			body = append(body, ']')
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				answer, err := front.Accept(context.Background(), &Request{Sender: anyone, Format: JSON, Body: body})
				if err != nil || len(answer.Rejected) > 0 {
					b.Fatal(err, answer)
				}
			}
		})
	}
}
