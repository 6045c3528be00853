"""Shifts and their errors, by hand and against simulation."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from sequela.discovery.shifts import Shift, pool, proportion, shifts


def test_proportion_is_the_signed_root_of_the_likelihood_ratio_without_drift() -> None:
    k, n, k0, n0 = 8, 26, 1, 32
    p, p0, both = k / n, k0 / n0, (k + k0) / (n + n0)
    log_ratio = (
        k * math.log(p / both) + (n - k) * math.log((1 - p) / (1 - both))
        + k0 * math.log(p0 / both) + (n0 - k0) * math.log((1 - p0) / (1 - both))
    )  # fmt: skip
    assert proportion(k, n, k0, n0, 1e-12) == pytest.approx(math.sqrt(2 * log_ratio))


def test_proportion_only_rises_and_is_tempered_by_drift() -> None:
    assert proportion(1, 26, 8, 32, 1.0) == 0
    assert proportion(5, 10, 16, 32, 1.0) == 0
    assert 0 < proportion(900, 1000, 800, 1000, 1.0) < 1 < proportion(900, 1000, 800, 1000, 0.01)
    assert proportion(0, 0, 1, 2, 1.0) == 0


def test_pool_of_equal_shifts_is_the_weighted_mean_and_of_unequal_ones_is_uncertain() -> None:
    mean, error = pool([Shift(("a",), 1.0, 0.04, 1), Shift(("b",), 1.0, 0.01, 1)])
    assert (mean, error) == (pytest.approx(1.0), pytest.approx(1 / math.sqrt(125)))
    # by hand: weights 100, Q = 50, between = (50 - 1) / 100 = 0.49, each variance 0.5
    mean, error = pool([Shift(("a",), 1.0, 0.01, 1), Shift(("b",), 0.0, 0.01, 1)])
    assert (mean, error) == (pytest.approx(0.5), pytest.approx(0.5))


def rows(rng: np.random.Generator, key: str, instance: str, n: int, mean: float) -> pl.DataFrame:
    return pl.DataFrame({"key": [key] * n, "instance": [instance] * n, "value": rng.normal(mean, 0.5, n)})


def test_shift_is_against_the_same_instance_and_less_the_median_of_all() -> None:
    rng = np.random.default_rng(0)
    # two instances of each key, one slower by 2; the window holds the slow one only; all keys are slower by 0.3
    normal = pl.concat([rows(rng, key, f"{key}{i}", 400, 2.0 * i) for key in "abcde" for i in (0, 1)])
    window = pl.concat([rows(rng, key, f"{key}1", 400, 2.3 + (1.0 if key == "c" else 0)) for key in "abcde"])
    found = {shift.key[0]: shift for shift in shifts(normal, window, ["key"], 3.0)}
    assert found["c"].mean == pytest.approx(1.0, abs=0.15)
    assert max(abs(found[key].mean) for key in "abde") < 0.15
    assert found["c"].n == 400


def test_keys_that_are_rare_in_normal_operation_are_left_out() -> None:
    rng = np.random.default_rng(1)
    normal = pl.concat([rows(rng, "a", "i", 10, 0.0), rows(rng, "b", "i", 2, 0.0)])
    assert [shift.key for shift in shifts(normal, normal, ["key"], 3.0)] == [("a",)]
    assert shifts(normal.filter(pl.col("key") == "b"), normal, ["key"], 3.0) == []


def test_error_of_a_shift_covers_its_spread() -> None:
    """On data without any shift, mean over standard error has variance about 1 (same instance, no drift)."""
    scores = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        normal = pl.concat([rows(rng, key, key, 30, 0.0) for key in "abcdefghi"])
        window = pl.concat([rows(rng, key, key, 20, 0.0) for key in "abcdefghi"])
        scores += [shift.mean / math.sqrt(shift.variance) for shift in shifts(normal, window, ["key"], 3.0)]
    assert 0.75 < np.std(scores) < 1.1
