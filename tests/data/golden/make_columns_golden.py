"""Writes columns*.parquet and columns*.arrow of tests/data/columnar_records_test.cpp, with pyarrow 26.0.1 (run: python3 make_columns_golden.py)."""
import datetime
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
message = pa.struct([("role", pa.string()), ("content", pa.large_string()), ("weight", pa.int8())])
schema = pa.schema([("messages", pa.list_(message)), ("n", pa.int64()), ("x", pa.float32()), ("ok", pa.bool_()), ("day", pa.date32()),
                    ("kind", pa.dictionary(pa.int8(), pa.string())), ("ids", pa.list_(pa.uint16())), ("none", pa.null())])
rows = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "caf\u00e9", "weight": 0}], "n": 1, "x": 0.5, "ok": True,
     "day": datetime.date(2024, 2, 29), "kind": "a", "ids": [1, 2]},
    {"messages": [{"role": "user", "content": ""}], "n": -(2**63), "x": None, "ok": False, "day": None, "kind": "b", "ids": []},
    {"messages": [], "n": 0, "x": float("nan"), "ok": None, "day": None, "kind": None, "ids": None},
]
table = pa.Table.from_pylist(rows, schema)
pq.write_table(table, HERE / "columns.parquet", compression="zstd", row_group_size=2, store_schema=True)
with pa.ipc.new_file(HERE / "columns_file.arrow", schema) as writer:
    writer.write_table(table)
with pa.ipc.new_stream(HERE / "columns_stream.arrow", schema) as writer:
    writer.write_table(table, max_chunksize=2)
pq.write_table(pa.table({"text": ["a"], "image": [b"\xff"]}), HERE / "columns_bytes.parquet")
