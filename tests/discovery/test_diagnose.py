"""Findings about logs whose flaws are known."""

import json
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from sequela.cli.app import app
from sequela.density.training.fit import fit
from sequela.discovery.diagnose import LEVELS, diagnose_log, power, raised
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(6, horizon=2, seed=0)


def by_topic(findings):
    return {finding.topic: finding for finding in findings}


def log_of(sequences, times):
    rows = [
        (f"c{i:03}", f"e{event}", at)
        for i, (events, own) in enumerate(zip(sequences, times, strict=True))
        for event, at in zip(events, own, strict=True)
    ]
    return read_log(pl.DataFrame(rows, schema=["case", "event", "time"], orient="row"))


@pytest.mark.parametrize(("n", "frequency"), [(60, 0.05), (200, 0.05), (200, 0.3), (600, 0.02)])
def test_power_is_how_often_bets_reach_their_evidence(n, frequency):
    delta, needed = 0.05, 6.0
    p = raised(frequency, delta)
    assert p * np.log(p / frequency) + (1 - p) * np.log((1 - p) / (1 - frequency)) == pytest.approx(delta, abs=1e-9)
    came = np.random.default_rng(0).binomial(n, p, 20_000)
    log_e = came * np.log(p / frequency) + (n - came) * np.log((1 - p) / (1 - frequency))
    told = power(np.array([float(n)]), delta=delta, needed=needed, frequency=frequency)[0]
    assert told == pytest.approx((log_e >= needed).mean(), abs=0.06)


def test_an_effect_that_no_probability_reaches():
    assert raised(0.99, 0.5) == pytest.approx(1.0)


def test_findings_of_a_steady_world():
    log = read_log(WORLD.to_log(WORLD.sample(300, 30, seed=1)))
    found = by_topic(diagnose_log(WORLD, log, delta=0.05, fdr=0.05))
    assert found["length"].verdict == found["drift"].verdict == found["ties"].verdict == "good"
    assert "not trained here" in found["density"].sentence
    numbers = found["power"].numbers
    assert numbers["n_pairs"] == 30
    assert numbers["log_e_needed"] == pytest.approx(np.log(30 / 0.05))
    least = found["undecidable"].numbers["least_occurrences"]
    assert least == int(np.ceil(np.log(600) / 0.05)) == 128
    counts = log.frame["event"].value_counts()["count"].to_numpy()
    assert found["undecidable"].numbers["n_undecidable"] == 5 * (counts < least).sum()
    by_level = [row["n_pairs"] for row in numbers["levels"]]
    edges = [*LEVELS, np.inf]
    assert by_level == [5 * int(((counts >= a) & (counts < b)).sum()) for a, b in pairwise(edges)]
    chance = [row["power"] for row in numbers["levels"]]
    assert chance == sorted(chance)
    each = by_topic(
        diagnose_log(WORLD, log, delta=0.05, fdr=0.05, control="each")
    )  # as in `run`: no price for many pairs
    assert each["power"].numbers["log_e_needed"] == pytest.approx(np.log(20))
    assert "an e-value of 20 for each of 30 pairs" in each["power"].sentence
    assert each["undecidable"].numbers["least_occurrences"] == 60
    few = by_topic(diagnose_log(WORLD, read_log(WORLD.to_log(WORLD.sample(6, 10, seed=1)))))
    assert few["undecidable"].verdict == few["power"].verdict == "bad"
    assert few["undecidable"].numbers["decidable_nats"] > 1
    assert found["undecidable"].verdict == "good"
    assert found["undecidable"].numbers["decidable_nats"] == pytest.approx(np.log(600) / np.median(counts), rel=0.2)
    some = by_topic(diagnose_log(WORLD, read_log(WORLD.to_log(WORLD.sample(20, 30, seed=1)))))
    assert some["undecidable"].verdict == "weak"  # a link of 0.05 nats is out of reach, a strong one is not
    assert few["length"].verdict == "weak"


def test_drift_ties_and_rare_types_are_seen():
    rng = np.random.default_rng(0)
    early = [rng.choice(3, 20, p=[0.6, 0.3, 0.1]) for _ in range(40)]
    late = [rng.choice(4, 20, p=[0.1, 0.3, 0.3, 0.3]) for _ in range(40)]
    times = [1000 * i + np.repeat(np.arange(10), 2) for i in range(80)]
    vocabulary_log = log_of(early + late, times)
    density = fit(vocabulary_log, memory=2, max_steps=20, progress=False)
    found = by_topic(diagnose_log(density, vocabulary_log, cases="all"))
    assert found["drift"].verdict == "weak"
    assert found["drift"].numbers["n_new_types"] == 1
    assert "recent cases" in found["drift"].sentence
    assert found["ties"].numbers["share"] == pytest.approx(0.5)
    assert found["ties"].verdict == "weak"
    shuffled = [*early, *late]
    rng.shuffle(shuffled)
    assert (
        by_topic(diagnose_log(density, log_of(shuffled, times), cases="all"))["drift"].numbers["divergence_nats"]
        < found["drift"].numbers["divergence_nats"] / 5
    )
    strange = [np.where(rng.random(20) < 0.3, 9, events) for events in early]
    found = by_topic(diagnose_log(density, log_of(strange, times[:40]), cases="all"))
    assert found["vocabulary"].verdict == "weak"
    assert found["vocabulary"].numbers["n_unknown_events"] == sum((events == 9).sum() for events in strange)
    untimed = read_log(vocabulary_log.frame, time=False)
    assert "no times" in by_topic(diagnose_log(WORLD, untimed, cases="all"))["ties"].sentence


def test_what_is_refused():
    log = read_log(WORLD.to_log(WORLD.sample(6, 10, seed=1)))
    for argument in ({"cases": "some"}, {"delta": 0}, {"fdr": 2}):
        with pytest.raises(ConfigError, match=next(iter(argument))):
            diagnose_log(WORLD, log, **argument)


def test_the_command_speaks_plainly_or_json(tmp_path):
    log = read_log(WORLD.to_log(WORLD.sample(80, 15, seed=1)))
    log.frame.write_csv(tmp_path / "log.csv")
    fit(log, memory=2, max_steps=60, out=tmp_path / "m", progress=False)
    command = ["diagnose", str(tmp_path / "m"), str(tmp_path / "log.csv")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "held-out nats per event" in result.stdout
    assert "cannot be decided" in result.stdout
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert [one["topic"] for one in found][:2] == ["density", "length"]
    assert all(one["verdict"] in ("good", "weak", "bad") for one in found)
