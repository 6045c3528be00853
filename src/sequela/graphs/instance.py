"""The causal graph of one sequence, over its positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.display import TOP_ROWS
from sequela.effects.cmi import CMIEstimate
from sequela.effects.knowledge import Knowledge
from sequela.events.sequences import Case
from sequela.events.vocabulary import Vocabulary
from sequela.graphs.base import Graph, direction_column
from sequela.graphs.exports.log import AnnotatedLog
from sequela.graphs.places import pair_counts
from sequela.graphs.records import Arguments
from sequela.graphs.schemas import INSTANCE
from sequela.graphs.summary import SummaryGraph, summarise

if TYPE_CHECKING:
    import networkx as nx

    from sequela.graphs.explanation import Explanation

INSTANCE_SCHEMA = INSTANCE.schema
"""Columns of an instance edge table that are always there; positions are 0-based."""


class Decided(NamedTuple):
    """The estimate of a case, or of a stretch of it, and which pairs are edges.

    Attributes:
        case: The events.
        estimate: Of their pairs.
        edges: The pairs that are edges (bool, ``[L, m]``).
        confidence: Probability of each (float64, ``[L, m]``).
    """

    case: Case
    estimate: CMIEstimate
    edges: NDArray[np.bool_]
    confidence: NDArray[np.float64] | None = None

    def table(self, vocabulary: Vocabulary, settings: Arguments) -> pl.DataFrame:
        """Return the edges (columns `sequela.graphs.schemas.INSTANCE`), by positions in the whole case."""
        case, estimate, first = self.case, self.estimate, self.case.first
        row, column = np.nonzero(self.edges)
        lag = column + 1 if estimate.lags is None else estimate.lags[row, column]
        towards = np.sign(lag) if estimate.directions is None else estimate.directions[row, column]
        one, two = row, row + column + 1
        cause, effect = np.where(towards < 0, two, one), np.where(towards < 0, one, two)
        order = np.lexsort((cause, effect))
        row, column, lag, towards = row[order], column[order], lag[order], towards[order]
        cause, effect = cause[order], effect[order]
        names = np.array(vocabulary.names, dtype=object)
        columns: dict[str, Any] = {
            "cause_position": cause + first,
            "effect_position": effect + first,
            "cause": pl.Series(names[case.ids[cause]].tolist(), dtype=pl.String),
            "effect": pl.Series(names[case.ids[effect]].tolist(), dtype=pl.String),
            "lag": lag,
            "directed": towards != 0,
            "cmi_nats": estimate.cmi[row, column],
            "std_error": estimate.std_error[row, column],
            "pointwise_nats": estimate.pointwise[row, column],
        }
        if estimate.mean_of_kl is not None:
            columns["mean_of_kl_nats"] = estimate.mean_of_kl[row, column]
        columns |= {k: values[row, column] for k, values in estimate.columns.items() if k in INSTANCE.columns}
        if self.confidence is not None:
            columns["confidence"] = self.confidence[row, column]
        if (told_by := settings.told_by) is not None:
            columns["oriented_by"] = [told_by if told else None for told in (lag == 0) & (towards != 0)]
        return pl.DataFrame(columns, schema={name: INSTANCE.columns[name].kind for name in columns})


@dataclass(frozen=True, repr=False, eq=False)
class InstanceGraph(Graph, AnnotatedLog):
    """Which events of one sequence caused which.

    Attributes:
        case: Name of the case.
        events: Event type at each position, as the density knows it (``<rare>`` for folded types).
        edges: One row an edge, columns `sequela.graphs.schemas.INSTANCE`, sorted by effect, then cause.
        times: Seconds of each event, or None.
        n_tested: Pairs of positions that were tested.
        n_clamped: Log-probabilities that had to be clamped.
        n_unknown: Events whose type the density did not know (treated as ``<rare>``).
        settings: How the graph was found; its defaults where that is not known.
        counts: What the design counted on the way, by name.
        knowledge: What was known beside the log; None where nothing was.
        attributes: Attributes of the log, one row an event (with neighbours also ``neighbour``, the entity at which it
            happened); None where there are none.
    """

    case: str
    events: tuple[str, ...]
    edges: pl.DataFrame
    times: tuple[float, ...] | None = None
    n_tested: int = 0
    n_clamped: int = 0
    n_unknown: int = 0
    settings: Arguments = Arguments()
    counts: Mapping[str, int] = field(default_factory=dict)
    knowledge: Knowledge | None = None
    attributes: pl.DataFrame | None = None

    @classmethod
    def from_estimate(
        cls,
        case: Case,
        vocabulary: Vocabulary,
        estimate: CMIEstimate,
        edges: NDArray[np.bool_],
        *,
        confidence: NDArray[np.float64] | None = None,
        n_unknown: int = 0,
        settings: Arguments | None = None,
        knowledge: Knowledge | None = None,
    ) -> InstanceGraph:
        """Build a graph.

        Args:
            case: The case.
            vocabulary: Names of its ids.
            estimate: Its estimate.
            edges: The pairs that are edges (bool, ``[L, m]``).
            confidence: Probability of each (float64, ``[L, m]``).
            n_unknown: Events of unknown types.
            settings: How the graph was found.
            knowledge: What was known beside the log.
        """
        return cls.from_stretches(
            case, vocabulary, [Decided(case, estimate, edges, confidence)],
            n_unknown=n_unknown, settings=settings, knowledge=knowledge,
        )  # fmt: skip

    @classmethod
    def from_stretches(
        cls,
        case: Case,
        vocabulary: Vocabulary,
        stretches: Iterable[Decided],
        *,
        n_unknown: int = 0,
        settings: Arguments | None = None,
        knowledge: Knowledge | None = None,
    ) -> InstanceGraph:
        """Build a graph from stretches of a case, one at a time; the other arguments are those of `from_estimate`."""
        tables, n_tested, n_clamped, counts = [], 0, 0, Counter[str]()
        for one in stretches:
            tables.append(one.table(vocabulary, settings or Arguments()))
            n_tested += one.estimate.n_tested
            n_clamped += one.estimate.n_clamped
            counts.update(one.estimate.counts)
        edges = pl.concat([table for table in tables if table.height] or [max(tables, key=lambda table: table.width)])
        names = np.array(vocabulary.names, dtype=object)
        return cls(
            case=case.name,
            events=tuple(names[case.ids].tolist()),
            edges=edges if len(tables) == 1 else edges.sort("effect_position", "cause_position"),
            times=None if case.times is None else tuple(case.times.tolist()),
            n_tested=n_tested,
            n_clamped=n_clamped,
            n_unknown=n_unknown,
            settings=settings or Arguments(),
            counts=dict(counts),
            knowledge=knowledge,
        )

    def summary(self, *, self_loops: bool = False, hierarchy_level: int | None = None) -> SummaryGraph:
        """Project onto event types: ``u -> v`` when some position holding u causes a later one holding v.

        Args:
            self_loops: Keep ``u -> u``.
            hierarchy_level: Types by their first 1, 2, … components, for types of several columns; None for whole
                types.
        """
        events = pl.Series("event", self.events, dtype=pl.String).to_frame()
        counts = events.group_by("event").agg(pl.len().cast(pl.Int64).alias("count"))
        edges = self.edges.with_columns(pl.lit(self.case).alias("case"))
        return summarise(
            edges,
            counts,
            places=self._places(),
            chance=self.settings.chance,
            least_cases=1,
            self_loops=self_loops,
            hierarchy_level=hierarchy_level,
        )

    def _places(self) -> pl.DataFrame | None:
        """Return how often each pair was tested; None where that cannot be told (see `count_places`)."""
        if self.settings.horizon is None or self.settings.needs_alternative:
            return None
        names = sorted(set(self.events))
        ids = np.searchsorted(np.array(names), np.array(self.events)) if names else np.zeros(0)
        times = None if self.times is None else np.array(self.times)
        bounds = np.array([0, len(self.events)])
        ticks = self.edges["lag"].min() == 0  # the graph itself does not say whether its ties have an order
        return pair_counts(
            ids.astype(np.int32), bounds, times, names=names, arguments=self.settings, unordered_ties=ticks,
            limits=None if self.knowledge is None else self.knowledge.limits(names),
        )  # fmt: skip

    def root_causes(self, position: int | str = -1) -> pl.DataFrame:
        """Rank the first causes of one event by how much of it they explain; see `sequela.root_causes`.

        Args:
            position: Position of the event, from 0 (from the end where negative), or its type where that occurs once.

        Returns:
            Columns `sequela.graphs.schemas.ROOTS`, largest share first.

        Raises:
            ConfigError: There is no such event, or several are of that type.

        Example:
            >>> rows = [(0, 1, "a", "b", 1, True, 0.4, 0.0, 1.0), (1, 2, "b", "c", 1, True, 0.6, 0.0, 2.0)]
            >>> edges = pl.DataFrame(rows, schema=INSTANCE_SCHEMA, orient="row")
            >>> InstanceGraph("case", ("a", "b", "c"), edges).root_causes("c").rows()
            [(0, 'a', 1.0, 2)]
        """
        from sequela.graphs.root_causes import root_causes

        return root_causes(self, position)

    def explain(self, position: int | str = -1) -> Explanation:
        """Say why one event happened: the chain from its main root cause, and what speaks against it.

        Args:
            position: Position of the event, from 0 (from the end where negative), or its type where that occurs once.

        Returns:
            The explanation; ``str`` of it is the text that ``sequela explain`` prints.

        Raises:
            ConfigError: There is no such event, or several are of that type.

        Example:
            >>> rows = [(0, 1, "a", "b", 1, True, 0.4, 0.0, 1.0), (1, 2, "b", "c", 1, True, 0.6, 0.0, 2.0)]
            >>> edges = pl.DataFrame(rows, schema=INSTANCE_SCHEMA, orient="row")
            >>> print(InstanceGraph("", ("a", "b", "c"), edges).explain("a").sentence)
            a: no cause found in this log.
        """
        from sequela.graphs.explanation import explain_graph

        return explain_graph(self, position)

    def to_networkx(self) -> nx.DiGraph[Any]:
        """Return a networkx graph: nodes are positions with ``event`` (and ``time``), edges carry the columns."""
        import networkx as nx

        graph: nx.DiGraph[Any] = nx.DiGraph(case=self.case)
        for position, event in enumerate(self.events):
            graph.add_node(position, event=event, **({} if self.times is None else {"time": self.times[position]}))
        for row in self.edges.drop("cause", "effect").iter_rows(named=True):
            graph.add_edge(row.pop("cause_position"), row.pop("effect_position"), **row)
        return graph

    def _log(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        columns: dict[str, Any] = {"position": range(len(self.events)), "event": list(self.events)}
        if self.times is not None:
            columns["time"] = list(self.times)
        kinds = {"position": pl.Int64, "event": pl.String, "time": pl.Float64}
        events = pl.DataFrame(columns, schema={name: kinds[name] for name in columns})
        case = pl.lit(self.case).alias("case")
        events = events if self.attributes is None else events.hstack(self.attributes)
        return events.select(case, pl.all()), self.edges.select(case, pl.all())

    def _content(self) -> tuple[Any, ...]:
        return self.case, self.events, self.times, self.edges

    def _top_rows(self) -> pl.DataFrame:
        columns = ["cause_position", "cause", "effect_position", "effect", "lag", "cmi_nats", "std_error"]
        order = [pl.col("cmi_nats").round(9), pl.col("effect_position"), pl.col("cause_position")]
        return (
            self.edges.sort(order, descending=[True, False, False]).head(TOP_ROWS).select(*columns, direction_column())
        )

    def __repr__(self) -> str:
        return (
            f"InstanceGraph(case '{self.case}': {len(self.events)} events, {len(self)} edges of {self.n_tested} tested)"
        )
