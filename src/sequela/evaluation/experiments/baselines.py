"""All baselines on all worlds, each by its own label-free cut and, as a ceiling, by the best cut on labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from sequela.density.base import Ids
from sequela.evaluation.attribution import AttentionRollout, InputTimesGradient, ShapleySampling
from sequela.evaluation.baselines import (
    AdjacentPairs,
    AdjacentPMI,
    Bools,
    LaggedLift,
    Method,
    NeuralGranger,
    NGramGranger,
    Ours,
    RandomScores,
)
from sequela.evaluation.experiments.common import (
    DELTA,
    Experiment,
    Plan,
    Row,
    agreement,
    bars,
    chance,
    learn,
    translate,
)
from sequela.evaluation.metrics import Scores, auroc, average_precision, best_f1
from sequela.events.sequences import SequenceSet
from sequela.worlds.catalogue import make_world
from sequela.worlds.observed import ObservedWorld

_LENGTH = 48
_WORLDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("linear, decayed", "linear", {"decay": 1.0}),
    ("linear, flat", "linear", {"decay": 0.0}),
    ("nonlinear", "nonlinear", {"decay": 0.3}),
    ("multiplicative", "multiplicative", {}),
    ("threshold", "threshold", {}),
    ("long range", "long_range", {"lag": 6}),
    ("confounded", "confounded", {}),
    ("simultaneous", "simultaneous", {"decay": 0.3}),
    ("noisy", "noisy", {"decay": 0.3}),
    ("diagnostic log", "diagnostic_log", {}),
)


class Labels(NamedTuple):
    """True edges of some cases (bool, ``[L, horizon]`` each), and how many lie outside: written before their cause."""

    bands: list[Bools]
    n_outside: int


def labels_of(truth: pl.DataFrame, cases: SequenceSet, horizon: int) -> Labels:
    """Turn a table of true edges (columns of `TRUTH_SCHEMA`) into bands.

    Example:
        >>> cases = SequenceSet(np.array([0, 1, 0], np.int32), np.array([0, 3]), pl.Series(["a"]))
        >>> truth = pl.DataFrame({"case": ["a", "a"], "cause_position": [0, 2], "lag": [1, -1]})
        >>> labels = labels_of(truth, cases, 2)
        >>> labels.bands[0].tolist(), labels.n_outside
        ([[True, False], [False, False], [False, False]], 1)
    """
    by_case = truth.partition_by("case", as_dict=True)
    bands, n_outside = [], 0
    for case in cases:
        band = np.zeros((len(case.ids), horizon), dtype=np.bool_)
        if (edges := by_case.get((case.name,))) is not None:
            cause, lag = edges["cause_position"].to_numpy(), edges["lag"].to_numpy()
            inside = (lag >= 1) & (lag <= horizon)
            band[cause[inside], lag[inside] - 1] = True
            n_outside += int((~inside).sum())
        bands.append(band)
    return Labels(bands, n_outside)


def rows(plan: Plan) -> Iterator[Row]:
    """The window density is trained once a world and shared; attention rollout has a decoder of its own."""
    n_types, n_cases = 15, plan.pick("n_cases", 1000, 1500)
    n_scored, steps = plan.pick("n_scored", 5, 8), plan.pick("max_steps", 200, 300)
    decoder_steps = plan.pick("decoder_max_steps", 15, 25)
    worlds = plan.pick("worlds", _WORLDS[1::2], _WORLDS)
    for seed in plan.seeds:
        for label, name, options in worlds:
            world = make_world(name, n_types=n_types, seed=seed, **options)
            horizon = world.horizon
            past = world.simulate(n_cases, _LENGTH, seed=seed + 1, with_truth=False).sequences
            new = world.simulate(n_scored, _LENGTH, seed=seed + 1000, delta=DELTA)
            labels, n_types_here = labels_of(new.truth, new.sequences, horizon), world.vocabulary.n_types
            density = learn(world, n_cases, _LENGTH, seed=seed + 1, memory=max(8, horizon), max_steps=steps)
            decoder = learn(world, n_cases, _LENGTH, seed=seed + 1, backbone="llama", max_steps=decoder_steps)
            observed = [case.ids for case in new.sequences]
            own = [translate(density, world, case).ids for case in new.sequences]
            of_decoder = [translate(decoder, world, case).ids for case in new.sequences]
            methods: list[tuple[Method, Sequence[Ids]]] = [
                (Ours(density, particles=n_types_here + 1), own),
                (NeuralGranger(density), own),
                (InputTimesGradient(density), own),
                (ShapleySampling(density), own),
                (AttentionRollout(decoder), of_decoder),
                (AdjacentPairs(), observed),
                (AdjacentPMI(past, n_types_here), observed),
                (LaggedLift(past, n_types_here, horizon), observed),
                (NGramGranger(past, n_types_here, horizon), observed),
                (RandomScores(seed, float(np.concatenate(labels.bands).mean())), observed),
            ]
            for method, cases in methods:
                yield {"world": label, "method": method.name, "seed": seed} | _judge(method, cases, labels, horizon)
            if not isinstance(world, ObservedWorld):  # the law of the clean events is not that of their log
                exact = Ours(world, particles=n_types_here)
                row: Row = {"world": label, "method": f"{exact.name}, exact density", "seed": seed}
                yield row | _judge(exact, observed, labels, horizon)
            yield {"world": label, "method": "every pair", "seed": seed} | _every_pair(labels)


def _judge(method: Method, cases: Sequence[Ids], labels: Labels, horizon: int) -> Row:
    scores = np.concatenate([method.scores(ids, horizon) for ids in cases])
    tested = ~np.isnan(scores)
    real = np.concatenate(labels.bands)[tested]
    row = agreement([method.edges(ids, horizon) for ids in cases], labels.bands)
    return row | {
        "best_f1": best_f1(scores[tested], real).f1,
        "auroc": auroc(scores[tested], real),
        "average_precision": average_precision(scores[tested], real),
        "n_outside": labels.n_outside,
    }


def _every_pair(labels: Labels) -> Row:
    n_true = sum(int(band.sum()) for band in labels.bands)
    n_pairs = sum(max(len(band) - lag, 0) for band in labels.bands for lag in range(1, band.shape[1] + 1))
    score = Scores.from_counts(n_true=n_true, n_predicted=n_pairs, n_correct=n_true)
    return {
        "precision": score.precision,
        "recall": score.recall,
        "f1": score.f1,
        "best_f1": score.f1,
        "auroc": 0.5,
        "average_precision": score.precision,
        "n_outside": labels.n_outside,
    } | chance(n_true, n_pairs, n_pairs)


EXPERIMENT = Experiment(
    name="baselines",
    question="Does it beat what is simpler?",
    rows=rows,
    by=("world", "method"),
    show=("precision", "recall", "f1", "best_f1", "auroc", "average_precision"),
    figure=lambda frame: bars(frame, "world", "f1", by="method", title="F1 without labels"),
)
