package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/causality-project/causality/backend/internal/account/identity"
	"github.com/causality-project/causality/backend/internal/account/tenancy"
	"github.com/causality-project/causality/backend/internal/pipeline/stream"
	"github.com/causality-project/causality/backend/internal/platform/event"
	"github.com/causality-project/causality/backend/internal/platform/fault"
	eventv1 "github.com/causality-project/causality/proto/gen/causality/event/v1"
	ingestv1 "github.com/causality-project/causality/proto/gen/causality/ingest/v1"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var received = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// noKeys and noApps stand where a test never asks: Accept knows its sender.
type noKeys struct{}

func (noKeys) Find(context.Context, string) (identity.Key, error) {
	return identity.Key{}, fault.New(fault.Unauthenticated, "unknown")
}

type noApps struct{}

func (noApps) Get(context.Context, string) (tenancy.App, error) {
	return tenancy.App{}, fault.New(fault.NotFound, "no app")
}

// door is a front door over a real stream, with a clock that stands still.
type door struct {
	*Front
	stream *stream.Stream
}

func newDoor(t testing.TB) *door {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := stream.Open(t.Context(), stream.Config{Dir: t.TempDir(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	f, err := New(Config{Keys: noKeys{}, Apps: noApps{}, Stream: s, Metrics: prometheus.NewRegistry(), Logger: log, Clock: func() time.Time { return received }})
	if err != nil {
		t.Fatal(err)
	}
	return &door{f, s}
}

var anyone = Sender{WorkspaceID: "w", AppID: "a", IPPolicy: "truncate"}

// accept sends a request and returns its answer and what is stored of it.
func (d *door) accept(t testing.TB, ctx context.Context, req Request) (Answer, stream.Batch) {
	t.Helper()
	before, err := d.stream.State(t.Context(), stream.Live)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := d.Accept(ctx, &req)
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	messages, err := d.stream.Fetch(t.Context(), stream.Live, before.LastSeq+1, stream.FetchLimit{})
	if err != nil || len(messages) != 1 || messages[0].Err != nil {
		t.Fatalf("stored %d messages, %v", len(messages), err)
	}
	return answer, messages[0].Batch
}

func (d *door) json(t testing.TB, sender Sender, body string) (Answer, stream.Batch) {
	t.Helper()
	return d.accept(t, t.Context(), Request{Sender: sender, Format: JSON, Body: []byte(body)})
}

func (d *door) one(t testing.TB, sender Sender, body string) event.Event {
	t.Helper()
	answer, batch := d.json(t, sender, body)
	if len(batch.Events) != 1 {
		t.Fatalf("%s: stored %d events: %+v", body, len(batch.Events), answer)
	}
	return batch.Events[0]
}

func TestTimesAreCorrectedByTheSendersClock(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	trusted := anyone
	trusted.Trusted = true
	at := func(offset time.Duration) string { return received.Add(offset).Format(time.RFC3339Nano) }
	tests := map[string]struct {
		sender       Sender
		stamp, sent  string
		want         time.Time
		keepOriginal bool
	}{
		"as sent":                             {anyone, at(-time.Hour), "", received.Add(-time.Hour), false},
		"jitter is no skew":                   {anyone, at(-time.Hour), at(-60 * time.Second), received.Add(-time.Hour), false},
		"a clock that is behind":              {anyone, at(-3 * time.Hour), at(-2 * time.Hour), received.Add(-time.Hour), true},
		"a clock that is ahead":               {anyone, at(time.Hour), at(2 * time.Hour), received.Add(-time.Hour), true},
		"a clock that was never set":          {anyone, "1970-01-01T00:00:10Z", "1970-01-01T00:01:10Z", received.Add(-time.Minute), true},
		"missing":                             {anyone, "", "", received, false},
		"a minute ahead":                      {anyone, at(time.Minute), "", received.Add(time.Minute), false},
		"more than a minute ahead":            {anyone, at(time.Minute + time.Microsecond), "", received, true},
		"1970":                                {anyone, "1970-01-01T00:00:00Z", "", received, true},
		"2100":                                {anyone, "2100-01-01T00:00:00Z", "", received, true},
		"2000":                                {anyone, "2000-01-01T00:00:00Z", "", earliest, false},
		"years ago":                           {anyone, "2019-05-05T05:05:05.123456Z", "", time.Date(2019, 5, 5, 5, 5, 5, 123456000, time.UTC), false},
		"another zone":                        {anyone, "2026-03-01T13:00:00+02:00", "", received.Add(-time.Hour), false},
		"a secret key writes 1970":            {trusted, "1970-01-01T00:00:00Z", "", time.Unix(0, 0).UTC(), false},
		"a secret key writes 2100":            {trusted, "2100-01-01T00:00:00Z", at(-time.Hour), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), false},
		"a secret key without a time of sent": {trusted, "", at(-time.Hour), received, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			body := `{"events":[{"name":"a","timestamp":"` + tt.stamp + `"}],"sentAt":"` + tt.sent + `"}`
			e := d.one(t, tt.sender, body)
			if !e.TS.Equal(tt.want) || !e.ReceivedAt.Equal(received) {
				t.Errorf("ts = %v received %v, want %v", e.TS, e.ReceivedAt, tt.want)
			}
			original, _ := time.Parse(time.RFC3339Nano, tt.stamp)
			if e.OriginalTS.IsZero() == tt.keepOriginal || tt.keepOriginal && !e.OriginalTS.Equal(original) {
				t.Errorf("original = %v, want kept: %v", e.OriginalTS, tt.keepOriginal)
			}
		})
	}
	if answer, _ := d.json(t, trusted, `{"name":"a","timestamp":"1969-12-31T23:59:59Z"}`); len(answer.Rejected) != 1 || answer.Rejected[0].Code != invalidTimestamp {
		t.Errorf("before 1970 by a secret key: %+v", answer)
	}
}

func TestIdsAreReadHashedMadeAndBlocked(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	e := d.one(t, anyone, `{"name":"a","id":"0198C0DE-0001-7000-8000-00000000abcd","user_id":"Seven","anonymous_id":7,"session_id":"s"}`)
	if e.ID != (event.ID{0x01, 0x98, 0xc0, 0xde, 0, 1, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0xab, 0xcd}) || e.UserID != "Seven" || e.AnonymousID != "7" || e.SessionID != "s" {
		t.Errorf("ids = %+v", e)
	}
	hashed := d.one(t, anyone, `{"name":"a","id":"order 17"}`)
	if hashed.ID != hashedID("order 17") || hashed.ID[6]>>4 != 8 || hashed.ID[8]>>6 != 2 {
		t.Errorf("hashed id = %x", hashed.ID)
	}
	made, other := d.one(t, anyone, `{"name":"a"}`), d.one(t, anyone, `{"name":"a","id":"00000000-0000-0000-0000-000000000000"}`)
	if made.ID[6]>>4 != 7 || made.ID == other.ID || other.ID[6]>>4 != 7 {
		t.Errorf("made ids %x and %x", made.ID, other.ID)
	}
	for _, id := range []string{"", " ", "null", "NIL", "none", " undefined ", "NaN", "true", "false", "0", "-1", "unknown", "Anonymous", "guest", "id", "user_id", "distinct_id", "[object Object]", zeroUUID} {
		body, _ := json.Marshal(map[string]string{"name": "a", "userId": id, "anonymousId": id})
		if e := d.one(t, anyone, string(body)); e.UserID != "" || e.AnonymousID != "" {
			t.Errorf("id %q is somebody: %+v", id, e)
		}
	}
	for _, id := range []string{"00", "nobody", "01", "user_id2"} {
		if blocked(id) {
			t.Errorf("%q is blocked", id)
		}
	}
}

func TestARepeatInOneRequestIsStoredOnceAndALaterOneIsOnlyReported(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	body := `[{"id":"x","name":"a"},{"id":"x","name":"a"},{"id":"y","name":"a"},{"name":""}]`
	answer, batch := d.json(t, anyone, body)
	if answer.Accepted != 2 || answer.Duplicates != 1 || len(answer.Rejected) != 1 || len(batch.Events) != 2 {
		t.Errorf("first = %+v, stored %d", answer, len(batch.Events))
	}
	answer, batch = d.json(t, anyone, body)
	if answer.Accepted != 0 || answer.Duplicates != 3 || len(answer.Rejected) != 1 || len(batch.Events) != 2 {
		t.Errorf("again = %+v, stored %d: only the lake may drop a repeat", answer, len(batch.Events))
	}
	elsewhere := anyone
	elsewhere.AppID = "b"
	if answer, _ := d.json(t, elsewhere, body); answer.Accepted != 2 {
		t.Errorf("another app's events are known: %+v", answer)
	}
}

func TestPropertiesKeepTheirText(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	for _, text := range []string{
		`{"price":1.10,"big":123456789012345678901234567890,"e":1E400,"z":-0}`,
		`{ "a" : [ 1 , {"b":"\u0000\ud83d\ude00 é"} ] }`,
		`{"a":1,"a":2}`,
		`{}`,
	} {
		if e := d.one(t, anyone, `{"name":"a","properties": `+text+` }`); e.Properties != text {
			t.Errorf("object %s kept as %s", text, e.Properties)
		}
		body, err := proto.Marshal(&ingestv1.IngestRequest{Events: []*eventv1.Event{{Name: "a", Properties: text}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, batch := d.accept(t, t.Context(), Request{Sender: anyone, Body: body}); batch.Events[0].Properties != text {
			t.Errorf("protobuf text %s kept as %s", text, batch.Events[0].Properties)
		}
	}
}

// Half a surrogate pair is JSON to encoding/json and none to the engines: one
// such event would fail every question that reads it.
func TestHalfSurrogatePairsAreMended(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	for sent, want := range map[string]string{
		`"\ud800"`:                   `"\ufffd"`,
		`"\uDFFF"`:                   `"\ufffd"`,
		`"a\ud83dx"`:                 `"a\ufffdx"`,
		`"\udc00\ud800"`:             `"\ufffd\ufffd"`,
		`"\ud83d\ud83d\ude00"`:       `"\ufffd\ud83d\ude00"`,
		`"\ud83d\n"`:                 `"\ufffd\n"`,
		`{"\ud83d":["\ude00"]}`:      `{"\ufffd":["\ufffd"]}`,
		`"\ud83d\ude00\uD83D\uDE00"`: `"\ud83d\ude00\uD83D\uDE00"`,
		`"\\ud800 \ud7ff \ue000"`:    `"\\ud800 \ud7ff \ue000"`,
	} {
		e := d.one(t, anyone, `{"type":"IDENTIFY","userId":"u","traits":{"set":{"k":`+sent+`}},"properties":{"k":`+sent+`},"context":{"k":{"k":`+sent+`}}}`)
		if object := `{"k":` + want + `}`; e.Properties != object || e.Traits != `{"set":`+object+`}` {
			t.Errorf("%s kept as %s and %s", sent, e.Properties, e.Traits)
		}
		if rest := e.Context.Rest; strings.Contains(rest, `\ud800"`) || strings.Contains(rest, `\ud83dx`) {
			t.Errorf("%s kept in the context as %s", sent, rest)
		}
		body, err := proto.Marshal(&ingestv1.IngestRequest{Events: []*eventv1.Event{{Name: "a", Properties: `{"k":` + sent + `}`}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, batch := d.accept(t, t.Context(), Request{Sender: anyone, Body: body}); batch.Events[0].Properties != `{"k":`+want+`}` {
			t.Errorf("protobuf text %s kept as %s", sent, batch.Events[0].Properties)
		}
	}
}

func TestTypedEventsBecomeNameAndProperties(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	tests := map[string]struct{ body, name, properties string }{
		"a payload":                  {`{"purchaseComplete":{"orderId":"o1","revenue":12.50,"itemCount":2,"products":[{"product_id":"p"}]}}`, "purchase_complete", `{"order_id":"o1","revenue":12.50,"item_count":2,"products":[{"product_id":"p"}]}`},
		"a payload's products":       {`{"purchaseComplete":{"products":[{"productId":"p","quantity":2},{"brand":null,"own":[1]}, {}]}}`, "purchase_complete", `{"products":[{"product_id":"p","quantity":2},{"own":[1]},{}]}`},
		"explicit properties win":    {`{"properties":{"revenue":1, "x":2},"purchase_complete":{"revenue":12.50,"coupon":"c"}}`, "purchase_complete", `{"coupon":"c","revenue":1, "x":2}`},
		"unknown fields stay":        {`{"search":{"query":"q","ourOwn":1}}`, "search", `{"query":"q","ourOwn":1}`},
		"64 bits as text are number": {`{"screenExit":{"durationMs":"9007199254740993"}}`, "screen_exit", `{"duration_ms":9007199254740993}`},
		"a camelCase name":           {`{"name":"purchaseComplete","properties":{"revenue":1}}`, "purchase_complete", `{"revenue":1}`},
		"names of one's own stay":    {`{"name":"myOwnEvent"}`, "myOwnEvent", ``},
		"an empty payload":           {`{"appStart":{}}`, "app_start", ``},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if e := d.one(t, anyone, tt.body); e.Name != tt.name || e.Properties != tt.properties {
				t.Errorf("%s %s, want %s %s", e.Name, e.Properties, tt.name, tt.properties)
			}
		})
	}
	yes, n, price := true, int32(-3), 0.1
	body, err := proto.Marshal(&ingestv1.IngestRequest{Events: []*eventv1.Event{
		{Payload: &eventv1.Event_UserLogin{UserLogin: &eventv1.UserLogin{Method: `pass"word`, Success: &yes}}},
		{Payload: &eventv1.Event_PurchaseComplete{PurchaseComplete: &eventv1.PurchaseComplete{OrderId: "o", ItemCount: &n, Products: []*eventv1.Product{{ProductId: "1", Price: &price}, {}, {Name: "two"}}}}, Properties: `{"x":1}`},
		{Payload: &eventv1.Event_UserProfileUpdate{UserProfileUpdate: &eventv1.UserProfileUpdate{Fields: []string{"a", "b"}}}},
		{Payload: &eventv1.Event_ScrollEvent{ScrollEvent: &eventv1.ScrollEvent{Depth: proto.Float64(math.NaN())}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	answer, batch := d.accept(t, t.Context(), Request{Sender: anyone, Body: body})
	want := []string{
		`{"method":"pass\"word","success":true}`,
		`{"order_id":"o","products":[{"product_id":"1","price":0.1},{},{"name":"two"}],"item_count":-3,"x":1}`,
		`{"fields":["a","b"]}`,
	}
	var got []string
	for _, e := range batch.Events {
		got = append(got, e.Properties)
	}
	if !reflect.DeepEqual(got, want) || len(answer.Rejected) != 1 || answer.Rejected[0].Code != invalidProperty {
		t.Errorf("properties %q, rejected %+v\nwant %q", got, answer.Rejected, want)
	}
}

func TestPayloadTablesAreTheContract(t *testing.T) {
	t.Parallel()
	kinds := map[protoreflect.Kind]fieldKind{
		protoreflect.StringKind: kindText, protoreflect.BoolKind: kindBool, protoreflect.Int32Kind: kindInt,
		protoreflect.Int64Kind: kindInt, protoreflect.DoubleKind: kindNumber,
	}
	same := func(table []payloadField, message protoreflect.MessageDescriptor) {
		t.Helper()
		if len(table) != message.Fields().Len() {
			t.Errorf("%s has %d fields, the table %d", message.Name(), message.Fields().Len(), len(table))
			return
		}
		for i, f := range table {
			field := message.Fields().Get(i)
			want := kinds[field.Kind()]
			if field.IsList() {
				want = kindTexts
				if field.Kind() == protoreflect.MessageKind {
					want = kindProducts
				}
			}
			if f.number != field.Number() || f.name != string(field.Name()) || f.kind != want {
				t.Errorf("%s: table %+v, contract %s", message.Name(), f, field)
			}
		}
	}
	descriptor := (&eventv1.Event{}).ProtoReflect().Descriptor()
	oneof := descriptor.Oneofs().ByName("payload").Fields()
	if oneof.Len() != len(payloads) {
		t.Fatalf("the contract has %d payloads, the table %d", oneof.Len(), len(payloads))
	}
	for i := range payloads {
		field := oneof.Get(i)
		if payloads[i].number != field.Number() || payloads[i].number != firstPayload+field.Number()-oneof.Get(0).Number() || payloads[i].name != string(field.Name()) {
			t.Errorf("payload %d is %+v, in the contract %s", i, payloads[i], field)
		}
		same(payloads[i].fields, field.Message())
	}
	same(productFields, (&eventv1.Product{}).ProtoReflect().Descriptor())
	contextFields := (&eventv1.Context{}).ProtoReflect().Descriptor().Fields()
	for i := range contextFields.Len() {
		field := contextFields.Get(i)
		n := int(field.Number())
		switch {
		case field.Kind() == protoreflect.MessageKind && contextGroups[n].name == string(field.Name()):
			same(contextGroups[n].fields, field.Message())
		case field.Kind() == protoreflect.StringKind && contextTexts[n] == string(field.Name()):
		default:
			t.Errorf("context.%s is not read", field.Name())
		}
	}
}

func TestContextFillsColumnsAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	message := &eventv1.Context{
		App: &eventv1.App{Version: "4.2", Build: "77"}, Device: &eventv1.Device{Id: "dev", Model: "Pixel 8", Type: "phone"},
		Os: &eventv1.Os{Name: "Android", Version: "14"}, Screen: &eventv1.Screen{Width: 100, Height: 200, Density: 2.5},
		Locale: "de-DE", TimeZone: "Europe/Berlin", Network: &eventv1.Network{Wifi: true, Carrier: "x"},
		Page:     &eventv1.Page{Url: "https://shop.example/a/b?utm_source=news&utm_campaign=s%20p&q=1", Title: "T", Referrer: "https://Search.example:443/q?x"},
		Campaign: &eventv1.Campaign{Source: "explicit"}, Geo: &eventv1.Geo{Country: "DE", Region: "BE", City: "Berlin"},
		Library: &eventv1.Library{Name: "lib", Version: "9"}, Platform: "android", Ip: "198.51.100.9",
	}
	body, err := proto.Marshal(&ingestv1.IngestRequest{Events: []*eventv1.Event{{Name: "a", Context: message}, {Name: "b", Context: message}, {Name: "c"}}, Library: &eventv1.Library{Name: "sdk", Version: "1"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := WithClientIP(t.Context(), netip.MustParseAddr("203.0.113.77"))
	_, batch := d.accept(t, ctx, Request{Sender: anyone, Body: body})
	want := event.Context{
		Platform: "android", OS: "Android", OSVersion: "14", AppVersion: "4.2", DeviceModel: "Pixel 8", DeviceType: "phone",
		Country: "DE", Region: "BE", City: "Berlin", Locale: "de-DE",
		PageURL: "https://shop.example/a/b?utm_source=news&utm_campaign=s%20p&q=1", PagePath: "/a/b", ReferrerHost: "search.example",
		UTMSource: "explicit", UTMCampaign: "s p", Library: "lib", LibraryVersion: "9",
		Rest: `{"app":{"build":"77"},"device":{"id":"dev"},"screen":{"width":100,"height":200,"density":2.5},"time_zone":"Europe/Berlin","network":{"wifi":true,"carrier":"x"},"page":{"title":"T","referrer":"https://Search.example:443/q?x"},"ip":"203.0.113.0"}`,
	}
	if got := batch.Events[0].Context; got != want {
		t.Errorf("context\n%+v\nwant\n%+v", got, want)
	}
	if batch.Events[1].Context != want {
		t.Error("the second event with the same context has another one")
	}
	if c := batch.Events[2].Context; c != (event.Context{Library: "sdk", LibraryVersion: "1", Rest: `{"ip":"203.0.113.0"}`}) {
		t.Errorf("an event without context has %+v", c)
	}
	e := d.one(t, anyone, `{"name":"a","context":{"timeZone":"UTC","os":{"name":"iOS","version":17},"app":{"beta":true},"mine":[1,{"x":null}],"page":{"path":"/p"}}}`)
	if c := e.Context; c.OSVersion != "17" || c.PagePath != "/p" || c.Rest != `{"time_zone":"UTC","app":{"beta":true},"mine":[1,{"x":null}]}` {
		t.Errorf("JSON context = %+v", c)
	}
}

func TestAddressesAreKeptAsTheAppSays(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	for name, tt := range map[string]struct {
		policy, client, claimed string
		trusted                 bool
		want                    string
	}{
		"truncate 4":            {"truncate", "203.0.113.77", "", false, `{"ip":"203.0.113.0"}`},
		"truncate 6":            {"truncate", "2001:db8:1:2:3::4", "", false, `{"ip":"2001:db8:1::"}`},
		"mapped":                {"truncate", "::ffff:203.0.113.77", "", false, `{"ip":"203.0.113.0"}`},
		"keep":                  {"keep", "203.0.113.77", "1.2.3.4", false, `{"ip":"203.0.113.77"}`},
		"drop":                  {"drop", "203.0.113.77", "1.2.3.4", false, ``},
		"a server's word":       {"keep", "203.0.113.77", "1.2.3.4", true, `{"ip":"1.2.3.4"}`},
		"a server's own is not": {"keep", "203.0.113.77", "", true, ``},
	} {
		sender := anyone
		sender.IPPolicy, sender.Trusted = tt.policy, tt.trusted
		body := `{"name":"a","context":{"ip":"` + tt.claimed + `"}}`
		_, batch := d.accept(t, WithClientIP(t.Context(), netip.MustParseAddr(tt.client)), Request{Sender: sender, Format: JSON, Body: []byte(body)})
		if got := batch.Events[0].Context.Rest; got != tt.want {
			t.Errorf("%s: rest %s, want %s", name, got, tt.want)
		}
	}
}

func TestBrowsersAreKnownByTheirUserAgent(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	for ua, want := range map[string]event.Context{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36":                         {Platform: "web", OS: "Windows", OSVersion: "10", Browser: "Chrome", DeviceType: "desktop"},
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1": {Platform: "web", OS: "iOS", OSVersion: "17.5", Browser: "Mobile Safari", DeviceModel: "iPhone", DeviceType: "phone"},
	} {
		_, batch := d.accept(t, t.Context(), Request{Sender: anyone, Format: JSON, Body: []byte(`{"name":"a"}`), Browser: true, UserAgent: ua})
		got := batch.Events[0].Context
		if !strings.Contains(got.Rest, ua) {
			t.Errorf("the user agent itself is lost: %s", got.Rest)
		}
		if got.Rest = ""; got != want {
			t.Errorf("%s\n%+v\nwant %+v", ua, got, want)
		}
	}
}

func TestTraitsAndGroupsAreKept(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	trusted := anyone
	trusted.Trusted = true
	e := d.one(t, anyone, `{"type":"IDENTIFY","userId":"u","anonymousId":"x","traits":{"set":{"plan":"pro"},"setOnce":{"first":1.50},"add":{"n":2},"unset":["a","b\"c"]},"groups":{"company":"acme","te\"am":7,"none":"null"}}`)
	if e.Type != event.Identify || e.Traits != `{"set":{"plan":"pro"},"setOnce":{"first":1.50},"add":{"n":2},"unset":["a","b\"c"]}` || e.Groups != `{"company":"acme","te\"am":"7"}` {
		t.Errorf("identify = %+v", e)
	}
	e = d.one(t, trusted, `{"type":"ALIAS","user_id":"new","previous_id":"old"}`)
	if e.Type != event.Alias || e.PreviousID != "old" || e.UserID != "new" {
		t.Errorf("alias = %+v", e)
	}
	body, err := proto.Marshal(&ingestv1.IngestRequest{
		Events: []*eventv1.Event{{Type: eventv1.Type_GROUP, GroupType: "company", GroupId: "acme", Groups: map[string]string{"company": "acme"},
			Traits: &eventv1.Traits{Set: `{"seats":5}`, SetOnce: `{}`, Unset: []string{"x"}}}},
		SentAt: timestamppb.New(received), Dropped: map[string]int64{"age": 4, "": 3, "negative": -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, batch := d.accept(t, t.Context(), Request{Sender: anyone, Body: body})
	if e := batch.Events[0]; e.Traits != `{"set":{"seats":5},"unset":["x"]}` || e.Groups != `{"company":"acme"}` || e.GroupID != "acme" {
		t.Errorf("group = %+v", e)
	}
	if !reflect.DeepEqual(batch.Dropped, map[string]int64{"age": 4}) {
		t.Errorf("dropped = %v", batch.Dropped)
	}
}

func TestInvalidUTF8InProtobufRefusesThatEventAlone(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	body, err := proto.Marshal(&ingestv1.IngestRequest{Events: []*eventv1.Event{{Name: "good"}, {Name: "bad?"}, {Name: "good"}, {Name: "x", UserId: "u?"}, {Name: "x", Context: &eventv1.Context{Locale: "l?"}}, {Name: "x", Properties: `{"a":"?"}`}}})
	if err != nil {
		t.Fatal(err)
	}
	body = []byte(strings.ReplaceAll(string(body), "?", "\xff"))
	answer, batch := d.accept(t, t.Context(), Request{Sender: anyone, Body: body})
	if answer.Accepted != 2 || len(answer.Rejected) != 4 || len(batch.Rejected) != 4 {
		t.Fatalf("answer = %+v", answer)
	}
	for i, want := range []string{invalidProperty, invalidID, invalidProperty, invalidProperty} {
		if r := batch.Rejected[i]; r.Code != want || !utf8.ValidString(r.Event+r.Name+r.ID) {
			t.Errorf("rejection %d = %+v, want %s", i, r, want)
		}
	}
}

func FuzzJSONScanner(f *testing.F) {
	for _, seed := range []string{`{}`, `[1,2.5e-3,"a\u00e9\n",true,null]`, `{"a":{"b":[{}]}}`, `NaN`, `01`, `"\x"`, `[1,]`, "\"\x01\"", `-`, `1.`, `"\ud800"`, `{"a" 1}`, `"12345678\"90"`, ` [ ] `} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		data := bytes.Clone(input) // it may be mended
		var arena []byte
		s := scanner{data: data, arena: &arena, naming: true}
		end := -1
		if start := s.space(0); start < len(data) {
			if end = s.value(start, 0); end >= 0 {
				end = s.space(end)
			}
		}
		if ours, theirs := end == len(data) && len(data) > 0, json.Valid(input); ours != theirs && s.why != "the text is nested more than 1,000 levels deep" {
			t.Fatalf("valid = %v (%s), encoding/json says %v: %q", ours, s.why, theirs, data)
		}
		if end != len(data) || len(data) == 0 || !utf8.Valid(data) {
			return
		}
		var want string
		if json.Unmarshal(input, &want) == nil && data[s.space(0)] == '"' {
			if got, _, ok := s.text(s.space(0)); !ok || got != want {
				t.Fatalf("text %q, want %q", got, want)
			}
		}
	})
}

// keepNothing takes batches as a stream does, so that the fuzzers exercise the
// reader alone.
type keepNothing struct{ t testing.TB }

func (k keepNothing) Publish(_ context.Context, _ stream.Lane, b *stream.Batch) error {
	for i := range b.Events {
		e := &b.Events[i]
		for _, text := range []string{e.Name, e.UserID, e.AnonymousID, e.SessionID, e.Groups, e.Properties, e.Traits, e.Context.Rest, e.Context.PagePath, e.Context.UTMSource} {
			if !utf8.ValidString(text) {
				k.t.Errorf("stored text is not UTF-8: %q", text)
			}
		}
		for _, object := range []string{e.Groups, e.Properties, e.Traits, e.Context.Rest} {
			if object != "" && (!json.Valid([]byte(object)) || object[0] != '{') {
				k.t.Errorf("stored object is not JSON: %q", object)
			}
		}
		if e.TS.IsZero() || e.Type < event.Track || e.Type > event.Alias || e.Type == event.Track && e.Name == "" {
			k.t.Errorf("stored event is incomplete: %+v", e)
		}
	}
	if _, err := stream.DecodeBatch(stream.AppendBatch(nil, b)); err != nil {
		k.t.Error(err)
	}
	return nil
}

func fuzzRequest(f *testing.F, format Format) {
	front, err := New(Config{Keys: noKeys{}, Apps: noApps{}, Stream: keepNothing{f}, Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		front.cfg.Stream = keepNothing{t}
		for _, trusted := range []bool{false, true} {
			req := Request{Sender: anyone, Format: format, Body: bytes.Clone(body), Browser: trusted}
			req.Sender.Trusted = trusted
			answer, err := front.Accept(context.Background(), &req)
			if err != nil && !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.TooLarge) {
				t.Errorf("accept: %v", err)
			}
			for _, r := range answer.Rejected {
				if r.Code == "" || r.Message == "" || !utf8.ValidString(r.Event+r.ID+r.Name+r.Message) {
					t.Errorf("rejection %+v", r)
				}
			}
		}
	})
}

func FuzzProtobufRequest(f *testing.F) {
	yes := true
	body, err := proto.Marshal(&ingestv1.IngestRequest{
		Events: []*eventv1.Event{
			{Id: "x", Name: "a", Timestamp: timestamppb.New(received), Groups: map[string]string{"a": "b"}, Properties: `{"a":1}`,
				Context: &eventv1.Context{Page: &eventv1.Page{Url: "https://x.example/%zz?utm_source=%ff", Referrer: "https://r"}, UserAgent: "ua", Screen: &eventv1.Screen{Density: 1}}},
			{Type: eventv1.Type_IDENTIFY, UserId: "u", Traits: &eventv1.Traits{Set: `{"a":1}`, Unset: []string{"b"}}},
			{Payload: &eventv1.Event_UserLogin{UserLogin: &eventv1.UserLogin{Success: &yes}}, Properties: `{"method":"x"}`},
		},
		SentAt: timestamppb.New(received), Library: &eventv1.Library{Name: "l"}, Dropped: map[string]int64{"age": 1},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte{0x0a, 0x00})
	f.Add([]byte{0x0a, 0x02, 0x58, 0xff})
	fuzzRequest(f, Protobuf)
}

func FuzzJSONRequest(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a"}`, `[{"name":"a","properties":{"x":[1]}},7,null]`,
		`{"events":[{"type":"IDENTIFY","userId":"u","traits":{"set":"{\"a\":1}","unset":["x"]},"groups":{"a":"b\n"}}],"sentAt":"2026-01-01T00:00:00Z","library":{"name":"l"},"dropped":{"age":1}}`,
		`{"search":{"query":"q"},"properties":{"query":1},"context":{"page":{"url":"https://x/%zz?utm_source=%ff"},"screen":{"width":1},"mine":[{}]}}`,
		`{"library":{"name":"x"},"name":"a"}`, `{"sentAt":"x","name":"a"}`, `{"events":[{"name":"a","purchaseComplete":{"revenue":"1.5","products":null}}]}`,
	} {
		f.Add([]byte(seed))
	}
	fuzzRequest(f, JSON)
}
