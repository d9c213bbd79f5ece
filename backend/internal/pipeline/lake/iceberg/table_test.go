package iceberg

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go/table"

	"github.com/causality-project/causality/backend/internal/platform/objstore"
	"github.com/causality-project/causality/backend/internal/platform/objstore/s3test"
)

var columns = []Column{{"app_id", "string"}, {"id", "uuid"}, {"ts", "timestamptz"}, {"n", "long"}}

func file(app string, n int) File {
	return File{Key: fmt.Sprintf("app_id=%s/%d.parquet", app, n), Partition: app, Rows: int64(n + 1), Bytes: 1000,
		Bounds: map[string]Bounds{"app_id": {[]byte(app), []byte(app)}, "n": {make([]byte, 8), make([]byte, 8)}}}
}

func onFiles(t *testing.T) Warehouse {
	t.Helper()
	dir := t.TempDir()
	files, err := objstore.NewFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	return Warehouse{Objects: files, Root: "file://" + dir, Prefix: "iceberg/"}
}

func change(t *testing.T, tbl *Table, c Change) *Staged {
	t.Helper()
	if c.At.IsZero() {
		c.At = time.Now()
	}
	staged, err := tbl.Stage(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	staged.Apply()
	return staged
}

func keys(t *Table) []string {
	var all []string
	for _, partition := range t.Partitions() {
		all = append(all, t.Keys(partition)...)
	}
	slices.Sort(all)
	return all
}

func reloaded(t *testing.T, w Warehouse, tbl *Table) *Table {
	t.Helper()
	again, err := Load(t.Context(), w, "lake", tbl.name, tbl.Location())
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// The table in memory, the one that is read back and a plain set must agree
// after any changes; files that are declared obsolete must be needed by none.
func TestATableHoldsWhatWasAddedAndNotRemoved(t *testing.T) {
	t.Parallel()
	w := onFiles(t)
	random := rand.New(rand.NewPCG(1, 2))
	tbl, err := New(w, "lake", "events", columns)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]File{}
	for step := range 60 {
		c := Change{Expire: time.Now().Add(-time.Hour), Forget: step%29 == 28}
		if step%3 == 0 {
			c.Expire = time.Now()
		}
		for range random.IntN(40) {
			f := file(fmt.Sprint("app-", random.IntN(3)), random.IntN(1e9))
			if _, ok := want[f.Key]; !ok {
				want[f.Key] = f
				c.Add = append(c.Add, f)
			}
		}
		added := len(c.Add)
		for key, f := range want {
			if random.IntN(60) == 0 && !slices.ContainsFunc(c.Add[:added], func(a File) bool { return a.Key == key }) {
				c.Remove = append(c.Remove, File{Key: f.Key, Partition: f.Partition})
				delete(want, key)
			}
		}
		staged := change(t, tbl, c)
		for _, key := range staged.Obsolete {
			if err := w.Objects.Delete(context.Background(), key); err != nil {
				t.Fatal(err)
			}
		}
		if step%10 != 9 {
			continue
		}
		var expected []string
		var rows int64
		for key, f := range want {
			expected = append(expected, key)
			rows += f.Rows
		}
		slices.Sort(expected)
		again := reloaded(t, w, tbl)
		if !slices.Equal(keys(tbl), expected) || !slices.Equal(keys(again), expected) {
			t.Fatalf("step %d: the table holds %d objects, read back %d, want %d", step, len(keys(tbl)), len(keys(again)), len(expected))
		}
		if s := again.meta.current().Summary; s["total-data-files"] != fmt.Sprint(len(expected)) || s["total-records"] != fmt.Sprint(rows) {
			t.Errorf("step %d: the summary says %v, want %d objects of %d rows", step, s, len(expected), rows)
		}
		if n := len(again.manifests); n > 40 {
			t.Errorf("step %d: %d manifests for %d objects", step, n, len(expected))
		}
	}
}

func TestSnapshotsStayUntilTheyWereReplacedLongEnoughAgo(t *testing.T) {
	t.Parallel()
	tbl, err := New(onFiles(t), "lake", "events", columns)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 10 {
		at := began.Add(time.Duration(i) * time.Minute)
		change(t, tbl, Change{Add: []File{file("a", i)}, At: at, Expire: at.Add(-3 * time.Minute)})
	}
	// Replaced at minutes 6, 7, 8 and 9: those of 5 to 8; and the newest.
	if n := tbl.Snapshots(); n != 5 {
		t.Errorf("%d snapshots are left, want 5", n)
	}
	if first := tbl.meta.Snapshots[0].TimestampMS; first != began.Add(5*time.Minute).UnixMilli() {
		t.Errorf("the oldest is of %v", time.UnixMilli(first).UTC())
	}
	// A clock that is set back does not make time run backwards.
	change(t, tbl, Change{Add: []File{file("a", 99)}, At: began})
	if s := tbl.meta.Snapshots; s[len(s)-1].TimestampMS <= s[len(s)-2].TimestampMS {
		t.Error("a snapshot is older than the one before it")
	}
}

func TestColumnsKeepTheirIdsWhileTheyStay(t *testing.T) {
	t.Parallel()
	w := onFiles(t)
	tbl, err := New(w, "lake", "events", columns)
	if err != nil {
		t.Fatal(err)
	}
	change(t, tbl, Change{Add: []File{file("a", 1)}})
	ids := func() map[string]int {
		m := map[string]int{}
		for _, f := range tbl.meta.schema().Fields() {
			m[f.Name] = f.ID
		}
		return m
	}
	first := ids()
	more := append(slices.Clone(columns), Column{"p_plan", "string"})
	change(t, tbl, Change{Columns: more})
	plan := ids()["p_plan"]
	change(t, tbl, Change{Columns: columns})
	change(t, tbl, Change{Columns: more})
	last := ids()
	if last["p_plan"] == plan {
		t.Error("a column that went and came back has its old id: snapshots would mix the two")
	}
	delete(last, "p_plan")
	if len(last) != len(first) {
		t.Fatalf("columns %v, want %v", last, first)
	}
	for name, id := range first {
		if last[name] != id {
			t.Errorf("column %s has id %d, and had %d", name, last[name], id)
		}
	}
	if got := reloaded(t, w, tbl).Columns(); !slices.Equal(got, more) {
		t.Errorf("columns read back as %v", got)
	}
	if _, err := tbl.Stage(t.Context(), Change{Columns: []Column{{"x", "map"}}}); err == nil {
		t.Error("a column of an unknown type was taken")
	}
}

// What other writers and readers of Iceberg hold to be a table.
func TestMetadataIsWhatTheSpecificationDemands(t *testing.T) {
	t.Parallel()
	w := onFiles(t)
	tbl, err := New(w, "lake", "events", columns)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		change(t, tbl, Change{Add: []File{file("a", i)}, Properties: map[string]string{"seq": fmt.Sprint(i)}})
	}
	text, err := os.ReadFile(strings.TrimPrefix(tbl.Location(), "file://"))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := table.ParseMetadataBytes(text)
	if err != nil {
		t.Fatal(err)
	}
	if meta.Version() != 2 || meta.CurrentSnapshot() == nil || len(meta.Snapshots()) != 3 || meta.Properties()["seq"] != "2" ||
		meta.CurrentSchema().NumFields() != len(columns) || meta.NameMapping() == nil || meta.LastSequenceNumber() != 3 {
		t.Errorf("iceberg-go reads the metadata as %v", meta)
	}
	if spec := meta.PartitionSpec(); spec.NumFields() != 1 || spec.Field(0).Name != PartitionColumn {
		t.Errorf("iceberg-go reads the partitions as %v", meta.PartitionSpec())
	}
}

func TestATableInS3(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	cfg, err := objstore.ParseS3(server.URL("some/prefix"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	store, err := objstore.NewS3(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := Warehouse{Objects: store, Root: "s3://" + cfg.Bucket + "/" + cfg.Prefix, Prefix: "iceberg/"}
	tbl, err := New(w, "lake", "events", columns)
	if err != nil {
		t.Fatal(err)
	}
	change(t, tbl, Change{Add: []File{file("a", 1), file("b", 2)}})
	change(t, tbl, Change{Add: []File{file("a", 3)}, Remove: []File{{Key: file("a", 1).Key, Partition: "a"}}})
	if got, want := keys(reloaded(t, w, tbl)), keys(tbl); !slices.Equal(got, want) || len(got) != 2 {
		t.Errorf("the table holds %v, read back %v", want, got)
	}
}
