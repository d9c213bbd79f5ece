package parquetv1

import "github.com/parquet-go/parquet-go"

// Fields are the columns that every object has, in file order, for those who
// describe objects to other readers.
func Fields() []parquet.Field { return schema.Fields() }
