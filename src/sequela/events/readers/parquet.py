"""Parquet, decoded by pyarrow: damaged pages can end the whole process in polars, or come back as other values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source

from sequela.errors import LogFormatError
from sequela.events.readers.source import Source, Table
from sequela.text import quoted

_ROWS = 1 << 17
"""Rows that are decoded at a time."""


def read_parquet(source: Source) -> Table:
    """Scan a Parquet file; its footer, which is written last, says how many rows there must be."""
    if source.compression:
        raise LogFormatError(f"{source.name} is a compressed Parquet file; unpack it, Parquet is compressed inside")
    frame, n_rows = scan_parquet(source.path)
    return Table(frame, source.name, n_rows, source.files)


def scan_parquet(path: Path) -> tuple[pl.LazyFrame, int]:
    """Return the rows of a Parquet file, lazily, and how many its footer says there are.

    Where pages carry checksums they are compared.

    Raises:
        OSError: Of pyarrow, or its `pyarrow.ArrowException`: the footer is missing or damaged.
    """
    with path.open("rb") as file:  # an open file, since a name need not be text
        opened = pq.ParquetFile(file)
        n_rows, schema = int(opened.metadata.num_rows), pl.DataFrame(opened.schema_arrow.empty_table()).schema

    def batches(
        with_columns: list[str] | None, predicate: pl.Expr | None, most: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        left = n_rows if most is None else most
        with path.open("rb") as file:
            for batch in _decoded(file, batch_size or _ROWS, with_columns):
                rows = pl.DataFrame(batch).head(left)
                left -= rows.height
                rows = rows.select(with_columns or schema.names())
                yield rows if predicate is None else rows.filter(predicate)
                if not left:
                    break

    return register_io_source(batches, schema=schema), n_rows


def read_table(path: Path) -> pl.DataFrame:
    """Read a table of a result; raise `ValueError` where it cannot be decoded, `OSError` where it cannot be read."""
    with _as_value_errors(path), path.open("rb") as file:
        schema = pq.read_schema(file)
        return pl.DataFrame(pa.Table.from_batches(list(_decoded(file)), schema))


def check_table(path: Path) -> None:
    """Decode a large table of a result once; raises as `read_table` does. What passes here polars can read safely."""
    with _as_value_errors(path), path.open("rb") as file:
        for _ in _decoded(file):
            pass


def _decoded(file: IO[bytes], n_rows: int = _ROWS, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    for batch in pq.ParquetFile(file, page_checksum_verification=True).iter_batches(n_rows, columns=columns):
        batch.validate(full=True)  # text that is not UTF-8 would end the process later
        yield batch


@contextmanager
def _as_value_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(f"{path.name} is damaged: {quoted(error)}") from error  # of pyarrow
    except (pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(f"{path.name} is damaged: {quoted(error)}") from error
