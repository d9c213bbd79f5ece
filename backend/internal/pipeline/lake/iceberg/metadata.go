package iceberg

import (
	"encoding/json"
	"fmt"
	"slices"

	ice "github.com/apache/iceberg-go"
)

// metadata is a table's metadata file, as the Iceberg specification names its
// parts for format version 2.
type metadata struct {
	FormatVersion      int               `json:"format-version"`
	TableUUID          string            `json:"table-uuid"`
	Location           string            `json:"location"`
	LastSequenceNumber int64             `json:"last-sequence-number"`
	LastUpdatedMS      int64             `json:"last-updated-ms"`
	LastColumnID       int               `json:"last-column-id"`
	CurrentSchemaID    int               `json:"current-schema-id"`
	Schemas            []*ice.Schema     `json:"schemas"`
	DefaultSpecID      int               `json:"default-spec-id"`
	PartitionSpecs     []partitionSpec   `json:"partition-specs"`
	LastPartitionID    int               `json:"last-partition-id"`
	DefaultSortOrderID int               `json:"default-sort-order-id"`
	SortOrders         []sortOrder       `json:"sort-orders"`
	Properties         map[string]string `json:"properties"`
	CurrentSnapshotID  *int64            `json:"current-snapshot-id,omitempty"`
	Refs               map[string]ref    `json:"refs"`
	Snapshots          []snapshot        `json:"snapshots"`
	SnapshotLog        []snapshotEntry   `json:"snapshot-log"`
	MetadataLog        []metadataEntry   `json:"metadata-log"`
}

type partitionSpec struct {
	ID     int              `json:"spec-id"`
	Fields []partitionField `json:"fields"`
}

type partitionField struct {
	Name      string `json:"name"`
	Transform string `json:"transform"`
	SourceID  int    `json:"source-id"`
	FieldID   int    `json:"field-id"`
}

type sortOrder struct {
	ID     int        `json:"order-id"`
	Fields []struct{} `json:"fields"`
}

type ref struct {
	SnapshotID int64  `json:"snapshot-id"`
	Type       string `json:"type"`
}

type snapshot struct {
	ID             int64             `json:"snapshot-id"`
	ParentID       *int64            `json:"parent-snapshot-id,omitempty"`
	SequenceNumber int64             `json:"sequence-number"`
	TimestampMS    int64             `json:"timestamp-ms"`
	ManifestList   string            `json:"manifest-list"`
	Summary        map[string]string `json:"summary"`
	SchemaID       int               `json:"schema-id"`
}

type snapshotEntry struct {
	TimestampMS int64 `json:"timestamp-ms"`
	SnapshotID  int64 `json:"snapshot-id"`
}

type metadataEntry struct {
	TimestampMS  int64  `json:"timestamp-ms"`
	MetadataFile string `json:"metadata-file"`
}

const (
	partitionFieldID = 1000 // where the specification has partition fields begin
	nameMappingKey   = "schema.name-mapping.default"
)

// newMetadata is a table without snapshots.
func newMetadata(uuid, location string, columns []Column) (metadata, error) {
	m := metadata{
		FormatVersion: 2, TableUUID: uuid, Location: location, CurrentSchemaID: -1, LastPartitionID: partitionFieldID,
		SortOrders: []sortOrder{{Fields: []struct{}{}}},
		Properties: map[string]string{
			// For other writers, should there ever be any; we keep these rules ourselves.
			"write.metadata.delete-after-commit.enabled": "true",
			"write.parquet.compression-codec":            "zstd",
		},
		Refs: map[string]ref{}, Snapshots: []snapshot{}, SnapshotLog: []snapshotEntry{}, MetadataLog: []metadataEntry{},
	}
	if _, err := m.evolve(columns); err != nil {
		return metadata{}, err
	}
	source, ok := m.schema().FindFieldByName(PartitionColumn)
	if !ok {
		return metadata{}, fmt.Errorf("the table has no column %s to partition by", PartitionColumn)
	}
	m.PartitionSpecs = []partitionSpec{{Fields: []partitionField{{PartitionColumn, "identity", source.ID, partitionFieldID}}}}
	return m, nil
}

func (m *metadata) schema() *ice.Schema {
	for _, s := range m.Schemas {
		if s.ID == m.CurrentSchemaID {
			return s
		}
	}
	return ice.NewSchema(-1)
}

func (m *metadata) spec() ice.PartitionSpec {
	field := m.PartitionSpecs[0].Fields[0]
	return ice.NewPartitionSpecID(m.DefaultSpecID, ice.PartitionField{
		SourceIDs: []int{field.SourceID}, FieldID: field.FieldID, Name: field.Name, Transform: ice.IdentityTransform{}})
}

func (m *metadata) current() *snapshot {
	if m.CurrentSnapshotID == nil {
		return nil
	}
	for i := len(m.Snapshots) - 1; i >= 0; i-- {
		if m.Snapshots[i].ID == *m.CurrentSnapshotID {
			return &m.Snapshots[i]
		}
	}
	return nil
}

// evolve makes columns the table's, and reports whether that changed anything.
// A column keeps its id for as long as it stays with its type; objects have no
// ids in them, so readers find columns by the names of the mapping.
func (m *metadata) evolve(columns []Column) (bool, error) {
	have := m.schema()
	fields := make([]ice.NestedField, 0, len(columns))
	type mapped struct {
		ID    int      `json:"field-id"`
		Names []string `json:"names"`
	}
	mapping := make([]mapped, 0, len(columns))
	for _, c := range columns {
		kind, ok := types[c.Type]
		if !ok {
			return false, fmt.Errorf("column %s has type %q, which no table of ours knows", c.Name, c.Type)
		}
		id := 0
		if field, ok := have.FindFieldByName(c.Name); ok && field.Type.Equals(kind) {
			id = field.ID
		} else {
			m.LastColumnID++
			id = m.LastColumnID
		}
		fields = append(fields, ice.NestedField{ID: id, Name: c.Name, Type: kind})
		mapping = append(mapping, mapped{id, []string{c.Name}})
	}
	if slices.EqualFunc(fields, have.Fields(), func(a, b ice.NestedField) bool { return a.Equals(b) }) {
		return false, nil
	}
	text, err := json.Marshal(mapping)
	if err != nil {
		return false, fmt.Errorf("name mapping: %w", err)
	}
	m.Properties[nameMappingKey] = string(text)
	id := -1
	for _, s := range m.Schemas {
		id = max(id, s.ID)
	}
	m.Schemas = append(slices.Clone(m.Schemas), ice.NewSchema(id+1, fields...))
	m.CurrentSchemaID = id + 1
	return true, nil
}

// types are those that our columns have.
var types = map[string]ice.Type{
	"long": ice.PrimitiveTypes.Int64, "int": ice.PrimitiveTypes.Int32, "double": ice.PrimitiveTypes.Float64,
	"boolean": ice.PrimitiveTypes.Bool, "string": ice.PrimitiveTypes.String, "uuid": ice.PrimitiveTypes.UUID,
	"date": ice.PrimitiveTypes.Date, "timestamptz": ice.PrimitiveTypes.TimestampTz,
}
