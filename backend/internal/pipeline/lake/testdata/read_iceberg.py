"""Reads Iceberg tables with PyIceberg and prints their rows as JSON lines.

Called with the location of each table's metadata file and, after it, the
columns to print, separated by commas.
"""

import json
import sys
import uuid

from pyiceberg.table import StaticTable


def plain(value):
    if isinstance(value, bytes):
        return str(uuid.UUID(bytes=value))
    if hasattr(value, "timestamp"):
        return int(value.timestamp()) * 1_000_000 + value.microsecond
    return str(value) if isinstance(value, uuid.UUID) else value


for location, columns in zip(sys.argv[1::2], sys.argv[2::2]):
    names = columns.split(",")
    rows = StaticTable.from_metadata(location).scan(selected_fields=tuple(names)).to_arrow().select(names)
    for row in zip(*(rows.column(name).to_pylist() for name in names)):
        print(json.dumps([location, *map(plain, row)]))
