"""The tables of a session as files of other programs: a SQLite database with all of them, one as Parquet.

The same session makes the same bytes, as long as the library that writes them is the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path

from autoresearch.errors import PreconditionError
from autoresearch.exchange.rows import Kind, Table
from autoresearch.system.files import replaced_atomic

SQL: dict[Kind, str] = {"int": "INTEGER", "real": "REAL", "text": "TEXT", "bool": "INTEGER"}

GROUP = 100_000
"""Rows of a Parquet file that are in memory at once."""


def to_sqlite(path: Path, tables: Mapping[str, Table]) -> dict[str, int]:
    """Write all tables as one SQLite database, in place of what is there; return the number of rows of each."""
    counts = {}
    with replaced_atomic(path) as new, closing(sqlite3.connect(new, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")  # the whole file is synced when it is complete
        database.execute("BEGIN")
        for name, table in tables.items():
            columns = ", ".join(f"{_quoted(column)} {SQL[kind]}" for column, kind in table.columns.items())
            database.execute(f"CREATE TABLE {_quoted(name)} ({columns})")
            marks = ", ".join("?" * len(table.columns))
            done = database.executemany(f"INSERT INTO {_quoted(name)} VALUES ({marks})", table.rows())
            counts[name] = max(0, done.rowcount)
        database.execute("COMMIT")
    return counts


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def to_parquet(path: Path, table: Table) -> int:
    """Write one table as Parquet, in place of what is there; return the number of rows.

    Raises `PreconditionError` where pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise PreconditionError("pyarrow is not installed", "install it with: pip install pyarrow") from None
    kinds = {"int": pyarrow.int64(), "real": pyarrow.float64(), "text": pyarrow.string(), "bool": pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in table.columns.items()])
    count = 0
    with replaced_atomic(path) as new, parquet.ParquetWriter(new, schema) as writer:
        left = table.rows()
        while rows := [*islice(left, GROUP)]:
            count += len(rows)
            columns = [
                pyarrow.array(values, field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
    return count
