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
    n_rows = int(pq.read_metadata(source.path).num_rows)
    frame = pl.scan_parquet(source.path.absolute(), glob=False, hive_partitioning=False)
    return Table(frame, source.name, n_rows, source.files)
