package duckdb

import (
	"bytes"
	"errors"
	"testing"

	"github.com/causality-project/causality/backend/internal/analysis/query"
)

// Children lists the processes of a pool, for tests that kill them.
func Children(p *Pool) []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var pids []int
	for c := range p.children {
		pids = append(pids, c.cmd.Process.Pid)
	}
	return pids
}

// Waiting counts the queries that wait for their turn.
func Waiting(p *Pool) int { return p.turns.Waiting() }

func FuzzFrames(f *testing.F) {
	var good bytes.Buffer
	_ = writeFrame(&good, frameRows, appendNull(appendCell(nil, "x")))
	f.Add(good.Bytes(), 2)
	f.Add([]byte{0, 0, 0, 0}, 1)
	f.Add([]byte{255, 255, 255, 255, 'r'}, 1)
	f.Add(appendNamed(nil, "id", -1), 1)
	f.Fuzz(func(t *testing.T, data []byte, columns int) {
		if columns < 1 || columns > 8 {
			return
		}
		if _, payload, err := readFrame(bytes.NewReader(data), nil); err == nil {
			row := make([]query.Cell, columns)
			var again []byte
			rest := payload
			for len(rest) > 0 {
				if rest, err = readRow(rest, row); err != nil {
					break
				}
				for _, c := range row {
					if c.Null {
						again = appendNull(again)
					} else {
						again = appendCell(again, c.Text)
					}
				}
			}
			if err == nil && len(again) > len(payload) {
				t.Errorf("%d bytes decode to %d", len(payload), len(again))
			}
		}
		_ = eachPair(data, func(_, _ int64) error { return nil })
		_ = eachNamed(data, func(string, int64) error { return nil })
	})
}

func FuzzGuardText(f *testing.F) {
	for _, s := range []string{"SELECT 1;", "/* a */ explain select $$;$$ -- x", "select 'a;''b'", "$1", "$a$ $a$;", ";", "'", "\"", "/*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		body, words := significant(sql)
		if (body == "") != (len(words) == 0) {
			t.Fatalf("body %q with %d words", body, len(words))
		}
		for _, w := range words {
			if w.end > len(body) {
				t.Fatalf("word %q ends at %d of %q", w.text, w.end, body)
			}
		}
		again, _ := significant(body)
		if again != body {
			t.Errorf("%q is cut again, to %q", body, again)
		}
	})
}

func TestFramesOfAnAbsurdLengthAreRefused(t *testing.T) {
	t.Parallel()
	_, _, err := readFrame(bytes.NewReader([]byte{0xff, 0, 0, 0, 'r'}), nil)
	if !errors.Is(err, errFrame) {
		t.Errorf("error %v", err)
	}
}
