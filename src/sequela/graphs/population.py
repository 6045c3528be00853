"""Population graphs: which event types cause which over many cases, with evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from sequela.display import TOP_ROWS
from sequela.errors import LogFormatError
from sequela.evidence.links import LAG_SCHEMA, POPULATION_SCHEMA
from sequela.files import whole_folder, write_record
from sequela.graphs.instance import _Graph, direction_column
from sequela.graphs.run_record import MARKER, read_run
from sequela.graphs.saved import SavedDiscovery, load_discovery

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True, repr=False)
class PopulationGraph(_Graph):
    """Which event types cause which in a population of cases.

    Attributes:
        pairs: One row an ordered pair of types that occurs within the horizon, edges first, strongest first; columns
            `POPULATION_SCHEMA`: cases (at one lag, the most) and places (pairs of positions, all lags) that hold it,
            its strongest lag, there the mean CMI with its 95 % interval (over cases) and the mean pointwise
            information (above 0: the cause makes the effect more likely), log10 of the e-value, q-value, whether it
            is an edge, and why it is uncertain.
        nodes: ``event`` and ``count`` over the cases that were used.
        run: Arguments, seed, versions and counts, as plain values.
        lags: Strength of each pair at each lag, columns `LAG_SCHEMA`; empty where it is not known.
    """

    pairs: pl.DataFrame
    nodes: pl.DataFrame
    run: Mapping[str, Any] = field(default_factory=dict)
    lags: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LAG_SCHEMA))

    @property
    def edges(self) -> pl.DataFrame:  # type: ignore[override]
        """The pairs that are edges."""
        return self.pairs.filter("is_edge")

    def to_networkx(self) -> nx.DiGraph[Any]:
        """Return a networkx graph: nodes are event types with ``count``, edges carry the columns."""
        import networkx as nx

        graph: nx.DiGraph[Any] = nx.DiGraph()
        graph.add_nodes_from((row["event"], {"count": row["count"]}) for row in self.nodes.iter_rows(named=True))
        for row in self.edges.iter_rows(named=True):
            graph.add_edge(row.pop("cause"), row.pop("effect"), **row)
        return graph

    def save(self, out: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder: ``population.parquet`` (all pairs), ``lags.parquet``, ``nodes.parquet``, ``run.json``."""
        with whole_folder(out, marker=MARKER, overwrite=overwrite) as folder:
            self.pairs.write_parquet(folder / "population.parquet")
            self.nodes.write_parquet(folder / "nodes.parquet")
            self.lags.write_parquet(folder / "lags.parquet")
            write_record(folder, MARKER, self.run)

    def _top_rows(self) -> pl.DataFrame:
        columns = ["cause", "effect", "support_cases", "lag", "cmi_nats", "cmi_low_nats", "cmi_high_nats"]
        return self.edges.head(TOP_ROWS).select(*columns, direction_column(), "q_value", "mark")

    def __repr__(self) -> str:
        return f"PopulationGraph({self.nodes.height:,} event types, {len(self):,} edges of {self.pairs.height:,} pairs)"


def load_population(path: str | Path) -> PopulationGraph:
    """Open a folder that `PopulationGraph.save` wrote.

    Raises:
        LogFormatError: It is not such a folder, or is damaged.
    """
    folder = Path(path)
    try:
        run = read_run(folder)
        pairs = pl.read_parquet(folder / "population.parquet")
        missing = set(POPULATION_SCHEMA) - set(pairs.columns)
        if missing:
            raise ValueError(f"columns are missing: {', '.join(sorted(missing))}")
        nodes, lags = (pl.read_parquet(folder / f"{name}.parquet") for name in ("nodes", "lags"))
        return PopulationGraph(pairs, nodes, run, lags.select(list(LAG_SCHEMA)))
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise LogFormatError(f"'{path}' is not a folder of population results: {error}") from error


def load_results(path: str | Path) -> SavedDiscovery | PopulationGraph:
    """Open a folder that ``sequela discover`` or ``sequela population`` wrote, whichever it is.

    Raises:
        LogFormatError: It is neither, or is damaged.
    """
    return load_population(path) if (Path(path) / "population.parquet").is_file() else load_discovery(path)
