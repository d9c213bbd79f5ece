// Package replay lets the tests of a binding replay the golden vectors through it.
// It is bound in the host build alone: no app has it.
package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/causality-project/causality/sdk/vectors"
)

// Vectors are the vectors of one file.
type Vectors struct{ list [][]byte }

// Read reads a file of vectors, each of which keeps its text but for spaces
// between its parts.
func Read(file []byte) (*Vectors, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(file, &list); err != nil {
		return nil, fmt.Errorf("replay: not a file of vectors: %w", err)
	}
	v := &Vectors{}
	for _, vector := range list {
		var compact bytes.Buffer
		if err := json.Compact(&compact, vector); err != nil {
			return nil, err
		}
		v.list = append(v.list, compact.Bytes())
	}
	return v, nil
}

// Len is how many there are.
func (v *Vectors) Len() int64 {
	if v == nil {
		return 0
	}
	return int64(len(v.list))
}

// Get is the vector at a place, from 0.
func (v *Vectors) Get(i int64) ([]byte, error) {
	if i < 0 || i >= v.Len() {
		return nil, errors.New("replay: there is no such vector")
	}
	return v.list[i], nil
}

// Replay replays the inputs of a vector of the file of that name (for example
// encode.json), and returns it with what came of them: the same text when all is
// well.
func Replay(name string, vector []byte) (replayed []byte, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("replay: %v", cause)
		}
	}()
	out, err := vectors.Replay(name, bytes.Clone(vector))
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, out); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}
