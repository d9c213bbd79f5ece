package parquetv1

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causality-project/causality/backend/internal/pipeline/lake/columnar"
)

// empty writes a file of a layout without rows.
func empty(t *testing.T, layout *columnar.Layout, complete ...string) *bytes.Reader {
	t.Helper()
	metadata, err := Metadata(nil, complete)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := columnar.NewFile(layout, columnar.NewSpool("", 1), 0).Write(&out, metadata); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(out.Bytes())
}

func TestPromotedColumnsAreKnown(t *testing.T) {
	t.Parallel()
	promoted := []Promoted{{Name: "plan"}, {Name: "price", Number: true}, {Name: `a.b, "c"`}, {Name: ""}}
	data := empty(t, LayoutWith(promoted), "price", `a.b, "c"`)
	file, err := Open(data, data.Size())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(promoted, file.Promoted()); diff != "" {
		t.Errorf("promoted (-want +got):\n%s", diff)
	}
	for _, test := range []struct {
		Promoted
		column   int
		complete bool
	}{
		{promoted[0], 0, false},
		{promoted[1], ColPromoted + 1, true},
		{promoted[2], ColPromoted + 2, true},
		{Promoted{Name: "price"}, 0, false}, // as text it is not there
		{Promoted{Name: "other"}, 0, false},
	} {
		if column, ok := file.CompleteColumn(test.Promoted); column != test.column || ok != test.complete {
			t.Errorf("%+v is column %d (%t), want %d (%t)", test.Promoted, column, ok, test.column, test.complete)
		}
	}
	data = empty(t, LayoutWith(nil))
	if file, err = Open(data, data.Size()); err != nil || len(file.Promoted()) != 0 {
		t.Errorf("a file without promoted columns: %v, %v", file.Promoted(), err)
	}
}

func TestOpenRefusesOtherTrailingColumns(t *testing.T) {
	t.Parallel()
	for name, layout := range map[string]*columnar.Layout{
		"another name":          LayoutWith(nil).WithText("extra"),
		"behind a promoted one": columnar.MustLayoutOf(schema).WithText("p_plan").WithText("q"),
	} {
		data := empty(t, layout)
		if _, err := Open(data, data.Size()); err == nil || !strings.Contains(err.Error(), "no column") {
			t.Errorf("%s: Open = %v, want a sentence about the column", name, err)
		}
	}
}
