// Package vectors replays the golden vectors, the files of this folder that say
// what every SDK must do alike, against package core. It uses what core exports and
// nothing else, so a binding of core to another language can replay them through
// that language. README.md describes the files for those who replay them against a
// core of their own.
package vectors

import (
	"bytes"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/causality-project/causality/sdk/core"
)

//go:embed *.json
var files embed.FS

// Files names the files of vectors. Each holds a JSON array.
func Files() []string {
	return []string{"encode.json", "response.json", "delivery.json", "shared.json", "visitor.json"}
}

// File is the content of one of Files.
func File(name string) ([]byte, error) { return files.ReadFile(name) }

// Replay replays one vector of a file.
func Replay(file string, vector []byte) ([]byte, error) {
	switch file {
	case "encode.json":
		return encode(vector)
	case "response.json":
		return response(vector)
	case "delivery.json":
		return delivery(vector)
	case "shared.json":
		return shared(vector)
	case "visitor.json":
		return visitor(vector)
	}
	return nil, fmt.Errorf("vectors: no file is called %q", file)
}

// replay reads a vector, runs it, and writes it with what came of it.
func replay[V any](vector []byte, run func(*V) error) ([]byte, error) {
	var v V
	d := json.NewDecoder(bytes.NewReader(vector))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("vectors: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("vectors: more follows the vector")
	}
	if err := run(&v); err != nil {
		return nil, fmt.Errorf("vectors: %w", err)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("vectors: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// encode replays a vector of encode.json: it encodes the event.
func encode(vector []byte) ([]byte, error) {
	type v struct {
		Name    string      `json:"name"`
		Now     core.Micros `json:"now"`
		NewID   string      `json:"newId,omitempty"`
		Event   event       `json:"event"`
		Bytes   string      `json:"bytes,omitempty"`
		Refused string      `json:"refused,omitempty"`
	}
	return replay(vector, func(v *v) error {
		e, err := v.Event.core()
		if err != nil {
			return err
		}
		v.Bytes, v.Refused, v.NewID = "", "", ""
		encoded, err := core.Encode(nil, v.Now, e, nil)
		var refused *core.InvalidError
		if errors.As(err, &refused) {
			v.Refused = refused.Field
			return nil
		}
		const id = "01a0c450-6e06-7001-98a9-0805cb8887be"
		if encoded.SetID(id) {
			v.NewID = id
		}
		v.Bytes = hex.EncodeToString(encoded.Bytes())
		return nil
	})
}

// response replays a vector of response.json: it reads the answer to a batch.
func response(vector []byte) ([]byte, error) {
	type v struct {
		Name       string           `json:"name"`
		Bytes      string           `json:"bytes"`
		Unreadable bool             `json:"unreadable,omitempty"`
		Accepted   int              `json:"accepted,omitempty"`
		Duplicates int              `json:"duplicates,omitempty"`
		Rejected   []core.Rejection `json:"rejected,omitempty"`
	}
	return replay(vector, func(v *v) error {
		b, err := hex.DecodeString(v.Bytes)
		if err != nil {
			return err
		}
		answer, ok := core.DecodeAnswer(b)
		if !ok {
			answer = core.Answer{}
		}
		v.Unreadable, v.Accepted, v.Duplicates, v.Rejected = !ok, answer.Accepted, answer.Duplicates, answer.Rejected
		return nil
	})
}

// event is an event as the vectors write it.
type event struct {
	ID            string            `json:"id,omitempty"`
	Type          string            `json:"type,omitempty"`
	Name          string            `json:"name,omitempty"`
	Timestamp     core.Micros       `json:"timestamp,omitempty"`
	UserID        string            `json:"userId,omitempty"`
	AnonymousID   string            `json:"anonymousId,omitempty"`
	SessionID     string            `json:"sessionId,omitempty"`
	CorrelationID string            `json:"correlationId,omitempty"`
	Groups        map[string]string `json:"groups,omitempty"`
	Context       json.RawMessage   `json:"context,omitempty"`
	Properties    map[string]any    `json:"properties,omitempty"`
	Traits        *traits           `json:"traits,omitempty"`
	GroupType     string            `json:"groupType,omitempty"`
	GroupID       string            `json:"groupId,omitempty"`
	PreviousID    string            `json:"previousId,omitempty"`
}

type traits struct {
	Set     map[string]any `json:"set,omitempty"`
	SetOnce map[string]any `json:"setOnce,omitempty"`
	Add     map[string]any `json:"add,omitempty"`
	Unset   []string       `json:"unset,omitempty"`
}

func (v *event) core() (*core.Event, error) {
	kinds := map[string]core.Type{"": 0, "TRACK": core.Track, "IDENTIFY": core.Identify, "GROUP": core.Group, "ALIAS": core.Alias}
	kind, known := kinds[v.Type]
	if !known {
		return nil, fmt.Errorf("no event has the type %q", v.Type)
	}
	e := &core.Event{
		ID: v.ID, Type: kind, Name: v.Name, Timestamp: v.Timestamp, UserID: v.UserID, AnonymousID: v.AnonymousID,
		SessionID: v.SessionID, CorrelationID: v.CorrelationID, Groups: v.Groups, Properties: numbers(v.Properties),
		GroupType: v.GroupType, GroupID: v.GroupID, PreviousID: v.PreviousID,
	}
	if t := v.Traits; t != nil {
		e.Traits = &core.Traits{Set: numbers(t.Set), SetOnce: numbers(t.SetOnce), Add: numbers(t.Add), Unset: t.Unset}
	}
	if v.Context != nil {
		e.Context = &core.Context{}
		if err := json.Unmarshal(v.Context, e.Context); err != nil {
			return nil, err
		}
	}
	return e, nil
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
