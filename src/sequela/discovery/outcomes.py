"""The verb ``discover_outcomes``: which event types lead to which labels, alone and together."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from sequela.arguments import public
from sequela.density.base import Floats
from sequela.density.outcomes.base import OutcomeHead, rows_of_log
from sequela.discovery.explain_outcome import OUTCOMES
from sequela.effects.encoding import encode_log
from sequela.events.log import EventLog
from sequela.events.outcome_rows import OutcomeRows
from sequela.events.sequences import case_hash
from sequela.evidence.multiplicity import claimed, e_bh
from sequela.evidence.outcome_bets import PresenceLaw, presence_bets
from sequela.evidence.outcome_sets import sets_and_pairs
from sequela.graphs.outcomes import OutcomeGraph
from sequela.graphs.schemas import OUTCOME_CAUSES, OUTCOME_PAIRS, OUTCOME_SETS
from sequela.progress import Reporter, reporter

MAX_TYPES = 500
"""Most event types that are tested: those in the most cases."""
LEAST_CASES = 10
"""Cases that must hold a type, and lack it, before it is tested."""


@public(OUTCOMES)
def discover_outcomes(
    model: OutcomeHead,
    log: EventLog,
    *,
    labels: str | list[str] | None = None,
    fdr: float = 0.05,
    delta: float = 0.02,
    folds: int = 5,
    seed: int = 0,
    progress: bool | Reporter = True,
) -> OutcomeGraph:
    """Find which event types lead to which labels over many cases, alone and together.

    The cases of the log are dealt into folds. Those of each but the first are judged by models that were trained on
    the folds before it, so that their evidence multiplies (`sequela.evidence.outcome_bets`). A type is a cause where
    its mean effect on the cases that hold it is at least ``delta`` and its evidence suffices at the false discovery
    rate (e-BH).

    Sets that suffice are found case by case: of all causes that were there, the one whose loss costs least is taken
    away, as long as the rest keeps nine tenths of the effect of all. None of what is left could be taken away; another
    set, even a smaller one, may suffice as well.

    Returns:
        Causes with evidence, sets that suffice, pairs that act together.

    Raises:
        ConfigError: The log has no outcomes, or there is no such label.

    Example:
        >>> from sequela import read_log
        >>> from sequela.worlds.outcomes import OutcomeWorld
        >>> world = OutcomeWorld.random(seed=3)
        >>> events, table = world.simulate(1000, 20, seed=4)
        >>> found = discover_outcomes(world, read_log(events, outcomes=table), labels="single", progress=False)
        >>> set(found.links.select("event", "label").iter_rows()) == {
        ...     pair for pair in world.direct_causes if pair[1] == "single"
        ... }
        True
    """
    columns = model.label_columns(labels)
    tell = reporter(progress)
    sequences = encode_log(model.density, log)
    rows = rows_of_log(model, log, sequences)
    tested, n_left = _testable(rows, model.density.vocabulary.n_types)
    if n_left:
        tell.say(f"{n_left:,} event types are not tested: the {MAX_TYPES} in the most cases are")
    rank = np.array([case_hash(f"fold of {name}", seed) for name in log.case_names], np.uint64).argsort().argsort()
    fold = (rank % folds)[rows.case]
    log_e = np.zeros((len(tested), len(columns)))
    effects: list[Floats] = []
    holds: list[NDArray[np.bool_]] = []
    with tell.bar("weighing outcomes", folds - 1) as update:
        for number in range(1, folds):
            before, now = rows.take(fold < number), rows.take(fold == number)
            head = model.refit(before, seed=seed)
            present, asked = _present(now, tested), now.asked[:, columns]
            own = _Selected(head, tested, columns)
            log_e += presence_bets(
                own, PresenceLaw.fit(_present(before, tested)), present, now.labels[:, columns], asked
            )
            effects.append(_effects(head, now, tested)[:, :, columns])
            holds.append(present[:, :, None] & asked[:, None, :])
            update(number, "")
    table = _causes(np.concatenate(effects), np.concatenate(holds), log_e, delta, fdr)
    found = table.filter("is_cause")
    by_label = {c: tested[found.filter(column=k)["row"].to_numpy()].tolist() for k, c in enumerate(columns)}
    sets, pairs = sets_and_pairs(model, rows, by_label, delta)
    counts = (rows.labels & rows.asked).sum(axis=0)
    return OutcomeGraph(
        _named(table, [model.density.vocabulary.names[i] for i in tested], [model.labels[c] for c in columns]),
        pl.DataFrame(sets, schema=OUTCOME_SETS.schema, orient="row").sort(
            "label", "n_cases", pl.col("causes").list.join(","), descending=[False, True, False]
        ),
        pl.DataFrame(pairs, schema=OUTCOME_PAIRS.schema, orient="row").sort("label", "cause_a", "cause_b"),
        {model.labels[c]: int(counts[c]) for c in columns}, fdr, delta, sequences.n_cases, log.source,
    )  # fmt: skip


def _testable(rows: OutcomeRows, n_types: int) -> tuple[NDArray[np.int64], int]:
    """Return the types that are tested, those in the most cases first, and how many more there were."""
    n_with = np.asarray((rows.counts[:, :n_types] > 0).astype(np.int64).sum(axis=0)).ravel()
    enough = np.flatnonzero((n_with >= LEAST_CASES) & (len(rows.case) - n_with >= LEAST_CASES))
    ranked = enough[np.argsort(-n_with[enough], kind="stable")]
    return ranked[:MAX_TYPES], len(ranked[MAX_TYPES:])


def _named(table: pl.DataFrame, events: list[str], labels: list[str]) -> pl.DataFrame:
    """Return the table with names in the place of numbers, the surest causes first."""
    named = table.with_columns(
        event=pl.Series(events, dtype=pl.String).gather(table["row"]),
        label=pl.Series(labels, dtype=pl.String).gather(table["column"]),
    )
    return named.select(list(OUTCOME_CAUSES.schema)).cast(OUTCOME_CAUSES.schema).sort(
        "is_cause", "log10_e", "event", "label", descending=[True, True, False, False]
    )  # fmt: skip


class _Selected(OutcomeHead):
    """A head as seen by the bets: some types (whether they came, all others absent), some labels."""

    def __init__(self, head: OutcomeHead, types: NDArray[np.int64], columns: list[int]) -> None:
        self.density, self.labels = head.density, tuple(head.labels[c] for c in columns)
        self._head, self._types, self._columns = head, types, columns

    def probabilities(self, counts: Floats) -> Floats:
        whole = np.zeros((len(counts), self.density.vocabulary.n_types + 1))
        whole[:, self._types] = counts[:, :-1]
        found: Floats = self._head.probabilities(whole)[:, self._columns]
        return found


def _present(rows: OutcomeRows, types: NDArray[np.int64]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = sparse.csc_array(rows.counts)[:, types].toarray() > 0
    return found


def _effects(head: OutcomeHead, rows: OutcomeRows, types: NDArray[np.int64]) -> Floats:
    """Return the direct effect of each type in each row, against not having come (float64, ``[n, T, n_labels]``)."""
    counts = rows.counts.toarray().astype(np.float64)
    whole = head.probabilities(counts)
    found = np.zeros((len(counts), len(types), whole.shape[1]))
    for row, kind in enumerate(types.tolist()):
        at = np.flatnonzero(counts[:, kind])
        without = counts[at]
        without[:, kind] = 0
        found[at, row] = whole[at] - head.probabilities(without)
    return found


def _causes(effects: Floats, holds: NDArray[np.bool_], log_e: Floats, delta: float, fdr: float) -> pl.DataFrame:
    """Return effect, evidence and decision, one row a type and label (by their numbers)."""
    effects = np.where(holds, effects, 0.0)
    n = np.maximum(holds.sum(axis=0), 1)
    mean = effects.sum(axis=0) / n
    error = np.sqrt(np.maximum((effects**2).sum(axis=0) / n - mean**2, 0) / n)
    q = e_bh(claimed(log_e.ravel(), np.abs(mean).ravel(), delta)).reshape(mean.shape)
    row, column = np.indices(mean.shape)
    return pl.DataFrame(
        {
            "row": row.ravel(), "column": column.ravel(),
            "n_cases": holds.sum(axis=0).ravel(),
            "n_affected": (np.abs(effects) >= max(delta, 1e-12)).sum(axis=0).ravel(),
            "effect": mean.ravel(), "effect_std_error": error.ravel(), "log10_e": log_e.ravel() / np.log(10),
            "q_value": q.ravel(), "is_cause": (q <= fdr).ravel(),
        }
    )  # fmt: skip
