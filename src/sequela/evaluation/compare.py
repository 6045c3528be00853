"""Found graphs against a truth: tables in, all the numbers that belong beside each other out.

What is compared is an edge from one position of a case to another; the summary is the same after projection to event
types. Definitions of single scores are in `sequela.evaluation.metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sequela.effects.cmi import CMIEstimate
from sequela.errors import LogFormatError, check_range
from sequela.evaluation.metrics import Bools, Floats, Scores
from sequela.events.readers.parquet import read_table

_KEY = ["case", "cause_case", "cause_position", "effect_position"]
_NEEDED = ["case", "cause_position", "effect_position"]
_LINK = ["cause", "effect"]
_N_BOOTSTRAP = 1000


@dataclass(frozen=True)
class Evaluation:
    """How well found edges agree with true ones.

    Attributes:
        pooled: All edges of all cases together.
        f1_interval: 95 % bootstrap interval of the pooled F1, over cases; NaN with a single case.
        mean_f1: Mean of the F1 of each case.
        shd: Structural Hamming distance over positions: missing and extra edges (none can be reversed in time).
        recall_by_lag: Lag to recall and number of true edges.
        links: Pairs of event types, without self-loops.
        links_shd: Structural Hamming distance of the summary graphs: a reversed link counts once.
        average_precision: Of the found edges ranked by ``cmi_nats``, every other true edge below them; NaN without it.
        n_cases: Cases that have a true or a found edge.
        n_pairs: Pairs that could be edges, when known: what the two controls rest on.
    """

    pooled: Scores
    f1_interval: tuple[float, float]
    mean_f1: float
    shd: int
    recall_by_lag: dict[int, tuple[float, int]]
    links: Scores
    links_shd: int
    average_precision: float
    n_cases: int
    n_pairs: int | None

    def controls(self) -> dict[str, Scores]:
        """Return what a random graph of the same size (expected, rounded) and predicting every pair would score.

        Example:
            >>> truth = pl.DataFrame({"case": ["a"], "cause_position": [0], "effect_position": [1], "cause": ["x"],
            ...     "effect": ["y"], "lag": [1]})
            >>> evaluate_edges(truth, truth, n_pairs=4).controls()["every pair"].precision
            0.25
        """
        n_true, n_found = self.pooled.n_true, self.pooled.n_predicted
        if not self.n_pairs or self.n_pairs < max(n_true, n_found):  # labels of more cases than were tested
            return {}
        by_chance = round(n_true * n_found / self.n_pairs)
        return {
            "random graph of this size": Scores.from_counts(
                n_true=n_true, n_predicted=n_found, n_correct=min(by_chance, n_true, n_found)
            ),
            "every pair": Scores.from_counts(n_true=n_true, n_predicted=self.n_pairs, n_correct=n_true),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "edges": self.pooled.__dict__,
            "f1_interval": list(self.f1_interval),
            "mean_f1": self.mean_f1,
            "shd": self.shd,
            "recall_by_lag": {str(lag): {"recall": r, "n_true": n} for lag, (r, n) in self.recall_by_lag.items()},
            "links": self.links.__dict__,
            "links_shd": self.links_shd,
            "average_precision": self.average_precision,
            "n_cases": self.n_cases,
            "n_pairs": self.n_pairs,
            "controls": {name: score.__dict__ for name, score in self.controls().items()},
        }


def evaluate_edges(
    found: pl.DataFrame, truth: pl.DataFrame, *, n_pairs: int | None = None, seed: int = 0
) -> Evaluation:
    """Compare found with true edges.

    Args:
        found: One row an edge: ``case``, ``cause_position``, ``effect_position``, ``cause``, ``effect``, and
            ``cmi_nats`` if they are ranked. A column ``cause_case`` says that the cause is of another case than the
            effect; where it is null or absent, both are of ``case``.
        truth: The same columns. Both must speak of the same cases: a case without a row has no edge.
        n_pairs: Pairs that could be edges (``n_pairs_tested`` of ``run.json``), for the controls.
        seed: Of the bootstrap.

    Returns:
        All scores.

    Raises:
        LogFormatError: A column is missing, an edge stands twice in a table, or the tables share no case.

    Source:
        SHD: Tsamardinos, Brown and Aliferis (2006). Bootstrap over cases: Efron and Tibshirani (1993), chapter 6.

    Example:
        >>> edges = pl.DataFrame({"case": ["a", "a"], "cause_position": [0, 0], "effect_position": [1, 2],
        ...     "cause": ["x", "x"], "effect": ["y", "z"]})
        >>> found = evaluate_edges(edges.head(1), edges)
        >>> found.pooled.recall, found.shd
        (0.5, 1)
    """
    for name, table in (("found", found), ("true", truth)):
        missing = [column for column in [*_NEEDED, *_LINK] if column not in table.columns]
        if missing:
            raise LogFormatError(f"the table of {name} edges has no column {missing[0]!r}; it has {table.columns}")
    found, truth = (with_cause_case(table) for table in (found, truth))
    for name, table in (("found", found), ("true", truth)):
        if table.select(_KEY).is_duplicated().any():
            raise LogFormatError(f"an edge stands twice in the table of {name} edges")
    if found.height and truth.height and not truth.join(found, on="case", how="semi").height:
        raise LogFormatError(
            f"the two tables have no case in common ({found['case'][0]!r} among the found, {truth['case'][0]!r} among "
            "the true ones): they must be of the same log"
        )
    both = truth.join(found, on=_KEY, how="semi")
    counts = (
        truth.group_by("case")
        .len("n_true")
        .join(found.group_by("case").len("n_predicted"), on="case", how="full", coalesce=True)
        .join(both.group_by("case").len("n_correct"), on="case", how="left")
        .fill_null(0)
        .sort("case")
    )
    parts = [
        Scores.from_counts(n_true=t, n_predicted=p, n_correct=c)
        for t, p, c in counts.select("n_true", "n_predicted", "n_correct").iter_rows()
    ]
    pooled = Scores.pooled(parts)
    inside = truth.filter(pl.col("case") == pl.col("cause_case"))  # positions of two cases have no lag
    lag = inside.with_columns((pl.col("effect_position") - pl.col("cause_position")).alias("lag"))
    hit = lag.join(found, on=_KEY, how="semi").group_by("lag").len("n_correct")
    by_lag = lag.group_by("lag").len("n_true").join(hit, on="lag", how="left").fill_null(0).sort("lag")
    types = [{(a, b) for a, b in table.select(_LINK).cast(pl.String).iter_rows() if a != b} for table in (found, truth)]
    return Evaluation(
        pooled=pooled,
        f1_interval=bootstrap_f1(parts, seed=seed),
        mean_f1=float(np.mean([part.f1 for part in parts])) if parts else 1.0,
        shd=pooled.n_true + pooled.n_predicted - 2 * pooled.n_correct,
        recall_by_lag={k: (c / n, n) for k, n, c in by_lag.iter_rows()},
        links=Scores.from_sets(*types),
        links_shd=structural_hamming(*types),
        average_precision=_average_precision(found, truth),
        n_cases=len(parts),
        n_pairs=n_pairs,
    )


@dataclass(frozen=True)
class LinkEvaluation:
    """How well links between event types agree with those of the true edges.

    Attributes:
        links: Pairs of event types, without self-loops.
        shd: Structural Hamming distance: a reversed link counts once.
    """

    links: Scores
    shd: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"links": self.links.__dict__, "links_shd": self.shd}


def evaluate_links(found: pl.DataFrame, truth: pl.DataFrame) -> LinkEvaluation:
    """Compare links between event types with those of true edges.

    Args:
        found: One row a link: ``cause``, ``effect``.
        truth: One row a true edge or link, the same columns.

    Raises:
        LogFormatError: A column is missing.

    Example:
        >>> truth = pl.DataFrame({"cause": ["a", "a", "b"], "effect": ["b", "b", "c"]})
        >>> evaluate_links(truth.head(1), truth).links.recall
        0.5
    """
    for name, table in (("found links", found), ("true edges", truth)):
        missing = [column for column in _LINK if column not in table.columns]
        if missing:
            raise LogFormatError(f"the table of {name} has no column {missing[0]!r}; it has {table.columns}")
    types = [{(a, b) for a, b in table.select(_LINK).cast(pl.String).iter_rows() if a != b} for table in (found, truth)]
    return LinkEvaluation(Scores.from_sets(*types), structural_hamming(*types))


def with_cause_case(edges: pl.DataFrame) -> pl.DataFrame:
    """Return edges with cases as text, positions as whole numbers, and ``cause_case`` (by default ``case``).

    Example:
        >>> with_cause_case(pl.DataFrame({"case": [7], "cause_position": [0], "effect_position": [1]}))["cause_case"][0]
        '7'
    """
    case = pl.col("case").cast(pl.String)
    given = pl.col("cause_case").cast(pl.String) if "cause_case" in edges.columns else pl.lit(None, dtype=pl.String)
    positions = pl.col("cause_position", "effect_position").cast(pl.Int64)
    return edges.with_columns(case, pl.coalesce(given, case).alias("cause_case"), positions)


def structural_hamming(found: set[tuple[Any, Any]], truth: set[tuple[Any, Any]]) -> int:
    """Return how many links must be added, removed or reversed to turn one directed graph into the other.

    Example:
        >>> structural_hamming({("a", "b"), ("c", "d")}, {("b", "a")})  # reverse one, remove one
        2
    """
    wrong, missing = found - truth, truth - found
    n_reversed = sum((b, a) in missing for a, b in wrong)
    return len(wrong) + len(missing) - n_reversed


def bootstrap_f1(parts: Sequence[Scores], *, confidence_level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return a percentile interval of the pooled F1, cases drawn with repetition.

    Args:
        parts: Scores of each case.
        confidence_level: Two-sided confidence.
        seed: Of the draws.

    Returns:
        Lower and upper bound; NaN with fewer than two cases.

    Source: Efron and Tibshirani (1993), An introduction to the bootstrap, chapter 13.

    Example:
        >>> one = Scores.from_counts(n_true=2, n_predicted=2, n_correct=1)
        >>> bootstrap_f1([one] * 5)
        (0.5, 0.5)
    """
    check_range("confidence_level", confidence_level, low=0, high=1)
    if len(parts) < 2:
        return float("nan"), float("nan")
    counts = np.array([[part.n_true + part.n_predicted, part.n_correct] for part in parts])
    picks = np.random.default_rng(seed).integers(len(parts), size=(_N_BOOTSTRAP, len(parts)))
    sizes, correct = counts[picks].sum(axis=1).T
    f1 = np.where(sizes > 0, 2 * correct / np.maximum(sizes, 1), 1.0)
    low, high = np.quantile(f1, [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
    return float(low), float(high)


def interval_coverage(
    estimates: Sequence[CMIEstimate], exact: Sequence[Floats], *, confidence_level: float = 0.95, above: float = 0.0
) -> float:
    """Return how often the confidence interval of a CMI holds its exact value (ideally `confidence_level`).

    Args:
        estimates: One a case.
        exact: The enumerated values (``[L, m]`` each); cells that are NaN in either do not count.
        confidence_level: Of the intervals.
        above: Only cells with at least this exact value count: `delta` for the true edges alone.

    Returns:
        Share of cells; NaN when there is none.
    """
    inside: list[Bools] = []
    for estimate, truth in zip(estimates, exact, strict=True):
        width = min(estimate.horizon, truth.shape[1])
        low, high = (bound[:, :width] for bound in estimate.interval(confidence_level))
        value = truth[:, :width]
        tested = np.isfinite(low) & (value >= above)
        slack = 1e-9
        inside.append((low[tested] - slack <= value[tested]) & (value[tested] <= high[tested] + slack))
    every = np.concatenate(inside) if inside else np.zeros(0, dtype=bool)
    return float(every.mean()) if len(every) else float("nan")


def read_edges(path: str | Path) -> tuple[pl.DataFrame, int | None]:
    """Read a table of edges: a folder that `sequela discover` wrote, or a Parquet or CSV file.

    Of a folder whose edges were weighed by a population, those on its links (``on_link``).

    Returns:
        The table, and how many pairs were tested where the folder says so.

    Raises:
        LogFormatError: There is no such table, or it cannot be read.
    """
    source = Path(path)
    if source.is_dir():
        from sequela.graphs.saved import load_discovery

        saved = load_discovery(source)
        edges = saved.edges
        return edges.filter("on_link") if "on_link" in edges.columns else edges, saved.run.counts.n_pairs_tested
    try:
        table = read_table(source) if source.suffix == ".parquet" else pl.read_csv(source, infer_schema_length=None)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise LogFormatError(f"'{source}' cannot be read as a table of edges: {error}") from error
    return table, None


def _average_precision(found: pl.DataFrame, truth: pl.DataFrame) -> float:
    """Σ (R_n - R_{n-1}) P_n over found edges; true edges that were not found never enter."""
    if "cmi_nats" not in found.columns or not truth.height:
        return float("nan")
    marks = found.join(truth.select(*_KEY, pl.lit(1).alias("real")), on=_KEY, how="left").fill_null(0)
    steps = marks.group_by("cmi_nats").agg(pl.len().alias("n"), pl.col("real").sum()).sort("cmi_nats", descending=True)
    correct = np.cumsum(steps["real"].to_numpy())
    precision = correct / np.cumsum(steps["n"].to_numpy())
    return float((np.diff(correct, prepend=0) * precision).sum() / truth.height)
