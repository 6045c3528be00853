"""Discovery results in a folder: the summary in memory, edges and events read when asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sequela.display import Shown
from sequela.errors import LogFormatError
from sequela.graphs.exports import AnnotatedLog
from sequela.graphs.instance import InstanceGraph, SummaryGraph, summarise
from sequela.graphs.results import Discovery, case_graph
from sequela.graphs.run_record import read_run


@dataclass(frozen=True, repr=False)
class SavedDiscovery(Shown, AnnotatedLog):
    """A folder of results: the summary is read, edges and events stay on disk until they are asked for.

    Attributes:
        folder: Where.
        summary: Graph over event types.
        run: What `run.json` says.
    """

    folder: Path
    summary: SummaryGraph
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def edges(self) -> pl.LazyFrame:
        """All edges, scanned from the file."""
        return pl.scan_parquet(self.folder / "edges.parquet")

    @property
    def nodes(self) -> pl.DataFrame:
        """``event`` and ``count`` over the log."""
        return self.summary.nodes

    @property
    def events(self) -> pl.LazyFrame | None:
        """All events, scanned from the file; None when the folder does not have them."""
        path = self.folder / "events.parquet"
        return pl.scan_parquet(path) if path.is_file() else None

    def at_level(self, hierarchy_level: int, *, self_loops: bool = False) -> SummaryGraph:
        """Return the summary between types at a hierarchy level, with cases counted from all edges.

        Raises:
            ConfigError: `hierarchy_level` is below 1, or no type has components.
        """
        columns = ["case", "cause", "effect", "lag", "cmi_nats", "pointwise_nats", "directed"]
        return summarise(
            self.edges.select(columns).collect(), self.nodes, self_loops=self_loops, hierarchy_level=hierarchy_level
        )

    def case(self, name: str) -> InstanceGraph:
        """Return the graph of one case; see `Discovery.case`."""
        return case_graph(name, self.edges, self.events, self.run, source=f"'{self.folder}'")

    def collect(self) -> Discovery:
        """Read all edges and events into memory."""
        events = self.events
        return Discovery(self.edges.collect(), self.nodes, self.run, None if events is None else events.collect())

    def _log(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        return self.collect()._log()

    def _top_rows(self) -> pl.DataFrame:
        return self.summary._top_rows()

    def __repr__(self) -> str:
        return f"SavedDiscovery('{self.folder}': {self.summary!r})"


def load_discovery(path: str | Path) -> SavedDiscovery:
    """Open a folder that `discover_to` (``sequela discover``) wrote.

    Args:
        path: The folder.

    Returns:
        Its summary; edges and events are scanned when asked for (`SavedDiscovery.collect` reads them all).

    Raises:
        LogFormatError: It is not such a folder, or is damaged.
    """
    folder = Path(path)
    try:
        run = read_run(folder)
        summary = SummaryGraph(pl.read_parquet(folder / "summary.parquet"), pl.read_parquet(folder / "nodes.parquet"))
        pl.read_parquet_schema(folder / "edges.parquet")
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise LogFormatError(f"'{path}' is not a folder of discovery results: {error}") from error
    return SavedDiscovery(folder, summary, run)
