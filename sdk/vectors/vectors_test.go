package vectors

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the outputs of the vectors anew")

// TestTheCoreDoesWhatTheVectorsSay replays every file, and compares (or writes) the
// outputs.
func TestTheCoreDoesWhatTheVectorsSay(t *testing.T) {
	t.Parallel()
	for _, file := range Files() {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var list []json.RawMessage
			if err := json.Unmarshal(want, &list); err != nil {
				t.Fatal(err)
			}
			for i, vector := range list {
				if list[i], err = Replay(file, vector); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			e := json.NewEncoder(&out)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(list); err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(out.Bytes(), want) {
				return
			}
			if *update {
				if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			got, before := strings.Split(out.String(), "\n"), strings.Split(string(want), "\n")
			for i := range min(len(got), len(before)) {
				if got[i] != before[i] {
					t.Fatalf("line %d: got %s, want %s", i+1, strings.TrimSpace(got[i]), strings.TrimSpace(before[i]))
				}
			}
			t.Fatalf("the file has %d lines, want %d", len(before), len(got))
		})
	}
}

func TestEveryFileIsReplayed(t *testing.T) {
	t.Parallel()
	found, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != len(Files()) {
		t.Errorf("%d files lie here, %d are named", len(found), len(Files()))
	}
	if _, err := Replay("absent.json", nil); err == nil {
		t.Error("a file that does not exist was replayed")
	}
}

func TestAVectorThatCannotBeReplayedIsAnError(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ file, vector string }{
		"no JSON":         {"encode.json", `{`},
		"unknown field":   {"encode.json", `{"nane": "a"}`},
		"two vectors":     {"response.json", `{"bytes": ""} {}`},
		"no hex":          {"response.json", `{"bytes": "0"}`},
		"unknown type":    {"encode.json", `{"event": {"type": "CLICK"}}`},
		"unknown input":   {"delivery.json", `{"steps": [{"input": "sleep"}]}`},
		"unknown visitor": {"visitor.json", `{"steps": [{"input": "sleep"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out, err := Replay(tt.file, []byte(tt.vector)); err == nil {
				t.Errorf("it gives %s", out)
			}
		})
	}
}
