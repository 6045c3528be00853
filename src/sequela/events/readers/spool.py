"""Rows that come in batches and are kept in a temporary folder, so that memory does not grow with the log."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from sequela.errors import LogFormatError
from sequela.events.readers.source import Table, TemporaryFolder
from sequela.text import quoted

BATCH = 50_000
"""Rows that a reader collects before it writes them."""


class Spool:
    """Takes batches of rows and gives them back as one lazy frame.

    Attributes:
        name: What messages call the log.
        n_rows: Rows written so far.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.n_rows = 0
        self._folder = TemporaryFolder()
        self._paths: list[Path] = []

    def write(self, frame: pl.DataFrame) -> None:
        """Write a batch; one without rows is kept only where it is the first, for its columns."""
        if frame.is_empty() and self._paths:
            return
        path = self._folder.path / f"{len(self._paths)}.parquet"
        try:
            frame.write_parquet(path, compression="lz4")
        except OSError as error:
            raise LogFormatError(f"a temporary file for {self.name} cannot be written: {quoted(error)}") from error
        self._paths.append(path)
        self.n_rows += frame.height

    def frame(self, how: Literal["vertical_relaxed", "diagonal"] = "vertical_relaxed") -> pl.LazyFrame:
        """Return all batches one after the other: with the same columns, or (``diagonal``) each with its own."""
        frames = [pl.scan_parquet(path, glob=False) for path in self._paths]
        return frames[0] if len(frames) == 1 else pl.concat(frames, how=how)

    def table(self, how: Literal["vertical_relaxed", "diagonal"] = "vertical_relaxed") -> Table:
        """Return all batches as a table."""
        return Table(self.frame(how), self.name, self.n_rows, self.files)

    @property
    def files(self) -> tuple[TemporaryFolder, ...]:
        """Folders that must stay while the frame is read."""
        return (self._folder,)
