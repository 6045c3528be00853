"""Can this log and this density answer the question? Findings in plain sentences, before or after a discovery.

Each finding rests on something counted or scored on cases that the density was not trained on, and says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from sequela.arguments import public
from sequela.density.base import Density, Floats
from sequela.density.quality.ngrams import NGram
from sequela.density.quality.report import DensityReport
from sequela.density.training.crossfit import held_out_cases
from sequela.discovery.arguments import POPULATION
from sequela.effects.encoding import encode_log, longest_case
from sequela.effects.settings import Settings
from sequela.errors import check_range
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet
from sequela.evidence.pairs import co_occurring

LEVELS = (10, 30, 100, 300, 1000, 3000, 10_000)
"""Occurrences of a cause that the power is given for."""
_SHUFFLES = 20
_TIES = 0.05
_MORE_DATA_NATS = 0.02
_CASES_A_CALL = 256
_STRONG_NATS = 1.0
"""Where only stronger effects than this can be decided, next to nothing can: it is about what a cause tells that
brings its effect once in three times, against once in a hundred without it."""


@dataclass(frozen=True)
class Finding:
    """One answer.

    Attributes:
        topic: What was asked: density, length, power, undecidable, drift, ties or vocabulary.
        verdict: ``"good"``, ``"weak"`` or ``"bad"``.
        sentence: The answer.
        numbers: What it rests on, as plain values.
    """

    topic: str
    verdict: str
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@public(POPULATION)
def diagnose_log(
    density: Density,
    log: EventLog,
    *,
    cases: str = "held-out",
    delta: float = 0.05,
    fdr: float = 0.05,
    control: str = "fdr",
    horizon: int | str | None = None,
) -> list[Finding]:
    """Say whether a density and a log are good enough to find which event types cause which.

    Args:
        density: A trained density, or a world.
        log: The log that is to be discovered.

    Returns:
        One finding a topic.

    Raises:
        ConfigError: An argument is not allowed, or no case is held out.
        VocabularyError: The log is not of the density's vocabulary.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> from sequela.events.log import read_log
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> findings = diagnose_log(world, read_log(world.to_log(world.sample(30, 20, seed=1))))
        >>> [finding.topic for finding in findings]
        ['density', 'length', 'power', 'undecidable', 'drift', 'ties', 'vocabulary']
    """
    check_range("delta", delta, low=0, above=True)
    whole = encode_log(density, log)
    weighed = encode_log(density, log if cases == "all" else held_out_cases(density, log))
    largest = Settings(horizon=horizon).horizon_for(density, longest_case(whole))
    pairs = co_occurring(weighed, largest, density.vocabulary.n_types)
    return [
        _density(density),
        _length(whole, density.vocabulary.n_types),
        *_power(density, weighed, pairs // density.vocabulary.n_types, delta, fdr, control),
        _drift(density, whole, weighed),
        _ties(log),
        _vocabulary(density, whole),
    ]


def _density(density: Density) -> Finding:
    report = density.info.get("report")
    if report is None:
        return Finding("density", "weak", "the density carries no report: it was not trained here, judge it yourself")
    found = DensityReport.from_dict(report)
    gain = found.best_reference - found.cross_entropy
    verdict = "bad" if gain <= 0 else "weak" if gain < 2 * found.gain_std_error else "good"
    return Finding("density", verdict, found.sentence(), dict(report))


def _length(sequences: SequenceSet, n_types: int) -> Finding:
    """Compare counts on half and on all of some cases: what another doubling would bring is about that or less."""
    train, judge = sequences.split((0.8, 0.2))
    half, _ = train.split((0.5, 0.5), seed=1)
    losses = [NGram(part, n_types=n_types, order=1).cross_entropy(judge) for part in (half, train)]
    fall = losses[0] - losses[1]
    numbers = {"n_cases": sequences.n_cases, "n_events": sequences.n_events, "bigram_gain_nats": fall}
    what = f"the log has {sequences.n_events:,} events of {sequences.n_cases:,} cases; the last doubling of it made"
    if fall > _MORE_DATA_NATS:
        advice = f"pairs of neighbours {fall:.3f} nats more predictable: more cases would still help"
        return Finding("length", "weak", f"{what} {advice}", numbers)
    steady = f"pairs of neighbours only {max(fall, 0.0):.3f} nats more predictable: for single causes it is long enough"
    return Finding("length", "good", f"{what} {steady}", numbers)


def power(n: Floats, *, delta: float, needed: float, frequency: float) -> Floats:
    """Return the chance that a link reaches its evidence (float64, shape of ``n``), with a perfect density.

    One bet an occurrence of the cause: an effect of frequency ``q`` comes with the probability ``p > q`` that lies
    ``delta`` nats from it. The log e-value is then a sum of ``n`` terms of mean ``delta``, taken as normal.

    Args:
        n: Occurrences of the cause in the weighed cases.
        delta: ``KL(Ber(p) || Ber(q))``.
        needed: Log e-value that must be reached.
        frequency: ``q``.

    Example:
        >>> power(np.array([50.0, 500.0]), delta=0.05, needed=8.0, frequency=0.05).round(2).tolist()
        [0.02, 0.98]
    """
    p = raised(frequency, delta)
    spread = np.sqrt(p * (1 - p)) * abs(np.log(p / frequency) - np.log((1 - p) / (1 - frequency)))
    chance: Floats = ndtr((n * delta - needed) / (np.sqrt(np.maximum(n, 1)) * spread))
    return chance


def raised(frequency: float, delta: float) -> float:
    """Return the probability above ``frequency`` that lies ``delta`` nats from it (or nearly 1, where none does)."""

    def short(p: float) -> float:
        divergence = p * np.log(p / frequency) + (1 - p) * np.log((1 - p) / (1 - frequency))
        return float(divergence) - delta

    top = 1 - 1e-9
    return top if short(top) < 0 else float(brentq(short, frequency, top))


def _power(
    density: Density, weighed: SequenceSet, causes: np.ndarray[Any, Any], delta: float, fdr: float, control: str
) -> list[Finding]:
    is_each = control == "each"
    needed = float(np.log((1 if is_each else max(len(causes), 1)) / fdr))
    count = np.bincount(weighed.ids, minlength=density.vocabulary.n_types)
    frequency = float(np.median(count[count > 0]) / max(weighed.n_events, 1))
    chance = power(np.array(LEVELS, dtype=float), delta=delta, needed=needed, frequency=frequency)
    support = count[causes] if len(causes) else np.zeros(0)
    levels = [
        {"occurrences": level, "power": round(float(value), 3), "n_pairs": int(n)}
        for level, value, n in zip(
            LEVELS, chance, np.bincount(np.searchsorted(LEVELS, support, side="right"), minlength=8)[1:], strict=True
        )
    ]
    least = int(np.ceil(needed / delta))
    share = float((support >= least).mean()) if len(support) else 0.0
    table = ", ".join(f"{row['power']:.0%} at {row['occurrences']:,}" for row in levels)
    asked = f"an e-value of {1 / fdr:,.0f} for each of" if is_each else f"a false discovery rate of {fdr:g} over"
    numbers = {
        "delta": delta, "fdr": fdr, "control": control, "log_e_needed": needed, "n_pairs": len(causes),
        "levels": levels, "effect_frequency": frequency,
    }  # fmt: skip
    verdict = "good" if share > 0.8 else "weak" if share > 0.2 else "bad"
    found = Finding(
        "power",
        verdict,
        f"a link of {delta:g} nats is found, at best, with a chance of {table} occurrences of its cause in the "
        f"{weighed.n_cases:,} cases that are weighed ({asked} {len(causes):,} pairs; an effect as frequent as the "
        "median type; a density that is right)",
        numbers,
    )
    n_short = int((support < least).sum())
    typical = needed / max(float(np.median(support)) if len(support) else 0.0, 1.0)
    short = Finding(
        "undecidable",
        "good" if typical <= delta else "weak" if typical <= _STRONG_NATS else "bad",
        f"{n_short:,} of {len(causes):,} pairs cannot be decided at that effect with these cases: their cause occurs "
        f"less than {least:,} times, so that even a perfect density would not be expected to reach the evidence. Half "
        f"of the pairs can be decided from an effect of {typical:.2g} nats on"
        + ("; for weaker ones weigh more cases (folds, or a longer log)" if n_short else ""),
        {
            "n_undecidable": n_short, "n_pairs": len(causes), "least_occurrences": least,
            "decidable_nats": typical if len(support) else None,
        },
    )  # fmt: skip
    return [found, short]


def _drift(density: Density, whole: SequenceSet, weighed: SequenceSet) -> Finding:
    """Compare early with late cases: which events occur, and how well the density predicts them."""
    if whole.n_cases < 4:
        return Finding("drift", "weak", "too few cases to compare early with late ones", {"n_cases": whole.n_cases})
    n_types, rng = density.vocabulary.n_types, np.random.default_rng(0)
    late = _is_late(whole)
    case = np.repeat(np.arange(whole.n_cases), whole.lengths)

    def divergence(group: np.ndarray[Any, Any]) -> float:
        both = np.stack([np.bincount(whole.ids[group[case] == side], minlength=n_types) for side in (False, True)])
        share = both / np.maximum(both.sum(axis=1, keepdims=True), 1)
        middle = share.mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.nansum(np.where(share > 0, share * np.log(share / middle), 0.0)) / 2)

    observed = divergence(late)
    chance = max(divergence(rng.permutation(late)) for _ in range(_SHUFFLES))
    new = len(set(whole.ids[late[case]].tolist()) - set(whole.ids[~late[case]].tolist()))
    numbers: dict[str, Any] = {"divergence_nats": observed, "chance_nats": chance, "n_new_types": new}
    text = (
        f"event frequencies of early and late cases lie {observed:.3f} nats apart (up to {chance:.3f} by chance), and "
        f"{new:,} types occur in late ones only"
    )
    drifts = observed > chance
    losses = _losses(density, weighed)
    group = _is_late(weighed) if weighed.n_cases > 1 else np.zeros(weighed.n_cases, dtype=bool)
    if min(group.sum(), (~group).sum()) >= 2:
        means = [losses[group == side] for side in (False, True)]
        worse = float(means[1].mean() - means[0].mean())
        error = float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in means)))
        numbers |= {"late_loss_nats": worse, "late_loss_std_error": error}
        text += f"; late held-out cases are {abs(worse):.3f} ± {error:.3f} nats {'harder' if worse > 0 else 'easier'}"
        drifts = drifts or worse > 2 * error
    advice = ": the log drifts; fit on recent cases, or discover early and late ones apart" if drifts else ""
    return Finding("drift", "weak" if drifts else "good", text + advice, numbers)


def _is_late(sequences: SequenceSet) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which cases start in the later half (bool, ``[n_cases]``); without times the order of names stands in."""
    if sequences.times is None:
        start = np.arange(sequences.n_cases, dtype=float)
    else:
        start = sequences.times[np.minimum(sequences.offsets[:-1], max(sequences.n_events - 1, 0))]
    rank = np.argsort(np.argsort(start, kind="stable"))
    return np.asarray(rank >= sequences.n_cases // 2)


def _losses(density: Density, sequences: SequenceSet) -> Floats:
    """Return the mean ``-log P`` of each case (float64, ``[n_cases]``)."""
    means = []
    for low in range(0, sequences.n_cases, _CASES_A_CALL):
        some = [sequences[i] for i in range(low, min(sequences.n_cases, low + _CASES_A_CALL))]
        means += [-float(own.mean()) for own in density.score_many([c.ids for c in some], [c.times for c in some])]
    return np.array(means)


def _ties(log: EventLog) -> Finding:
    if not log.has_times:
        text = "the log has no times: the order of its rows is taken as the order of events"
        return Finding("ties", "weak", text, {"share": None})
    share = log.n_ties / max(log.n_events, 1)
    text = f"{share:.1%} of events share their time with the one before in their case"
    if share > _TIES:
        text += (
            ": which of them came first is not known, and an edge between two of them has no direction unless the "
            "links of a population tell it"
        )
    return Finding("ties", "weak" if share > _TIES else "good", text, {"share": share, "n_ties": log.n_ties})


def _vocabulary(density: Density, whole: SequenceSet) -> Finding:
    vocabulary = density.vocabulary
    rare = 0 if vocabulary.rare_id is None else int((whole.ids == vocabulary.rare_id).sum())
    numbers = {"n_types": vocabulary.n_types, "n_rare_events": rare, "n_unknown_events": whole.n_unknown}
    share = rare / max(whole.n_events, 1)
    text = f"{share:.1%} of events are of types too rare or unknown to the density, and stand together as one type"
    return Finding("vocabulary", "weak" if share > _TIES else "good", text, numbers)
