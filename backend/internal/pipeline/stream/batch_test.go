package stream

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/causality-project/causality/backend/internal/platform/event"
	eventv1 "github.com/causality-project/causality/proto/gen/causality/event/v1"
	streamv1 "github.com/causality-project/causality/proto/gen/causality/stream/v1"
	"google.golang.org/protobuf/proto"
)

// fullBatch sets every field of every struct, by reflection, so that a column
// added to the event and forgotten in the stored form fails here.
func fullBatch(t testing.TB) *Batch {
	t.Helper()
	received := time.UnixMicro(1_767_225_600_123_456).UTC()
	b := &Batch{
		WorkspaceID: "workspace", AppID: "app", ReceivedAt: received, Library: "go", LibraryVersion: "1.2",
		Dropped: map[string]int64{"age": 3, "bytes": 1 << 40}, Imported: true,
	}
	n := 0
	fill := func(v reflect.Value) {
		for i := range v.NumField() {
			n++
			switch f := v.Field(i); f.Interface().(type) {
			case string:
				f.SetString(fmt.Sprint("text ", n))
			case int:
				f.SetInt(int64(n))
			case time.Time:
				f.Set(reflect.ValueOf(received.Add(-time.Duration(n) * time.Microsecond)))
			case event.Type:
				f.Set(reflect.ValueOf(event.Group))
			case event.ID:
				f.Set(reflect.ValueOf(event.ID{1, 2, byte(n)}))
			}
		}
	}
	var e event.Event
	fill(reflect.ValueOf(&e).Elem())
	fill(reflect.ValueOf(&e.Context).Elem())
	e.ReceivedAt = received
	long := e
	long.Properties = strings.Repeat("x", 40_000) // its length takes three bytes
	bare := event.Event{ID: event.ID{9}, Type: event.Track, TS: received, ReceivedAt: received, Context: event.Context{Library: "go", LibraryVersion: "1.2"}}
	old := bare
	old.OriginalTS = time.UnixMicro(-5).UTC()
	b.Events = []event.Event{e, long, bare, old}
	var r event.Rejected
	fill(reflect.ValueOf(&r).Elem())
	b.Rejected = []event.Rejected{r, {}}
	return b
}

func TestStoredFormKeepsEveryField(t *testing.T) {
	t.Parallel()
	want := fullBatch(t)
	got, err := DecodeBatch(AppendBatch(nil, want))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&got, want) {
		t.Errorf("decoded\n%+v\nwant\n%+v", got, *want)
	}
}

func TestStoredFormIsTheGeneratedMessage(t *testing.T) {
	t.Parallel()
	want := fullBatch(t)
	ours := AppendBatch(nil, want)
	var message streamv1.Batch
	if err := proto.Unmarshal(ours, &message); err != nil {
		t.Fatal(err)
	}
	if len(message.ProtoReflect().GetUnknown()) > 0 {
		t.Error("the contract does not know all that is stored")
	}
	theirs, err := (proto.MarshalOptions{Deterministic: true}).Marshal(&message)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, theirs) {
		t.Error("the generated code writes the same message in other bytes")
	}
	e, first := message.Events[0], want.Events[0]
	if e.Name != first.Name || e.Ts != first.TS.UnixMicro() || *e.OriginalTs != first.OriginalTS.UnixMicro() ||
		e.Type != eventv1.Type_GROUP || e.Context.UtmContent != first.Context.UTMContent || e.Context.Rest != first.Context.Rest ||
		e.PreviousId != first.PreviousID || message.Dropped["bytes"] != 1<<40 || message.Rejected[0].Event != want.Rejected[0].Event {
		t.Errorf("generated message = %v", &message)
	}
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(AppendBatch(nil, fullBatch(f)))
	f.Add([]byte{0x2a, 0x03, 0x0a, 0x01, 0x00})
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := DecodeBatch(data)
		if err != nil {
			return
		}
		again, err := DecodeBatch(AppendBatch(nil, &b))
		if err != nil {
			t.Fatalf("what was decoded does not decode again: %v", err)
		}
		if len(again.Events) != len(b.Events) || len(again.Rejected) != len(b.Rejected) {
			t.Error("decoding again lost events")
		}
	})
}

func BenchmarkAppendBatch(b *testing.B) {
	batch := fullBatch(b)
	var buf []byte
	for b.Loop() {
		buf = AppendBatch(buf[:0], batch)
	}
}
