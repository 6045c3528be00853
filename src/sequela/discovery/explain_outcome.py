"""The verb ``explain_outcome``: which events of a case acted on its labels, directly and through later events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.arguments import TEXT, Argument, Choice, Either, Kind, Number, list_of, public
from sequela.density.base import Density, Floats, Ids
from sequela.density.outcomes.base import OutcomeHead, count_types
from sequela.discovery.arguments import VERBS
from sequela.effects.encoding import encode_case
from sequela.events.log import EventLog, event_at_level
from sequela.events.sequences import Case
from sequela.graphs.schemas import OUTCOME_EFFECTS

DESIGNS = ("atomic", "structured", "masked")

A_HEAD = Kind("a model of outcomes (from fit_outcomes or load_outcomes, or a world)", has=("labels", "probabilities"))
OUTCOMES = {
    "model": Argument("A model of outcomes, or a world with outcomes.", A_HEAD),
    "case": VERBS["case"],
    "log": Argument("Event log with outcomes.", VERBS["log"].check),
    "labels": Argument("Which labels; by default all.", Either((TEXT, list_of("a list of labels"))), None),
    "design": Argument(
        "atomic (the event is replaced by other types), structured (by types with the same first component) or masked "
        "(it is hidden).", Choice(DESIGNS), "atomic",
    ),
    "particles": Argument("Replacements an event; all, where there are no more.", Number(1, whole=True), 32),
    "simulations": Argument("Simulated continuations an event for the total effect; 0 leaves it out.",
                            Number(0, whole=True), 32),
    "seed": VERBS["seed"],
    "fdr": Argument("Highest expected share of false causes.", Number(0, 1, above=True), 0.05),
    "delta": Argument("Least mean effect of a cause, as a probability.", Number(0, 1), 0.02),
    "folds": Argument("Parts of the log: cases of one are judged by what was trained on those before.",
                      Number(2, whole=True), 5),
    "progress": VERBS["progress"],
}  # fmt: skip
"""The arguments of `explain_outcome` and `discover_outcomes`, by name."""


@public(OUTCOMES)
def explain_outcome(
    model: OutcomeHead,
    case: EventLog | Case | Sequence[str],
    *,
    labels: str | list[str] | None = None,
    design: str = "atomic",
    particles: int = 32,
    simulations: int = 32,
    seed: int = 0,
) -> pl.DataFrame:
    """Say what each event of a case did to the probability of its labels.

    *Direct*: the event is intervened on, and all others stay as they were. *Total*: what came after it is drawn anew
    from the density, with the event as it was and with the event intervened on, so that what it brought about counts,
    too. Both are differences of probabilities: above 0, the event made the label likelier. An event whose type came
    twice has no direct effect by itself.

    Returns:
        One row an event and label, columns `sequela.graphs.schemas.OUTCOME_EFFECTS`. A total effect is missing where
        none was asked for; both are where the design says nothing (``structured``: no type shares the first component;
        ``masked``: the model, or for total effects the density, does not know hidden events).

    Raises:
        ConfigError: There is no such label, or more than one case.

    Example:
        >>> from sequela.worlds.outcomes import OutcomeRule, OutcomeWorld
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> base = SoftmaxWorld([0.0] * 3, [[0, 5.0, 0], [0] * 3, [0] * 3], horizon=1, names=["start", "smoke", "rest"])
        >>> fire = OutcomeWorld(base, [OutcomeRule("fire", ("smoke",))])
        >>> found = explain_outcome(fire, ["rest", "start", "smoke"], simulations=200)
        >>> found.select("event", pl.col("direct_effect").round(2), pl.col("total_effect") > 0.2).rows()
        [('rest', 0.0, False), ('start', 0.0, True), ('smoke', 0.85, True)]
    """
    one, _ = encode_case(model.density, case)
    columns = model.label_columns(labels)
    n, n_types = len(one.ids), model.density.vocabulary.n_types
    whole = model.probabilities(count_types([one.ids], n_types, -1))[0, columns]
    shape = (n, len(columns))
    direct, direct_error, total, total_error = (np.full(shape, np.nan) for _ in range(4))
    choices = [_replacements(model, one, i, design, particles, seed) for i in range(n)]
    for i, chosen in enumerate(choices):
        if len(chosen.ids):
            counts = count_types(_replaced(one.ids, i, chosen.ids), n_types, model.density.vocabulary.hidden_id)
            p = model.probabilities(counts)[:, columns]
            direct[i] = whole - p.mean(axis=0)
            direct_error[i] = _error(p) * np.sqrt(1 - len(chosen.ids) / chosen.n_of)
    if simulations:
        known = [i for i in range(n) if len(choices[i].ids)]
        if design == "masked" and not model.density.knows_hidden:
            known = []
        for i in known:
            differences = _total(model, one, i, choices[i].ids, simulations, seed)[:, columns]
            total[i], total_error[i] = differences.mean(axis=0), _error(differences)
    names = [model.density.vocabulary.names[j] for j in one.ids]
    return pl.DataFrame(
        {
            "position": np.repeat(np.arange(n), len(columns)),
            "event": np.repeat(np.array(names, dtype=object), len(columns)).tolist(),
            "label": [model.labels[column] for column in columns] * n,
            "probability": np.tile(whole, n),
            "direct_effect": direct.ravel(), "direct_std_error": direct_error.ravel(),
            "total_effect": total.ravel(), "total_std_error": total_error.ravel(),
        },
        schema=OUTCOME_EFFECTS.schema,
    ).with_columns(pl.selectors.float().fill_nan(None))  # fmt: skip


@dataclass(frozen=True)
class _Replacements:
    ids: NDArray[np.int64]
    n_of: int


def _replacements(model: OutcomeHead, case: Case, at: int, design: str, particles: int, seed: int) -> _Replacements:
    """Return what is put in the place of an event, and of how many possible ones; the draw depends on seed and case."""
    vocabulary = model.density.vocabulary
    if design == "masked":
        return _Replacements(np.array([vocabulary.hidden_id] if model.knows_hidden else [], dtype=np.int64), 1)
    observed = int(case.ids[at])
    others = np.delete(np.arange(vocabulary.n_types), observed)
    if design == "structured":
        first = event_at_level(vocabulary.names[observed], 1)
        others = np.array([i for i in others if event_at_level(vocabulary.names[i], 1) == first], dtype=np.int64)
    if len(others) <= particles:
        return _Replacements(others, max(len(others), 1))
    generator = np.random.default_rng([seed, at, *case.ids.tolist()])
    return _Replacements(generator.choice(others, particles, replace=False), len(others))


def _replaced(ids: Ids, at: int, with_ids: NDArray[np.int64]) -> list[Ids]:
    found = np.tile(ids, (len(with_ids), 1))
    found[:, at] = with_ids
    return list(found)


def _error(values: Floats) -> Floats:
    """Return the standard error of the mean over rows; 0 for one row."""
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
    found: Floats = spread / np.sqrt(len(values))
    return found


def _total(
    model: OutcomeHead, case: Case, at: int, replacements: NDArray[np.int64], simulations: int, seed: int
) -> Floats:
    """Return the difference of probabilities in each simulation (float64, ``[simulations, n_labels]``).

    Both sides of a pair share their random numbers.
    """
    generator = np.random.default_rng([seed, 7, at, *case.ids.tolist()])
    uniform = np.tile(generator.random((simulations, len(case.ids))), (2, 1))
    instead = np.resize(generator.permutation(replacements), simulations)
    sequences = np.tile(case.ids.astype(np.int64), (2 * simulations, 1))
    sequences[simulations:, at] = instead
    continue_from(model.density, sequences, at + 1, uniform, case.times)
    counts = count_types(
        list(sequences.astype(np.int32)), model.density.vocabulary.n_types, model.density.vocabulary.hidden_id
    )
    p = model.probabilities(counts)
    difference: Floats = p[:simulations] - p[simulations:]
    return difference


def continue_from(
    density: Density, sequences: NDArray[np.int64], start: int, uniform: Floats, times: Floats | None = None
) -> None:
    """Draw the events from a position on anew, in place.

    Args:
        density: The law of the events.
        sequences: Event ids (int64, ``[n, L]``).
        start: First position that is drawn.
        uniform: Random numbers (float64, ``[n, L]``).
        times: Seconds of the events, which stay as they are (float64, ``[L]``).
    """
    for position in range(start, sequences.shape[1]):
        past = [np.ascontiguousarray(row[:position], np.int32) for row in sequences]
        at = [np.array([position])] * len(past)
        seconds = None if times is None else [times[: position + 1]] * len(past)
        law = np.exp(np.stack([found[0] for found in density.conditional_many(past, at, seconds)]))
        up_to = np.cumsum(law, axis=1)
        drawn = (up_to < uniform[:, position, None] * up_to[:, -1:]).sum(axis=1)
        sequences[:, position] = np.minimum(drawn, law.shape[1] - 1)
