"""Comparison of edge tables with labels, by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest

from sequela.discovery.discover import estimate
from sequela.discovery.stream import discover_to
from sequela.errors import LogFormatError
from sequela.evaluation.compare import bootstrap_f1, evaluate_edges, interval_coverage, read_edges, structural_hamming
from sequela.evaluation.metrics import Scores, average_precision
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld


def _edges(rows):
    names = ["case", "cause_position", "effect_position", "cause", "effect", "cmi_nats"]
    return pl.DataFrame(rows, schema=names, orient="row")


TRUTH = _edges(
    [("a", 0, 1, "x", "y", 0.5), ("a", 0, 2, "x", "x", 0.2), ("b", 0, 1, "y", "z", 0.3), ("b", 1, 2, "z", "y", 0.1)]
)
FOUND = _edges(
    [("a", 0, 1, "x", "y", 0.9), ("b", 0, 2, "y", "y", 0.8), ("b", 1, 2, "z", "y", 0.7), ("c", 0, 1, "z", "x", 0.1)]
)


def test_everything_by_hand():
    got = evaluate_edges(FOUND, TRUTH, n_pairs=16)
    assert got.pooled == Scores.from_counts(n_true=4, n_predicted=4, n_correct=2)
    assert got.shd == 4
    # a: 1 of 1 found and 2 true; b: 1 of 2 and 2; c: a found edge where none is true.
    assert got.mean_f1 == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert got.recall_by_lag == {1: (2 / 3, 3), 2: (0.0, 1)}
    # Links without self-loops: found x->y, z->y, z->x; true x->y, y->z, z->y.
    assert got.links == Scores.from_counts(n_true=3, n_predicted=3, n_correct=2)
    assert got.links_shd == 2
    # Ranked true, false, true, false over 4 true edges.
    assert got.average_precision == pytest.approx((1 + 2 / 3) / 4)
    assert got.n_cases == 3
    controls = got.controls()
    assert controls["every pair"] == Scores.from_counts(n_true=4, n_predicted=16, n_correct=4)
    assert controls["random graph of this size"].precision == 0.25
    json.dumps(got.to_dict())


def test_average_precision_agrees_with_the_metric_when_all_pairs_are_ranked():
    rng = np.random.default_rng(0)
    score, real = rng.integers(6, size=40) / 6, rng.random(40) < 0.3
    rows = [("a", i, i + 1, "x", "y", float(s)) for i, s in enumerate(score)]
    truth = _edges([row for row, is_real in zip(rows, real, strict=True) if is_real])
    assert evaluate_edges(_edges(rows), truth).average_precision == pytest.approx(average_precision(score, real))


def test_empty_tables():
    none = TRUTH.clear()
    assert evaluate_edges(none, none).pooled.f1 == 1.0
    assert evaluate_edges(none, TRUTH).pooled.recall == 0.0
    assert evaluate_edges(FOUND, none).pooled.precision == 0.0
    assert math.isnan(evaluate_edges(FOUND, none).average_precision)
    assert evaluate_edges(FOUND, TRUTH).controls() == {}


def test_bad_tables_are_named():
    with pytest.raises(LogFormatError, match="found edges has no column 'effect'"):
        evaluate_edges(FOUND.drop("effect"), TRUTH)
    with pytest.raises(LogFormatError, match="twice in the table of true edges"):
        evaluate_edges(FOUND, pl.concat([TRUTH, TRUTH]))


def test_tables_of_different_logs_are_refused():
    with pytest.raises(LogFormatError, match="no case in common"):
        evaluate_edges(FOUND, TRUTH.with_columns(case=pl.lit("other")).head(1))


def test_no_controls_when_more_is_true_than_was_tested():
    assert evaluate_edges(FOUND, TRUTH, n_pairs=3).controls() == {}


def test_hamming_counts_a_reversal_once():
    assert structural_hamming(set(), set()) == 0
    assert structural_hamming({(1, 2)}, {(2, 1)}) == 1
    assert structural_hamming({(1, 2), (2, 1)}, {(2, 1)}) == 1
    assert structural_hamming({(1, 2)}, {(3, 4)}) == 2


def test_bootstrap_covers_what_varies():
    good, bad = (Scores.from_counts(n_true=2, n_predicted=2, n_correct=n) for n in (2, 0))
    low, high = bootstrap_f1([good, bad] * 20)
    assert 0.3 < low < 0.5 < high < 0.7
    assert bootstrap_f1([good, bad] * 20) == (low, high)
    assert all(math.isnan(bound) for bound in bootstrap_f1([good]))


def test_coverage_of_enumerated_estimates_is_full():
    world = SoftmaxWorld.random(6, horizon=2, seed=0)
    case = world.sample(1, 12, seed=1)[0]
    exact = world.truth(case.ids)
    found = estimate(world, case, particles=6)
    assert interval_coverage([found], [exact]) == 1.0
    assert interval_coverage([found], [exact + 0.1]) == 0.0
    assert math.isnan(interval_coverage([], []))


def test_tables_are_read_from_folders_and_files(tmp_path):
    world = SoftmaxWorld.random(4, horizon=2, seed=0)
    log = read_log(world.to_log(world.sample(3, 6, seed=1)))
    found = discover_to(world, log, tmp_path / "results", delta=0.001, progress=False)
    table, n_pairs = read_edges(tmp_path / "results")
    assert n_pairs == 3 * (5 + 4)  # three cases of six events, lags 1 and 2
    assert table.height > 5
    assert table.equals(found.edges)
    FOUND.write_csv(tmp_path / "edges.csv")
    assert read_edges(tmp_path / "edges.csv")[0].equals(FOUND)
    with pytest.raises(LogFormatError, match="cannot be read"):
        read_edges(tmp_path / "missing.parquet")
