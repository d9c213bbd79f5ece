package core

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the outputs of the golden vectors anew")

// golden reads a file of vectors, has each replayed, and compares (or writes) the
// outputs.
func golden[V any](t *testing.T, file string, replay func(*testing.T, *V)) {
	t.Parallel()
	path := filepath.Join("..", "vectors", file)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []V
	d := json.NewDecoder(bytes.NewReader(want))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(&vectors); err != nil {
		t.Fatal(err)
	}
	for i := range vectors {
		replay(t, &vectors[i])
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(vectors); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(out.Bytes(), want) {
		return
	}
	if !*update {
		got, before := strings.Split(out.String(), "\n"), strings.Split(string(want), "\n")
		for i := range min(len(got), len(before)) {
			if got[i] != before[i] {
				t.Fatalf("%s, line %d: got %s, want %s", file, i+1, strings.TrimSpace(got[i]), strings.TrimSpace(before[i]))
			}
		}
		t.Fatalf("%s has %d lines, want %d", file, len(before), len(got))
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// vectorEvent is an event as the vectors write it.
type vectorEvent struct {
	ID            string            `json:"id,omitempty"`
	Type          string            `json:"type,omitempty"`
	Name          string            `json:"name,omitempty"`
	Timestamp     Micros            `json:"timestamp,omitempty"`
	UserID        string            `json:"userId,omitempty"`
	AnonymousID   string            `json:"anonymousId,omitempty"`
	SessionID     string            `json:"sessionId,omitempty"`
	CorrelationID string            `json:"correlationId,omitempty"`
	Groups        map[string]string `json:"groups,omitempty"`
	Context       json.RawMessage   `json:"context,omitempty"`
	Properties    map[string]any    `json:"properties,omitempty"`
	Traits        *vectorTraits     `json:"traits,omitempty"`
	GroupType     string            `json:"groupType,omitempty"`
	GroupID       string            `json:"groupId,omitempty"`
	PreviousID    string            `json:"previousId,omitempty"`
}

type vectorTraits struct {
	Set     map[string]any `json:"set,omitempty"`
	SetOnce map[string]any `json:"setOnce,omitempty"`
	Add     map[string]any `json:"add,omitempty"`
	Unset   []string       `json:"unset,omitempty"`
}

func (v *vectorEvent) event(t *testing.T) *Event {
	t.Helper()
	e := &Event{
		ID: v.ID, Name: v.Name, Timestamp: v.Timestamp, UserID: v.UserID, AnonymousID: v.AnonymousID,
		SessionID: v.SessionID, CorrelationID: v.CorrelationID, Groups: v.Groups, Properties: numbers(v.Properties),
		GroupType: v.GroupType, GroupID: v.GroupID, PreviousID: v.PreviousID,
	}
	kinds := map[string]Type{"": 0, "TRACK": Track, "IDENTIFY": Identify, "GROUP": Group, "ALIAS": Alias}
	kind, ok := kinds[v.Type]
	if !ok {
		t.Fatalf("type %q", v.Type)
	}
	e.Type = kind
	if v.Traits != nil {
		e.Traits = &Traits{numbers(v.Traits.Set), numbers(v.Traits.SetOnce), numbers(v.Traits.Add), v.Traits.Unset}
	}
	if v.Context != nil {
		e.Context = &Context{}
		if err := json.Unmarshal(v.Context, e.Context); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// numbers turns the numbers of a vector into integers where they are written so.
func numbers(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = number(v)
	}
	return out
}

func number(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		return numbers(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = number(v[i])
		}
		return out
	}
	return v
}

func TestEncodeVectors(t *testing.T) {
	type vector struct {
		Name    string      `json:"name"`
		Now     Micros      `json:"now"`
		NewID   string      `json:"newId,omitempty"`
		Event   vectorEvent `json:"event"`
		Bytes   string      `json:"bytes,omitempty"`
		Refused string      `json:"refused,omitempty"`
	}
	golden(t, "encode.json", func(t *testing.T, v *vector) {
		encoded, err := Encode(nil, v.Now, v.Event.event(t), nil)
		v.Bytes, v.Refused, v.NewID = "", "", ""
		if err != nil {
			v.Refused = err.(*InvalidError).Field
			return
		}
		if !encoded.hasID {
			v.NewID = "01a0c450-6e06-7001-98a9-0805cb8887be"
			encoded.setID((*[36]byte)([]byte(v.NewID)))
		}
		v.Bytes = hex.EncodeToString(encoded.Bytes())
	})
}

func TestResponseVectors(t *testing.T) {
	type vector struct {
		Name       string      `json:"name"`
		Bytes      string      `json:"bytes"`
		Unreadable bool        `json:"unreadable,omitempty"`
		Accepted   int         `json:"accepted,omitempty"`
		Duplicates int         `json:"duplicates,omitempty"`
		Rejected   []Rejection `json:"rejected,omitempty"`
	}
	golden(t, "response.json", func(t *testing.T, v *vector) {
		b, err := hex.DecodeString(v.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		answer, ok := DecodeAnswer(b)
		if !ok {
			answer = Answer{}
		}
		v.Unreadable, v.Accepted, v.Duplicates, v.Rejected = !ok, answer.Accepted, answer.Duplicates, answer.Rejected
	})
}

func TestDeliveryVectors(t *testing.T) {
	type answer struct {
		Status     int    `json:"status"`
		RetryAfter Micros `json:"retryAfter,omitempty"`
		Body       string `json:"body,omitempty"`
	}
	type step struct {
		At       Micros       `json:"at"`
		Input    string       `json:"input"` // track, tick, answer, flush, optOut, optIn, close, restart
		Event    *vectorEvent `json:"event,omitempty"`
		Answer   *answer      `json:"answer,omitempty"`
		DiskFull bool         `json:"diskFull,omitempty"`
		Error    string       `json:"error,omitempty"`
		Commands []string     `json:"commands,omitempty"`
		Deadline Micros       `json:"deadline,omitempty"`
	}
	type vector struct {
		Name       string `json:"name"`
		Seed       uint64 `json:"seed"`
		FlushAt    int    `json:"flushAt"`
		FlushEvery Micros `json:"flushEvery"`
		MaxAge     Micros `json:"maxAge"`
		Steps      []step `json:"steps"`
	}
	golden(t, "delivery.json", func(t *testing.T, v *vector) {
		cfg := Config{
			FlushAt: v.FlushAt, FlushEvery: v.FlushEvery, MaxAge: v.MaxAge,
			Library: Library{Name: "vector", Version: "1"}, Random: splitMix(v.Seed),
		}
		var disk []Block
		var state []byte
		c := newCore(t, cfg)
		attempt := uint64(0)
		for i := range v.Steps {
			s := &v.Steps[i]
			s.Error, s.Commands, s.Deadline = "", nil, 0
			switch s.Input {
			case "track":
				if _, err := c.Track(s.At, s.Event.event(t)); err != nil {
					s.Error = err.Error()
				}
			case "answer":
				body, err := hex.DecodeString(s.Answer.Body)
				if err != nil {
					t.Fatal(err)
				}
				c.Answered(s.At, attempt, Response{s.Answer.Status, s.Answer.RetryAfter, body})
			case "flush":
				c.Flush(s.At)
			case "optOut":
				c.OptOut()
			case "optIn":
				c.OptIn()
			case "close":
				c.Close()
			case "restart":
				var stored []BlockInfo
				for _, b := range disk {
					stored = append(stored, BlockInfo{b.Seq, b.At, b.Events, len(b.Data)})
				}
				var err error
				if c, err = New(cfg, state, stored); err != nil {
					t.Fatal(err)
				}
			case "tick":
			default:
				t.Fatalf("%s: input %q", v.Name, s.Input)
			}
			for {
				command, more := c.Poll(s.At)
				if !more {
					break
				}
				var text string
				switch {
				case command.Commit != nil:
					text = "commit"
					for _, b := range command.Commit.Append {
						text += fmt.Sprintf(" append %d (%d events)", b.Seq, b.Events)
					}
					for _, r := range command.Commit.Delete {
						text += fmt.Sprintf(" delete %d-%d", r.First, r.Last)
					}
					if s.DiskFull {
						text += " fails"
					} else {
						for _, r := range command.Commit.Delete {
							for len(disk) > 0 && disk[0].Seq <= r.Last {
								disk = disk[1:]
							}
						}
						disk = append(disk, command.Commit.Append...)
						state = command.Commit.State
					}
					c.Committed(s.At, !s.DiskFull)
				case command.Send != nil:
					r := command.Send
					attempt = r.Attempt
					var blocks [][]byte
					for _, b := range append(append([]Block{}, disk...), r.Unsaved...) {
						if b.Seq >= r.First && b.Seq <= r.Last {
							blocks = append(blocks, b.Data)
						}
					}
					body, ok := AppendBody(nil, blocks, r.Skip, r.Events, r.Trailer)
					if !ok {
						t.Fatalf("%s, step %d: the body is incomplete", v.Name, i)
					}
					text = fmt.Sprintf("send %d events: %x", r.Events, body)
				case command.Cancel != 0:
					text = "cancel"
				case command.Rejected != nil:
					text = fmt.Sprintf("rejected %+v", command.Rejected)
				default:
					text = fmt.Sprintf("dropped %d %s", command.Dropped.Events, command.Dropped.Reason)
				}
				s.Commands = append(s.Commands, text)
			}
			if at := c.Deadline(s.At); at != Never {
				s.Deadline = at
			}
		}
	})
}

// splitMix is the generator of the vectors, which is easy to write in any language.
func splitMix(state uint64) func() uint64 {
	return func() uint64 {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
}
