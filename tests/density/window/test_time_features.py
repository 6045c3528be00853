"""Times in a density: branches and scores against whole forwards, fitting, checkpoints, horizons in time."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from conftest import timely_log
from sequela.density.base import Branches
from sequela.density.checkpoint import load_density
from sequela.density.training import loop as training
from sequela.density.training.crossfit import cross_fit
from sequela.density.training.fit import fit
from sequela.density.window.density import WindowDensity
from sequela.density.window.network import WindowConfig, WindowNetwork
from sequela.density.window.time_features import time_gain, time_scale
from sequela.discovery.discover import discover, estimate
from sequela.discovery.population import discover_population
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.events.sequences import Case, SequenceSet
from sequela.events.times import parse_duration
from sequela.events.vocabulary import Vocabulary
from sequela.evidence.bets import sum_bets
from sequela.evidence.fixed_point import from_units
from sequela.evidence.pairs import co_occurring

V, LENGTH, MEMORY = 7, 24, 5
VOCABULARY = Vocabulary(tuple(f"e{i}" for i in range(V)), (1,) * V)
RNG = np.random.default_rng(3)
IDS = RNG.integers(0, V, LENGTH).astype(np.int32)
TIMES = np.cumsum(RNG.choice([0.0, 1.0, 40.0, 5000.0], LENGTH))


def timed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = WindowConfig(V, V + 3, MEMORY, 8, 16, wide=True, n_knots=6, longest_seconds=1e4)
        network = WindowNetwork(config)
        for weight in (network.head.weight, network.table.weight, network.table_timing.weight):
            torch.nn.init.normal_(weight, std=0.7)
    return WindowDensity(network, VOCABULARY, knows_hidden=True)


DENSITY = timed()


def by_hand(past, times, target, at):
    """The network written out with loops: each past event scaled, shifted and added by how long ago it was."""
    net, config = DENSITY.network, DENSITY.network.config
    pasts = [VOCABULARY.begin_id] * MEMORY + list(past)
    gaps = [0.0] * MEMORY + [at - t for t in times]
    rows, logits = [], torch.zeros(V, dtype=torch.float64)
    for lag in range(MEMORY, 0, -1):
        kind, gap = int(pasts[-lag]), gaps[-lag]
        place = math.log1p(gap / config.shortest_seconds) / math.log1p(config.longest_seconds / config.shortest_seconds)
        place = min(max(place, 0.0), 1.0) * (config.n_knots - 1)
        knots = torch.tensor([max(0.0, 1 - abs(place - k)) for k in range(config.n_knots)])
        scale, shift = (net.timing.weight @ knots).chunk(2)
        rows.append(net.embedding.weight[kind] * (1 + scale) + shift)
        direct = net.lag_scale[MEMORY - lag] * (1 + net.table_timing.weight[kind] @ knots)
        logits += (direct * net.table.weight[kind]).double()
    x = net.mix(torch.cat(rows)[None])
    for block in net.blocks:
        x = block(x)
    logits += net.head(net.norm(x))[0].double()
    return float(logits.log_softmax(0)[target])


def test_scores_and_branches_equal_the_network_written_out():
    score = DENSITY.score(IDS, TIMES)
    whole = DENSITY.conditional(IDS, np.arange(LENGTH), TIMES)
    for q in range(LENGTH):
        expected = by_hand(IDS[:q], TIMES[:q], IDS[q], TIMES[q])
        assert score[q] == pytest.approx(expected, abs=1e-4)
        assert whole[q, IDS[q]] == pytest.approx(expected, abs=1e-4)
    tails = RNG.integers(0, V, (12, 4)).astype(np.int32)
    tails[::3, 0] = VOCABULARY.hidden_id
    starts = np.append(RNG.integers(0, LENGTH, 11), LENGTH - 2)
    found = DENSITY.score_branches(IDS, starts, tails, TIMES)
    for k, start in enumerate(starts):
        for step in range(4):
            q = start + step + 1
            if q >= LENGTH:
                assert np.isnan(found[k, step])
                continue
            past = np.concatenate([IDS[:start], tails[k, : step + 1]])
            assert found[k, step] == pytest.approx(by_hand(past, TIMES[:q], IDS[q], TIMES[q]), abs=1e-4)
    beyond = DENSITY.conditional(IDS, np.array([LENGTH]), np.append(TIMES, TIMES[-1] + 3.0))
    assert beyond[0, 2] == pytest.approx(by_hand(IDS, TIMES, 2, TIMES[-1] + 3.0), abs=1e-4)


def test_company_does_not_change_a_bit_and_absolute_time_plays_no_part():
    tasks = [
        Branches(IDS[:n], np.arange(n - 1), RNG.integers(0, V, (n - 1, 3)).astype(np.int32), TIMES[:n])
        for n in (3, 24, 10)
    ]
    together = DENSITY.score_branches_many(tasks)
    for task, found in zip(tasks, together, strict=True):
        assert np.array_equal(DENSITY.score_branches(*task), found, equal_nan=True)
    assert np.array_equal(DENSITY.score(IDS, TIMES), DENSITY.score(IDS, TIMES + 1e6))
    assert not np.allclose(DENSITY.score(IDS, TIMES), DENSITY.score(IDS, TIMES * 7))


def test_times_are_asked_for_where_they_are_missing():
    with pytest.raises(ConfigError, match="times=False"):
        DENSITY.score(IDS)
    with pytest.raises(ConfigError, match="trained with times"):
        DENSITY.conditional(IDS, np.array([LENGTH]), TIMES)
    with pytest.raises(ConfigError, match="trained with times"):
        discover(DENSITY, ["e0", "e1", "e2"])
    with pytest.raises(ConfigError, match="need gaps"):
        DENSITY.window_conditional(np.zeros((1, MEMORY), np.int32))


LOG = timely_log()
QUICK = {"max_steps": 300, "memory": 2, "progress": False, "device": "cpu"}


def test_times_that_tell_are_used_and_predict_better(tmp_path):
    density = fit(LOG, out=tmp_path / "m", **QUICK)
    without = fit(LOG, times=False, **QUICK)
    assert density.uses_times
    assert not without.uses_times
    gain = without.info["report"]["cross_entropy"] - density.info["report"]["cross_entropy"]
    # By hand: half of the events are certain given the gap; without, 5/8 and three times 1/8 mix to 1.07 nats.
    assert gain == pytest.approx(1.07 - 0.5 * np.log(4), abs=0.12)
    again = load_density(tmp_path / "m", device="cpu")
    assert again.uses_times
    assert np.array_equal(again.score(IDS % 4, TIMES), density.score(IDS % 4, TIMES))
    assert again.fingerprint == density.fingerprint
    assert not fit(LOG, backbone="gru", max_steps=2, progress=False, device="cpu").uses_times


def test_times_that_tell_nothing_are_left_out():
    rng = np.random.default_rng(1)
    steady = LOG.frame.with_columns(time=pl.Series(np.cumsum(rng.uniform(1, 9, LOG.n_events))))
    other = read_log(steady)
    sequences = SequenceSet.from_log(other, Vocabulary.build(other))
    told, chance = time_gain(sequences, 5)
    assert told < max(0.02, 3 * chance)
    whole = SequenceSet.from_log(LOG, Vocabulary.build(LOG))
    told, chance = time_gain(whole, 5)
    assert told == pytest.approx(1.07 - 0.5 * np.log(4), abs=0.05)
    assert chance < 0.02
    assert time_gain(SequenceSet(whole.ids, whole.offsets, whole.case_names), 5) == (0.0, 0.0)
    with pytest.raises(ConfigError, match="gru"):
        fit(LOG, backbone="gru", times=True, **QUICK)
    with pytest.raises(ConfigError, match="time column"):
        fit(read_log(LOG.frame, time=False), times=True, **QUICK)
    with pytest.raises(ConfigError, match="times must be"):
        fit(LOG, times="sometimes", **QUICK)


def test_the_scale_spans_the_gaps():
    sequences = SequenceSet.from_log(LOG, Vocabulary.build(LOG))
    shortest, longest = time_scale(sequences, 2)
    assert 1 <= shortest <= 2
    assert 5000 < longest <= 10_000
    still = SequenceSet(sequences.ids, sequences.offsets, sequences.case_names, np.zeros(sequences.n_events))
    assert time_scale(still, 2) == (1.0, 2.0)
    single = SequenceSet(sequences.ids, np.arange(len(sequences.ids) + 1), None, sequences.times)
    assert time_scale(single, 2) == (1.0, 2.0)


@pytest.mark.parametrize("gap", [5e-324, 1e-300, 1e9])
def test_gaps_of_any_size_give_numbers(gap):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({
        "case": np.repeat([f"c{i}" for i in range(12)], 6), "event": rng.choice(list("abc"), 72),
        "at": np.tile(np.arange(6) * gap, 12),
    })  # fmt: skip
    log = read_log(frame, case="case", event="event", time="at", time_format="s")
    density = fit(log, max_steps=3, times=True, progress=False, device="cpu")
    assert np.isfinite(density.info["report"]["cross_entropy"])
    assert np.isfinite(density.score(IDS[:5] % 3, np.arange(5) * gap)).all()


def test_interrupted_training_with_times_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    quick = QUICK | {"max_steps": 30}
    whole = fit(LOG, **quick).state()
    real, calls = training._save_state, []

    def save_then_die(*arguments):
        real(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save_state", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        fit(LOG, out=tmp_path / "m", **quick)
    monkeypatch.undo()
    resumed = fit(LOG, out=tmp_path / "m", **quick).state()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("design", ["atomic", "leave-one-out", "masked", "staircase"])
def test_horizon_in_time_leaves_out_what_lies_further_apart(design):
    case = Case("a", IDS, TIMES)
    settings = {"design": design, "particles": 4, "horizon": 4}
    far = estimate(DENSITY, case, **settings)
    near = estimate(DENSITY, case, horizon_time="1m", **settings)
    kept = 0
    for j in range(LENGTH):
        for lag in range(1, 5):
            inside = j + lag < LENGTH and TIMES[j + lag] - TIMES[j] <= 60
            kept += inside
            for name in ("cmi", "std_error", "log_p", "pointwise"):
                one, other = getattr(far, name)[j, lag - 1], getattr(near, name)[j, lag - 1]
                assert one == other if inside else np.isnan(other)
    assert near.n_tested == kept > 0
    assert discover(DENSITY, case, horizon_time=60, delta=0.0, **settings).edges.height <= kept
    with pytest.raises(ConfigError, match="needs times"):
        estimate(DENSITY, Case("a", IDS, None), horizon_time=5, **settings)


def test_lengths_of_time_as_users_write_them():
    assert [parse_duration("x", text) for text in ("90", "90s", "1.5 h", "2D", 5)] == [90, 90, 5400, 172_800, 5]
    for bad in ("10 parsecs", "-5m", "0", "", True, None):
        with pytest.raises(ConfigError, match="horizon_time must be"):
            parse_duration("horizon_time", bad)


@pytest.mark.slow
def test_population_with_times():
    """Only what follows within seconds is caused, and only that is tested."""
    found = discover_population(
        cross_fit(LOG, folds=2, max_steps=200, memory=2, progress=False), LOG, horizon_time="10s", progress=False
    )
    links = set(found.edges.filter(pl.col("pointwise_nats") > 0).select("cause", "effect").iter_rows())
    assert links == {(f"e{i}", f"e{(i + 1) % 4}") for i in range(4)}
    everything = sum(1 for _ in LOG.frame.iter_rows()) - LOG.n_cases
    assert found.pairs["support"].sum() < everything


@pytest.mark.parametrize("seconds", [None, 50.0])
@pytest.mark.parametrize("cells", [7, 2**22])
def test_bets_with_times_equal_their_definition(seconds, cells, monkeypatch):
    monkeypatch.setattr("sequela.evidence.forecasts._CELLS", cells)
    one = SequenceSet(IDS, np.array([0, LENGTH]), pl.Series(["a"]), TIMES)
    pairs = co_occurring(one, 4, V, seconds)
    log_e = from_units(sum_bets(pairs, DENSITY, one, 4, np.zeros(V), seconds))
    expected, seen = np.zeros((V, V)), np.zeros((V, V), dtype=bool)
    for q in range(1, LENGTH):
        reach = np.arange(max(0, q - 4), q)
        reach = reach[TIMES[q] - TIMES[reach] <= (seconds or np.inf)]
        for kind in set(IDS[reach].tolist()):
            seen[kind, IDS[q]] |= kind != IDS[q]
            past = IDS.copy()
            past[reach[IDS[reach] == kind]] = VOCABULARY.hidden_id
            p = np.exp(DENSITY.conditional(IDS, np.array([q]), TIMES)[0])
            hidden = np.exp(DENSITY.conditional(past, np.array([q]), TIMES)[0])
            came = np.arange(V) == IDS[q]
            expected[kind] += np.where(came, np.log(p / hidden), np.log((1 - p) / (1 - hidden)))
    assert np.array_equal(np.flatnonzero(seen), pairs)
    np.testing.assert_allclose(log_e, expected.ravel()[pairs], atol=1e-4)
