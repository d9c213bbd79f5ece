// Package iceberg keeps Iceberg tables (format version 2) over Parquet objects
// that exist already: their metadata files, manifests and snapshots, and the
// rows of the JDBC catalog that name the current ones. It uses iceberg-go for
// manifests alone: its transactions read every manifest at each removal, and its
// catalog commits one table at a time. It knows neither what the objects mean
// nor when they may be deleted.
//
// A change is staged, which writes files that nothing refers to, and then
// committed in a transaction of the caller's, beside whatever must change with
// it. A crash between the two leaves files that nobody knows; the caller lists
// what was committed and sweeps the rest.
package iceberg

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	ice "github.com/apache/iceberg-go"
	"github.com/google/uuid"

	"github.com/causality-project/causality/backend/internal/platform/objstore"
)

// PartitionColumn is what every table is partitioned by, as it is.
const PartitionColumn = "app_id"

const (
	// A manifest of this many entries is full: about 0.5 MB, 30 ms to write anew
	// when one of its objects goes.
	manifestEntries = 4096
	// Manifests of about one size are merged when there are so many of them, so
	// that an entry is written about five times until its manifest is full, and a
	// table has at most some 30 that are not.
	mergeAt = 8
	// keptMetadata bounds the log of earlier metadata files.
	keptMetadata = 20
)

// ErrForeign is returned by Load for a table of another place or another writer.
var ErrForeign = errors.New("a foreign Iceberg table")

// Column is a column of a table. Every column may be NULL.
type Column struct {
	Name string
	Type string // as Iceberg names it: long, string, uuid, double, timestamptz, …
}

// File is an object that is part of a table.
type File struct {
	Key       string // in the warehouse's store
	Partition string // its value of PartitionColumn
	Rows      int64
	Bytes     int64
	Bounds    map[string]Bounds // by column; readers skip by them
}

// Bounds are the least and the greatest value of a column in an object, as the
// Iceberg specification writes single values: long and timestamptz are eight
// bytes, little end first; a string is its UTF-8.
type Bounds struct{ Lower, Upper []byte }

// Warehouse is where tables live: a store of objects and the name by which
// readers know its root.
type Warehouse struct {
	Objects objstore.Store
	// Root is the URI of the store's root without a slash at its end, such as
	// file:///var/lib/causality/objects or s3://bucket/prefix.
	Root string
	// Prefix begins the keys of all that is written here; it ends with a slash.
	Prefix string
}

func (w Warehouse) uri(key string) string { return w.Root + "/" + key }

func (w Warehouse) key(uri string) (string, error) {
	key, ok := strings.CutPrefix(uri, w.Root+"/")
	if !ok {
		return "", fmt.Errorf("%w: %s is not below %s", ErrForeign, uri, w.Root)
	}
	return key, nil
}

// Table is a table as it stood at one metadata file. It is not safe for
// concurrent use.
type Table struct {
	w         Warehouse
	namespace string
	name      string
	location  string // of the metadata file; empty for a table that was never committed
	meta      metadata
	manifests []*manifest // of the current snapshot
	files     map[string]map[string]*manifest
}

type manifest struct {
	file ice.ManifestFile
	live int // entries that are not of removed files
}

func newManifest(file ice.ManifestFile) *manifest {
	return &manifest{file, int(file.AddedDataFiles()) + int(file.ExistingDataFiles())}
}

// size is the class of manifests that are merged with one another.
func (m *manifest) size() int { return bits.Len(uint(max(m.live, 1))) / 3 }

// New is a table that does not exist yet.
func New(w Warehouse, namespace, name string, columns []Column) (*Table, error) {
	id := uuid.New().String()
	// The id is part of the folder: a table that is made anew under its old name
	// shares no file with the one before.
	meta, err := newMetadata(id, w.uri(w.Prefix+namespace+"/"+name+"-"+id[:8]), columns)
	if err != nil {
		return nil, fmt.Errorf("iceberg table %s: %w", name, err)
	}
	return &Table{w: w, namespace: namespace, name: name, meta: meta, files: map[string]map[string]*manifest{}}, nil
}

// Load reads the table of a metadata file. Its time and memory grow with the
// number of objects: about 20 µs and 250 bytes for each.
func Load(ctx context.Context, w Warehouse, namespace, name, location string) (*Table, error) {
	t := &Table{w: w, namespace: namespace, name: name, location: location, files: map[string]map[string]*manifest{}}
	err := t.read(ctx, location, func(r io.Reader) error { return json.NewDecoder(r).Decode(&t.meta) })
	if err == nil && (t.meta.FormatVersion != 2 || len(t.meta.PartitionSpecs) != 1 || len(t.meta.PartitionSpecs[0].Fields) != 1) {
		err = fmt.Errorf("%w: %s was not written by this program", ErrForeign, location)
	}
	current := t.meta.current()
	if err != nil || current == nil {
		return t, wrap(name, err)
	}
	var list []ice.ManifestFile
	err = t.read(ctx, current.ManifestList, func(r io.Reader) (err error) {
		list, err = ice.ReadManifestList(r)
		return err
	})
	for _, file := range list {
		if err != nil {
			break
		}
		m := newManifest(file)
		t.manifests = append(t.manifests, m)
		err = t.entries(ctx, m, func(e ice.ManifestEntry) error {
			key, err := w.key(e.DataFile().FilePath())
			if err == nil {
				t.hold(partitionOf(e.DataFile()), key, m)
			}
			return err
		})
	}
	return t, wrap(name, err)
}

func wrap(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("iceberg table %s: %w", name, err)
}

func (t *Table) hold(partition, key string, m *manifest) {
	held := t.files[partition]
	if held == nil {
		held = map[string]*manifest{}
		t.files[partition] = held
	}
	held[key] = m
}

func partitionOf(file ice.DataFile) string {
	value, _ := file.Partition()[partitionFieldID].(string)
	return value
}

// read opens a file by its URI.
func (t *Table) read(ctx context.Context, uri string, fn func(io.Reader) error) (err error) {
	key, err := t.w.key(uri)
	if err != nil {
		return err
	}
	reader, err := t.w.Objects.Open(ctx, key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	// Whole: they are small, and a remote store is asked once.
	data := make([]byte, reader.Size())
	if _, err := io.ReadFull(io.NewSectionReader(reader, 0, reader.Size()), data); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	if err := fn(bytes.NewReader(data)); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	return nil
}

// entries yields what a manifest holds, without removed files.
func (t *Table) entries(ctx context.Context, m *manifest, yield func(ice.ManifestEntry) error) error {
	return t.read(ctx, m.file.FilePath(), func(r io.Reader) error {
		entries, err := ice.ReadManifest(m.file, r, true)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := yield(e); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// Location is the URI of the metadata file.
func (t *Table) Location() string { return t.location }

// Columns are the table's columns now.
func (t *Table) Columns() []Column {
	var columns []Column
	for _, f := range t.meta.schema().Fields() {
		columns = append(columns, Column{f.Name, f.Type.String()})
	}
	return columns
}

// Property is a property of the table.
func (t *Table) Property(name string) string { return t.meta.Properties[name] }

// SnapshotID is the current snapshot; 0 when there is none.
func (t *Table) SnapshotID() int64 {
	if t.meta.CurrentSnapshotID == nil {
		return 0
	}
	return *t.meta.CurrentSnapshotID
}

// Objects is how many objects the table has.
func (t *Table) Objects() (n int64) {
	for _, m := range t.manifests {
		n += int64(m.live)
	}
	return n
}

// Snapshots is how many snapshots can be read.
func (t *Table) Snapshots() int { return len(t.meta.Snapshots) }

// Keys are the objects of a partition, in no order.
func (t *Table) Keys(partition string) []string {
	return slices.Collect(maps.Keys(t.files[partition]))
}

// Partitions are the partitions that have objects.
func (t *Table) Partitions() []string { return slices.Collect(maps.Keys(t.files)) }

// Metadata is what the table needs beside its objects: the keys of its metadata
// file, its manifest lists and the manifests of its current snapshot.
func (t *Table) Metadata() ([]string, error) {
	uris := []string{t.location}
	for _, s := range t.meta.Snapshots {
		uris = append(uris, s.ManifestList)
	}
	for _, m := range t.manifests {
		uris = append(uris, m.file.FilePath())
	}
	keys := make([]string, len(uris))
	for i, uri := range uris {
		var err error
		if keys[i], err = t.w.key(uri); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// Outlived reports whether a snapshot was replaced by another before the given
// time, so that a change would drop it.
func (t *Table) Outlived(before time.Time) bool {
	return len(t.meta.Snapshots) > 1 && t.meta.Snapshots[1].TimestampMS < before.UnixMilli()
}

// Change is what one commit does to a table.
type Change struct {
	Add        []File
	Remove     []File            // Key and Partition alone count
	Columns    []Column          // all that the table shall have; nil: those that it has
	Properties map[string]string // set beside those that there are
	Summary    map[string]string // of the snapshot, if the change makes one
	At         time.Time         // by the clock of all who commit
	// Expire drops snapshots that were replaced before it.
	Expire time.Time
	// Forget leaves no trace of what was before: no earlier snapshot, and no
	// mention of removed files.
	Forget bool
}

// Staged is a change whose files are written. It takes effect when Commit's
// transaction commits; the caller then calls Apply.
type Staged struct {
	Written  []string // keys of new files
	Obsolete []string // keys of files that no snapshot from now on needs

	table     *Table
	location  string
	meta      metadata
	manifests []*manifest
	moved     map[*manifest][]File // to new manifests
	removed   []File
}

// SnapshotID is the current snapshot from then on; 0 when there is none.
func (s *Staged) SnapshotID() int64 {
	if s.meta.CurrentSnapshotID == nil {
		return 0
	}
	return *s.meta.CurrentSnapshotID
}

// Stage writes the files of a change. Its cost grows with the change and with
// the number of manifests and snapshots, not with the number of objects.
func (t *Table) Stage(ctx context.Context, c Change) (*Staged, error) {
	s := &Staged{table: t, meta: t.meta, moved: map[*manifest][]File{}, removed: c.Remove}
	s.meta.Properties = maps.Clone(t.meta.Properties)
	maps.Copy(s.meta.Properties, c.Properties)
	evolved := false
	if c.Columns != nil {
		var err error
		if evolved, err = s.meta.evolve(c.Columns); err != nil {
			return nil, wrap(t.name, err)
		}
	}
	s.meta.LastUpdatedMS = max(c.At.UnixMilli(), t.meta.LastUpdatedMS+1)
	s.manifests = t.manifests
	// A change of columns makes a snapshot too: one that is read by its id is read
	// with the columns that it names.
	if len(c.Add)+len(c.Remove) > 0 || evolved || t.meta.CurrentSnapshotID == nil || c.Forget && (len(t.meta.Snapshots) > 1 || t.mentionsRemoved()) {
		if err := s.snapshot(ctx, c); err != nil {
			return nil, wrap(t.name, err)
		}
	}
	s.expire(c)
	if err := s.writeMetadata(ctx, c); err != nil {
		return nil, wrap(t.name, err)
	}
	return s, nil
}

func (t *Table) mentionsRemoved() bool {
	return slices.ContainsFunc(t.manifests, func(m *manifest) bool { return m.file.DeletedDataFiles() > 0 })
}

// snapshot writes the manifests and the manifest list of the table after c.
func (s *Staged) snapshot(ctx context.Context, c Change) error {
	t := s.table
	next := snapshot{ID: rand.Int64N(1<<62) + 1, ParentID: t.meta.CurrentSnapshotID, SequenceNumber: t.meta.LastSequenceNumber + 1,
		TimestampMS: s.meta.LastUpdatedMS, SchemaID: s.meta.CurrentSchemaID}
	removed := make(map[string]struct{}, len(c.Remove))
	rewrite := map[*manifest]struct{}{}
	for _, f := range c.Remove {
		holder := t.files[f.Partition][f.Key]
		if holder == nil {
			return fmt.Errorf("%s is to be removed and is not there", f.Key)
		}
		removed[t.w.uri(f.Key)] = struct{}{}
		rewrite[holder] = struct{}{}
	}
	for _, f := range c.Add {
		if t.files[f.Partition][f.Key] != nil {
			return fmt.Errorf("%s is to be added and is there", f.Key)
		}
	}
	s.manifests = nil
	classes := map[int][]*manifest{}
	for _, m := range t.manifests {
		if _, ok := rewrite[m]; ok {
			continue
		}
		switch {
		case m.live == 0: // only told of removed files
		case c.Forget && m.file.DeletedDataFiles() > 0:
			rewrite[m] = struct{}{}
		case m.live >= manifestEntries/2:
			s.manifests = append(s.manifests, m)
		default:
			classes[m.size()] = append(classes[m.size()], m)
		}
	}
	for _, size := range slices.Sorted(maps.Keys(classes)) {
		if same := classes[size]; len(same) < mergeAt {
			s.manifests = append(s.manifests, same...)
		} else {
			for _, m := range same {
				rewrite[m] = struct{}{}
			}
		}
	}
	w := &manifestWriter{staged: s, ctx: ctx, snapshotID: next.ID}
	if err := w.write(c, rewrite, removed); err != nil {
		return err
	}
	var list bytes.Buffer
	files := make([]ice.ManifestFile, len(s.manifests))
	var total, rows int64
	for i, m := range s.manifests {
		files[i] = m.file
		total += int64(m.live)
		rows += m.file.AddedRows() + m.file.ExistingRows()
	}
	if err := ice.WriteManifestList(2, &list, next.ID, next.ParentID, &next.SequenceNumber, 0, files); err != nil {
		return fmt.Errorf("manifest list: %w", err)
	}
	key, err := s.create(ctx, fmt.Sprintf("snap-%d-%s.avro", next.ID, uuid.NewString()), list.Bytes())
	if err != nil {
		return err
	}
	next.ManifestList = t.w.uri(key)
	// Read back what readers will see: the list fills in what manifests inherit.
	if files, err = ice.ReadManifestList(&list); err != nil {
		return fmt.Errorf("manifest list reads back wrong: %w", err)
	}
	for i := range files {
		s.manifests[i].file = files[i]
	}
	next.Summary = map[string]string{
		"operation":        operation(c),
		"added-data-files": strconv.Itoa(len(c.Add)), "deleted-data-files": strconv.Itoa(len(c.Remove)),
		"total-data-files": strconv.FormatInt(total, 10), "total-records": strconv.FormatInt(rows, 10), "total-delete-files": "0",
	}
	maps.Copy(next.Summary, c.Summary)
	if t.meta.CurrentSnapshotID != nil {
		s.obsolete(t.meta.current().ManifestList)
	}
	keep := map[string]struct{}{}
	for _, m := range s.manifests {
		keep[m.file.FilePath()] = struct{}{}
	}
	for _, m := range t.manifests {
		if _, ok := keep[m.file.FilePath()]; !ok {
			s.obsolete(m.file.FilePath())
		}
	}
	s.meta.LastSequenceNumber = next.SequenceNumber
	s.meta.CurrentSnapshotID = &next.ID
	s.meta.Refs = map[string]ref{"main": {next.ID, "branch"}}
	s.meta.Snapshots = append(slices.Clone(t.meta.Snapshots), next)
	s.meta.SnapshotLog = append(slices.Clone(t.meta.SnapshotLog), snapshotEntry{next.TimestampMS, next.ID})
	return nil
}

// operation is how the specification names what a snapshot does.
func operation(c Change) string {
	switch {
	case len(c.Remove) == 0 && len(c.Add) > 0:
		return "append"
	case len(c.Add) == 0 && len(c.Remove) > 0:
		return "delete"
	case len(c.Add)+len(c.Remove) == 0:
		return "replace"
	default:
		return "overwrite"
	}
}

func (s *Staged) obsolete(uri string) {
	if key, err := s.table.w.key(uri); err == nil {
		s.Obsolete = append(s.Obsolete, key)
	}
}

// create writes one metadata file.
func (s *Staged) create(ctx context.Context, name string, data []byte) (string, error) {
	folder, err := s.table.w.key(s.meta.Location)
	if err != nil {
		return "", err
	}
	key := path.Join(folder, "metadata", name)
	if _, err := s.table.w.Objects.Create(ctx, key, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}); err != nil {
		return "", err
	}
	s.Written = append(s.Written, key)
	return key, nil
}

// expire drops snapshots that were replaced long enough ago, and what only they
// mention.
func (s *Staged) expire(c Change) {
	cut := 0
	for cut+1 < len(s.meta.Snapshots) && (c.Forget || s.meta.Snapshots[cut+1].TimestampMS < c.Expire.UnixMilli()) {
		cut++
	}
	if cut == 0 {
		return
	}
	s.meta.Snapshots = slices.Clone(s.meta.Snapshots[cut:])
	first := s.meta.Snapshots[0]
	log := s.meta.SnapshotLog
	for len(log) > 0 && log[0].SnapshotID != first.ID {
		log = log[1:]
	}
	s.meta.SnapshotLog = slices.Clone(log)
	if len(s.meta.Schemas) > 1 {
		used := map[int]struct{}{s.meta.CurrentSchemaID: {}}
		for _, kept := range s.meta.Snapshots {
			used[kept.SchemaID] = struct{}{}
		}
		s.meta.Schemas = slices.DeleteFunc(slices.Clone(s.meta.Schemas), func(schema *ice.Schema) bool { _, ok := used[schema.ID]; return !ok })
	}
}

func (s *Staged) writeMetadata(ctx context.Context, c Change) error {
	version := 0
	s.meta.MetadataLog = slices.Clone(s.meta.MetadataLog)
	if old := s.table.location; old != "" {
		s.obsolete(old)
		s.meta.MetadataLog = append(s.meta.MetadataLog, metadataEntry{s.table.meta.LastUpdatedMS, old})
		number, _, _ := strings.Cut(path.Base(old), "-")
		version, _ = strconv.Atoi(number)
		version++
	}
	// What is listed must exist: earlier ones may be deleted by now.
	s.meta.MetadataLog = slices.DeleteFunc(s.meta.MetadataLog, func(e metadataEntry) bool {
		return c.Forget || e.TimestampMS < c.Expire.UnixMilli()
	})
	if extra := len(s.meta.MetadataLog) - keptMetadata; extra > 0 {
		s.meta.MetadataLog = s.meta.MetadataLog[extra:]
	}
	text, err := json.Marshal(&s.meta)
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	key, err := s.create(ctx, fmt.Sprintf("%05d-%s.metadata.json", version, uuid.NewString()), text)
	s.location = s.table.w.uri(key)
	return err
}

// Apply makes the table what it is after the change. Call it once the
// transaction of Commit has committed.
func (s *Staged) Apply() {
	t := s.table
	for _, f := range s.removed {
		delete(t.files[f.Partition], f.Key)
		if len(t.files[f.Partition]) == 0 {
			delete(t.files, f.Partition)
		}
	}
	for m, files := range s.moved {
		for _, f := range files {
			t.hold(f.Partition, f.Key, m)
		}
	}
	t.location, t.meta, t.manifests = s.location, s.meta, s.manifests
}

// manifestWriter writes added, kept and removed entries into manifests of a
// bounded size.
type manifestWriter struct {
	staged     *Staged
	ctx        context.Context
	snapshotID int64

	out    *ice.ManifestWriter
	buffer bytes.Buffer
	files  []File // live ones of the manifest in hand
	count  int
}

func (w *manifestWriter) write(c Change, rewrite map[*manifest]struct{}, removed map[string]struct{}) error {
	spec := w.staged.meta.spec()
	schema := w.staged.meta.schema()
	for i := range c.Add {
		data, err := w.dataFile(spec, schema, &c.Add[i])
		if err != nil {
			return err
		}
		entry := ice.NewManifestEntry(ice.EntryStatusADDED, &w.snapshotID, nil, nil, data)
		if err := w.append(&c.Add[i], func(out *ice.ManifestWriter) error { return out.Add(entry) }); err != nil {
			return err
		}
	}
	order := slices.SortedFunc(maps.Keys(rewrite), func(a, b *manifest) int { return cmp.Compare(a.file.FilePath(), b.file.FilePath()) })
	for _, m := range order {
		err := w.staged.table.entries(w.ctx, m, func(e ice.ManifestEntry) error {
			if _, gone := removed[e.DataFile().FilePath()]; !gone {
				key, err := w.staged.table.w.key(e.DataFile().FilePath())
				if err != nil {
					return err
				}
				return w.append(&File{Key: key, Partition: partitionOf(e.DataFile())}, func(out *ice.ManifestWriter) error { return out.Existing(e) })
			}
			if c.Forget {
				return nil
			}
			return w.append(nil, func(out *ice.ManifestWriter) error { return out.Delete(e) })
		})
		if err != nil {
			return err
		}
	}
	return w.flush()
}

func (w *manifestWriter) append(live *File, write func(*ice.ManifestWriter) error) error {
	if w.out == nil {
		out, err := ice.NewManifestWriter(2, &w.buffer, w.staged.meta.spec(), w.staged.meta.schema(), w.snapshotID)
		if err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		w.out = out
	}
	if err := write(w.out); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if live != nil {
		w.files = append(w.files, File{Key: live.Key, Partition: live.Partition})
	}
	if w.count++; w.count >= manifestEntries {
		return w.flush()
	}
	return nil
}

func (w *manifestWriter) flush() error {
	if w.out == nil {
		return nil
	}
	if err := w.out.Close(); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	key, err := w.staged.create(w.ctx, uuid.NewString()+"-m0.avro", w.buffer.Bytes())
	if err != nil {
		return err
	}
	file, err := w.out.ToManifestFile(w.staged.table.w.uri(key), int64(w.buffer.Len()))
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	m := newManifest(file)
	w.staged.manifests = append(w.staged.manifests, m)
	w.staged.moved[m] = w.files
	w.out, w.files, w.count = nil, nil, 0
	w.buffer.Reset()
	return nil
}

func (w *manifestWriter) dataFile(spec ice.PartitionSpec, schema *ice.Schema, f *File) (ice.DataFile, error) {
	builder, err := ice.NewDataFileBuilder(spec, ice.EntryContentData, w.staged.table.w.uri(f.Key), ice.ParquetFile,
		map[int]any{partitionFieldID: f.Partition}, nil, nil, f.Rows, f.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Key, err)
	}
	lower, upper := map[int][]byte{}, map[int][]byte{}
	for name, bounds := range f.Bounds {
		if field, ok := schema.FindFieldByName(name); ok {
			lower[field.ID], upper[field.ID] = bounds.Lower, bounds.Upper
		}
	}
	return builder.LowerBoundValues(lower).UpperBoundValues(upper).Build(), nil
}
