"""Found edges against a truth where events share time stamps: lags in ticks, undirected edges, lost order.

A *tick* is one time stamp of a case. Inside one the log has no order, so positions there mean nothing: an event is
named by its case, tick and type, and events that share all three cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import polars as pl

from sequela.errors import LogFormatError
from sequela.evaluation.compare import with_cause_case
from sequela.evaluation.metrics import Scores

_EDGE = ["case", "cause_position", "effect_position", "cause", "effect"]

Pair = tuple[Hashable, Hashable]


@dataclass(frozen=True)
class DirectedScores:
    """Agreement of edges, some of them undirected, with true directed ones.

    Attributes:
        precision: Credit over found edges. A directed edge earns 1 where it is true; an undirected one earns 1/2 where
            either direction is true.
        recall: Credit over true edges.
        f1: Harmonic mean of both.
        adjacency: Which pairs are joined at all, whatever the direction.
        n_directed: Found edges with a direction.
        n_undirected: Found edges without.
        n_correct: Directed edges that are true.
        n_half: Undirected edges between truly linked events.
        n_reversed: Directed edges of which only the opposite is true.
        n_true: True edges.
    """

    precision: float
    recall: float
    f1: float
    adjacency: Scores
    n_directed: int
    n_undirected: int
    n_correct: int
    n_half: int
    n_reversed: int
    n_true: int

    @property
    def direction_accuracy(self) -> float:
        """Share of the directed edges between truly linked events that point the right way; NaN without any."""
        decided = self.n_correct + self.n_reversed
        return self.n_correct / decided if decided else float("nan")

    @property
    def reversed_share(self) -> float:
        """Share of all found edges that are directed and reversed; 0 where nothing is found."""
        return self.n_reversed / max(self.n_directed + self.n_undirected, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        values = {name: value for name, value in self.__dict__.items() if name != "adjacency"}
        shares = {"direction_accuracy": self.direction_accuracy, "reversed_share": self.reversed_share}
        return values | shares | {"adjacency": self.adjacency.__dict__}


@dataclass(frozen=True)
class TickEvaluation:
    """How well found edges agree with true ones in a log with ties.

    Attributes:
        events: All edges between events.
        between: Those between two ticks, or two cases.
        within: Those inside one tick.
        links: Pairs of event types, without self-loops; a link is undirected where none of its edges has a direction.
        recall_by_lag: Lag in ticks (0: within one) to credit over true edges and the number of true edges.
    """

    events: DirectedScores
    between: DirectedScores
    within: DirectedScores
    links: DirectedScores
    recall_by_lag: dict[int, tuple[float, int]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        parts = ("events", "between", "within", "links")
        lags = {str(lag): {"recall": r, "n_true": n} for lag, (r, n) in self.recall_by_lag.items()}
        return {name: getattr(self, name).to_dict() for name in parts} | {"recall_by_lag": lags}


def score_directed(directed: Iterable[Pair], undirected: Iterable[Pair], true: Iterable[Pair]) -> DirectedScores:
    """Compare directed and undirected edges with true directed ones.

    Args:
        directed: Found ``(cause, effect)``; both directions of a pair are two edges, one of them wrong.
        undirected: Found pairs in either order; a pair that also has a direction counts as directed only.
        true: ``(cause, effect)``.

    Example:
        >>> found = score_directed([("a", "b"), ("d", "c")], [("e", "f")], [("a", "b"), ("c", "d"), ("e", "f")])
        >>> found.precision, found.n_reversed, found.direction_accuracy, found.adjacency.f1
        (0.5, 1, 0.5, 1.0)
    """
    found, real = set(directed), set(true)
    decided, linked = _unordered(found), _unordered(real)
    open_pairs = _unordered(undirected) - decided
    n_correct = len(found & real)
    n_half = len(open_pairs & linked)
    credit, n_found = n_correct + n_half / 2, len(found) + len(open_pairs)
    nothing = not n_found and not real
    return DirectedScores(
        precision=credit / n_found if n_found else float(nothing),
        recall=credit / len(real) if real else float(nothing),
        f1=1.0 if nothing else 2 * credit / (n_found + len(real)),
        adjacency=Scores.from_sets(decided | open_pairs, linked),
        n_directed=len(found),
        n_undirected=len(open_pairs),
        n_correct=n_correct,
        n_half=n_half,
        n_reversed=sum((b, a) in real and (a, b) not in real for a, b in found),
        n_true=len(real),
    )


def score_events(found: pl.DataFrame, truth: pl.DataFrame, events: pl.DataFrame) -> TickEvaluation:
    """Compare found edges with true ones in a log with ties.

    Args:
        found: One row an edge: ``case``, ``cause_position``, ``effect_position``, ``cause``, ``effect``; a column
            ``directed`` (bool), where it is false, says that the edge has no direction; ``cause_case``, where it is
            not null, that the cause is of another case. Positions are of the log sorted by time, in any order inside
            a tick.
        truth: The same columns, all directed: `CausalLog.edges`.
        events: Every event of those cases: ``case``, ``position``, ``tick``, ``event``: `CausalLog.events`.

    Returns:
        All scores. Edges that differ only by events that cannot be told apart count once.

    Raises:
        LogFormatError: A column is missing, or an edge names a position or an event type that the case does not have
            there.

    Example:
        >>> events = pl.DataFrame({"case": ["a"] * 3, "position": [0, 1, 2], "tick": [0, 0, 1], "event": list("xyz")})
        >>> names = ["case", "cause_position", "effect_position", "cause", "effect"]
        >>> truth = pl.DataFrame([("a", 0, 1, "x", "y"), ("a", 1, 2, "y", "z")], schema=names, orient="row")
        >>> found = pl.DataFrame([("a", 0, 1, "y", "x"), ("a", 0, 2, "y", "z")], schema=names, orient="row")
        >>> scores = score_events(found, truth, events)  # rows 0 and 1 were written the other way round
        >>> scores.between.f1, scores.within.n_reversed, scores.events.adjacency.f1
        (1.0, 1, 1.0)
    """
    real = _keyed(truth, events, "true")
    mine = _keyed(found, events, "found")
    undirected = mine.filter(~pl.col("directed")) if "directed" in mine.columns else mine.clear()
    directed = mine.filter(pl.col("directed")) if "directed" in mine.columns else mine
    ends = [_pairs(table) for table in (directed, undirected, real)]

    def part(within: bool) -> DirectedScores:
        return score_directed(*({pair for pair in some if (pair[0][:2] == pair[1][:2]) == within} for some in ends))

    types = [
        {(a, b) for a, b in table.select("cause", "effect").iter_rows() if a != b}
        for table in (directed, undirected, real)
    ]
    by_lag: dict[int, tuple[float, int]] = {}
    true_by_lag: dict[int, set[Any]] = {}
    for cause, effect in ends[2]:
        if cause[0] != effect[0]:
            continue  # ticks of two cases have no lag
        true_by_lag.setdefault(effect[1] - cause[1], set()).add((cause, effect))
    joined = _unordered(ends[1]) - _unordered(ends[0])
    for lag, some in sorted(true_by_lag.items()):
        credit = sum(1.0 if pair in ends[0] else 0.5 if _pair_key(pair) in joined else 0.0 for pair in some)
        by_lag[lag] = (credit / len(some), len(some))
    return TickEvaluation(score_directed(*ends), part(within=False), part(within=True), score_directed(*types), by_lag)


def score_roots(found: pl.DataFrame, events: pl.DataFrame) -> float:
    """Return for what share of the caused events the root found for them is the true one.

    Args:
        found: One row an event: ``case``, ``position``, ``root_position``; positions of the log sorted by time. An
            event that is not in the table is a miss, and so is a root of null.
        events: The truth: `CausalLog.events`. A root may be any event of its tick and type.

    Returns:
        Share; NaN where no event has a cause.

    Raises:
        LogFormatError: A column is missing, an event stands twice, or the case has no such position.

    Example:
        >>> from sequela.worlds.fault_codes import FaultCodes
        >>> events = FaultCodes.random(tied=0, seed=0).simulate(20, seed=1).events
        >>> score_roots(events.select("case", "position", "root_position"), events)
        1.0
    """
    _need(found, ["case", "position", "root_position"], "found roots")
    if found.select("case", "position").is_duplicated().any():
        raise LogFormatError("an event stands twice in the table of found roots")
    place = events.select("case", "position", "tick", "event")
    if found.join(place, on=["case", "position"], how="anti").height:
        raise LogFormatError("the table of found roots names a position that its case does not have")
    wanted = events.filter(pl.col("cause_position").is_not_null())
    root = place.rename({"position": "root_position", "tick": "root_tick", "event": "root"})
    true = wanted.join(root, on=["case", "root_position"], how="left")
    given = found.select("case", "position", "root_position").join(root, on=["case", "root_position"], how="left")
    both = true.join(given, on=["case", "position"], how="left", suffix="_found")
    right = (pl.col("root") == pl.col("root_found")) & (pl.col("root_tick") == pl.col("root_tick_found"))
    return float(both.select(right.fill_null(False).mean()).item()) if both.height else float("nan")


def _keyed(edges: pl.DataFrame, events: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return edges with the ticks of both ends."""
    _need(edges, _EDGE, f"{name} edges")
    _need(events, ["case", "position", "tick", "event"], "events")
    known = events.select(pl.col("case").cast(pl.String), pl.col("position").cast(pl.Int64), "tick", "event")
    keep = [*_EDGE, *(one for one in ("directed", "cause_case") if one in edges.columns)]
    keyed = with_cause_case(edges.select(keep)).with_columns(effect_case=pl.col("case").cast(pl.String))
    for end in ("cause", "effect"):
        names = {"case": f"{end}_case", "position": f"{end}_position", "tick": f"{end}_tick"}
        place, there = known.drop("event").rename(names), known.drop("position")
        there = there.rename({"case": f"{end}_case", "tick": f"{end}_tick", "event": end})
        keyed = keyed.join(place, on=[f"{end}_case", f"{end}_position"], how="left", maintain_order="left")
        lost = keyed.join(there, on=[f"{end}_case", f"{end}_tick", end], how="anti")
        if lost.height:
            row = lost.row(0, named=True)
            raise LogFormatError(
                f"a {name} edge of case '{row[f'{end}_case']}' has '{row[end]}' at position {row[f'{end}_position']}, "
                "and the table of events has not: both must be of the same log, with positions counted from 0 in time "
                "order"
            )
    return keyed


def _pairs(table: pl.DataFrame) -> set[Any]:
    columns = ("cause_case", "cause_tick", "cause", "effect_case", "effect_tick", "effect")
    return {(row[:3], row[3:]) for row in table.select(columns).iter_rows()}


def _pair_key(pair: Pair) -> frozenset[Hashable]:
    return frozenset(pair)


def _unordered(pairs: Iterable[Pair]) -> AbstractSet[Hashable]:
    return {_pair_key(pair) for pair in pairs}


def _need(table: pl.DataFrame, columns: Sequence[str], name: str) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise LogFormatError(f"the table of {name} has no column {missing[0]!r}; it has {table.columns}")
