"""References by hand, and an honest sentence."""

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from sequela.density.base import Density
from sequela.density.quality import report as diagnostics
from sequela.density.quality.ngrams import NGram
from sequela.density.quality.report import DensityReport, calibration, diagnose
from sequela.errors import DensityError
from sequela.events.sequences import SequenceSet
from sequela.worlds.softmax import SoftmaxWorld

F = Fraction


def sequences(*cases):
    ids = np.array([event for case in cases for event in case], np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(case) for case in cases])])
    return SequenceSet(ids, offsets, pl.Series([f"c{i}" for i in range(len(cases))]))


TRAIN = sequences([0, 1, 0, 1, 2], [0])


def probabilities(order, *case):
    return np.exp(NGram(TRAIN, n_types=3, order=order).log_prob(sequences(list(case)))).tolist()


def unigram(event):
    # Counts 3, 2, 1 of 6; three kinds seen: (n + 3 * 1/3) / (6 + 3).
    return F([3, 2, 1][event] + 1, 9)


def bigram(before, event):
    # After the start: 0 twice, one kind. After 0: 1 twice (the last 0 ends its case). After 1: 0 and 2 once each.
    seen = {"^": {0: 2}, 0: {1: 2}, 1: {0: 1, 2: 1}, 2: {}}[before]
    n, kinds = sum(seen.values()), len(seen)
    return (seen.get(event, 0) + kinds * unigram(event)) / (n + kinds) if n else unigram(event)


def test_unigram_by_hand():
    assert probabilities(0, 0, 1, 2) == pytest.approx([float(unigram(e)) for e in (0, 1, 2)])


def test_bigram_by_hand():
    expected = [bigram("^", 0), bigram(0, 1), bigram(1, 1), bigram(1, 2), bigram(2, 0)]
    assert probabilities(1, 0, 1, 1, 2, 0) == pytest.approx([float(p) for p in expected])


def test_trigram_by_hand():
    # After (0, 1): 0 and 2 once each, two kinds. (1, 1) was never seen: the bigram.
    expected = [(1 + 2 * bigram(1, 2)) / 4, bigram(1, 0)]
    assert probabilities(2, 0, 1, 2)[2] == pytest.approx(float(expected[0]))
    assert probabilities(2, 1, 1, 0)[2] == pytest.approx(float(expected[1]))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_probabilities_sum_to_one(order):
    for past in ([], [0], [0, 1], [2, 2], [1, 0]):
        assert sum(probabilities(order, *past, event)[-1] for event in range(3)) == pytest.approx(1)


def test_report_of_the_exact_density():
    world = SoftmaxWorld.random(5, horizon=2, decay=0.2, sparsity=0.3, seed=0)
    train, held_out = world.sample(200, 20, seed=1), world.sample(40, (1, 20), seed=2)
    report = diagnose(world, train=train, held_out=held_out)
    losses = np.concatenate([-world.score(case.ids) for case in held_out])
    assert report.cross_entropy == pytest.approx(losses.mean())
    assert report.unigram == pytest.approx(-NGram(train, n_types=5, order=0).log_prob(held_out).mean())
    assert report.beats_references
    assert "predicts new cases better than simple counting, by 0." in report.sentence()
    assert report.gain_std_error < report.std_error  # pairing removes what both find hard
    assert report.oracle_score < 0


def test_a_bad_density_is_called_bad():
    other = SoftmaxWorld.random(5, horizon=2, sparsity=0.3, weight_scale=3.0, seed=9)
    world = SoftmaxWorld.random(5, horizon=2, sparsity=0.3, seed=0)
    report = diagnose(other, train=world.sample(100, 20, seed=1), held_out=world.sample(1, 50, seed=2))
    assert not report.beats_references
    assert "does NOT predict" in report.sentence()
    assert np.isfinite(report.std_error)


class Sick(Density):
    """Gives a number that is none for one type."""

    def __init__(self, world, value):
        self.world, self.value, self.vocabulary = world, value, world.vocabulary

    def conditional(self, ids, positions, times=None):
        found = self.world.conditional(ids, positions)
        found[:, 2] = self.value
        return found


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_numbers_that_are_not_finite_are_an_error(value):
    world = SoftmaxWorld.random(5, horizon=2, seed=0)
    train, held_out = world.sample(20, 9, seed=1), world.sample(5, 9, seed=2)
    n_bad = int((held_out.ids == 2).sum())
    with pytest.raises(DensityError, match=f"{n_bad} of 45 held-out events"):
        diagnose(Sick(world, value), train=train, held_out=held_out)


def test_a_report_as_json_and_back():
    world = SoftmaxWorld.random(5, horizon=2, seed=0)
    train = world.sample(20, 9, seed=1)
    for held_out in (world.sample(1, 1, seed=2), world.sample(5, 9, seed=2)):
        report = diagnose(world, train=train, held_out=held_out)
        text = json.dumps(report.to_dict(), allow_nan=False)
        assert DensityReport.from_dict(json.loads(text)) == report
    assert np.isinf(diagnose(world, train=train, held_out=world.sample(1, 1, seed=2)).std_error)


def test_calibration_by_brute_force():
    world = SoftmaxWorld.random(12, horizon=2, decay=0.2, sparsity=0.2, weight_scale=3.0, seed=0)
    held_out = world.sample(6, (2, 9), seed=1)
    table = calibration(world, held_out)
    edges = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 17)])
    rows = []
    for low, high in pairwise(edges):
        gaps, chances, hits = [], [], 0
        for case in held_out:
            inside = [
                (p, event == case.ids[t])
                for t in range(len(case.ids))
                for event, p in enumerate(np.exp(world.conditional(case.ids, np.array([t]))[0]))
                if low <= p < high
            ]
            chances += [p for p, _ in inside]
            hits += sum(true for _, true in inside)
            gaps.append(sum(true - p for p, true in inside))
        if chances:
            error = np.sqrt(6 / 5 * np.square(gaps).sum()) / len(chances)
            rows.append((low, high, len(chances), np.mean(chances), hits / len(chances), error))
    assert len(rows) > 5
    assert table.columns == ["low", "high", "n", "predicted", "observed", "std_error"]
    assert np.allclose(table.to_numpy(), np.array(rows, dtype=float))


def test_calibration_in_pieces_and_of_one_case(monkeypatch):
    world = SoftmaxWorld.random(5, horizon=2, seed=0)
    held_out = world.sample(3, 9, seed=1)
    whole = calibration(world, held_out)
    assert whole["n"].sum() == 3 * 9 * 5
    monkeypatch.setattr(diagnostics, "_CELLS_A_CALL", 11)
    assert np.allclose(calibration(world, held_out).to_numpy(), whole.to_numpy())
    assert calibration(world, held_out.take([0]))["std_error"].is_infinite().all()


def test_a_density_that_is_right_is_calibrated_and_one_that_is_not_is_not():
    world = SoftmaxWorld.random(6, horizon=2, decay=0.2, weight_scale=2.0, seed=0)
    other = SoftmaxWorld.random(6, horizon=2, decay=0.2, weight_scale=2.0, seed=9)
    held_out = world.sample(80, 30, seed=3)
    off = []
    for density in (world, other):
        table = calibration(density, held_out).filter(pl.col("n") > 200)
        assert table.height > 4
        off.append(float(((table["observed"] - table["predicted"]).abs() / table["std_error"]).max()))
    assert off[0] < 4 < 6 < off[1]


def test_what_is_no_number_beats_nothing():
    for name in ("cross_entropy", "unigram", "gain_std_error"):
        values = {"n_cases": 2, "n_events": 9, "cross_entropy": 1.0, "std_error": 0.1, "unigram": 2.0, "bigram": 2.0,
                  "trigram": 2.0, "log_n_types": 3.0, "gain_std_error": 0.1} | {name: float("nan")}  # fmt: skip
        said = DensityReport(**values).sentence()
        assert "does NOT predict" in said or "less than the noise" in said
    values = values | {"gain_std_error": 0.1}
    assert "predicts new cases better than simple counting, by 1.000" in DensityReport(**values).sentence()
