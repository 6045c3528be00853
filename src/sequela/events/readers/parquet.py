"""Parquet."""

from __future__ import annotations

import polars as pl
import pyarrow.parquet as pq

from sequela.errors import LogFormatError
from sequela.events.readers.source import Source, Table


def read_parquet(source: Source) -> Table:
    """Scan a Parquet file; its footer, which is written last, says how many rows there must be."""
    if source.compression:
        raise LogFormatError(f"{source.name} is a compressed Parquet file; unpack it, Parquet is compressed inside")
    with source.path.open("rb") as file:  # an open file, since a path would be read as a pattern
        n_rows = int(pq.read_metadata(file).num_rows)
        file.seek(0)
        frame = pl.scan_parquet(file, hive_partitioning=False)
    return Table(frame, source.name, n_rows, source.files)
