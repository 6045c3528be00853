"""Experiments run, write what they say, and their exact parts are exact."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from sequela.errors import ConfigError
from sequela.evaluation.experiments import NAMES, common, get_experiment
from sequela.evaluation.experiments.baselines import labels_of
from sequela.evaluation.experiments.common import Plan, agreement, measured, run
from sequela.evaluation.experiments.context import truncation_bound
from sequela.progress import Silent
from sequela.worlds.catalogue import make_world

CHEAP = ("particles", "context", "vocabulary")


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_says_what_it_asks(name):
    experiment = get_experiment(name)
    assert experiment.name == name
    assert experiment.question.endswith("?")


def test_an_unknown_experiment_is_refused():
    with pytest.raises(ConfigError, match="particles"):
        get_experiment("particle")


@pytest.mark.parametrize("name", [n if n in CHEAP else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_quick_runs_write_rows_figure_and_record(name, tmp_path):
    experiment = get_experiment(name)
    result = run(experiment, seeds=[0], out=tmp_path / "run", progress=False)
    rows = pl.read_csv(tmp_path / "run" / "rows.csv")
    assert rows.height == result.frame.height > 1
    assert {"seed", *experiment.by, *experiment.show} <= set(rows.columns)
    assert (tmp_path / "run" / "figure.png").stat().st_size > 5000
    record = json.loads((tmp_path / "run" / "experiment.json").read_text())
    assert record["experiment"] == name
    assert record["seeds"] == [0]
    assert record["size"] == "quick"
    assert record["sizes"]
    assert rows["row_seconds"].min() >= 0
    assert result.table.height > 1
    with pytest.raises(ConfigError, match="overwrite"):
        run(experiment, seeds=[0], out=tmp_path / "run", progress=False)


def test_enumeration_is_exact_in_the_particles_experiment():
    rows = pl.DataFrame(get_experiment("particles").rows(Plan(False, (3,), Silent())), infer_schema_length=None)
    last = rows.filter((pl.col("particles") == 100) & (pl.col("statistic") == "kl_of_mean"))
    assert last["rmse_nats"].item() < 1e-9
    assert last["f1"].item() == 1.0
    assert rows.filter(pl.col("statistic") == "mean_of_kl")["bias_nats"].min() > 0.01


def test_the_truncation_bound_is_never_exceeded():
    rows = pl.DataFrame(get_experiment("context").rows(Plan(False, (5, 6), Silent())), infer_schema_length=None)
    assert rows["n_violations"].sum() == 0
    assert rows["share_bounded"].max() == 1.0


def test_the_truncation_bound_against_random_numbers():
    rng = np.random.default_rng(0)
    p, q, lost_p, lost_q = rng.random((4, 20_000))
    lost_p, lost_q = lost_p * 0.2, lost_q * 0.2
    other_p = np.clip(p + lost_p * rng.uniform(-1, 1, p.shape), 1e-9, 1 - 1e-9)
    other_q = np.clip(q + lost_q * rng.uniform(-1, 1, p.shape), 1e-9, 1 - 1e-9)

    def kl(a, b):
        return a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))

    bound = truncation_bound(p, q, lost_p, lost_q)
    assert (np.abs(kl(p, q) - kl(other_p, other_q)) <= bound + 1e-12).all()
    assert np.isfinite(bound).mean() > 0.3


def test_agreement_counts_edges_beyond_the_truth_nowhere():
    true = [np.array([[True, False], [False, False]])]
    row = agreement([np.array([[True], [False]])], true)
    assert (row["precision"], row["recall"], row["recall_lag_1"]) == (1.0, 1.0, 1.0)


def test_chance_is_what_random_graphs_score():
    rng = np.random.default_rng(0)
    true = [np.zeros((30, 4), dtype=bool) for _ in range(3)]
    real = np.arange(30)[:, None] + np.arange(1, 5) < 30
    for band in true:
        band[real] = rng.random(real.sum()) < 0.2
    rows = []
    for _ in range(400):
        found = [real & (rng.random(real.shape) < 0.1) for _ in true]
        rows.append(agreement(found, true))
    assert np.mean([row["f1"] for row in rows]) == pytest.approx(np.mean([row["random_f1"] for row in rows]), abs=0.01)
    whole = agreement([real] * 3, true)
    assert whole["f1"] == whole["every_pair_f1"]
    assert whole["n_pairs"] == 3 * real.sum()


def test_sizes_are_kept_by_name():
    plan = Plan(True, (0,), Silent())
    assert plan.pick("n_types", 20, 100) == 100
    assert plan.sizes == {"n_types": 100}


def test_labels_are_the_truth_and_count_what_no_band_can_hold():
    world = make_world("simultaneous", n_types=8, seed=0)
    found = world.simulate(4, 30, seed=1)
    labels = labels_of(found.truth, found.sequences, world.horizon)
    assert labels.n_outside == found.truth.filter(~pl.col("lag").is_between(1, world.horizon)).height > 0
    assert sum(band.sum() for band in labels.bands) == found.truth.height - labels.n_outside
    clean = make_world("linear", n_types=8, seed=0)
    found = clean.simulate(4, 30, seed=1)
    for band, case in zip(labels_of(found.truth, found.sequences, 6).bands, found.sequences, strict=True):
        assert np.array_equal(band, np.nan_to_num(clean.truth(case.ids)) > 0.05)


def test_cost_is_measured():
    with measured() as cost:
        block = np.ones(20_000_000)
        block.sum()
        import time

        time.sleep(0.05)
    assert cost.seconds > 0.05
    assert cost.peak_bytes > 100_000_000


def test_figures_leave_nothing_open():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    common.lines(pl.DataFrame({"x": [1, 2], "y": [1.0, 2.0]}), "x", "y")
    assert plt.get_fignums() == before
