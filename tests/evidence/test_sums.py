"""Partial sums: those of disjoint cases give the same bits whatever the cut, the order and the way to the total."""

import itertools
import math

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sequela.density.training.crossfit import CrossFit
from sequela.density.window.density import WindowDensity
from sequela.density.window.network import WindowConfig, WindowNetwork
from sequela.discovery.discover import iter_estimates
from sequela.discovery.population import discover_population
from sequela.discovery.weigh import Calibrating, Weighing
from sequela.effects.settings import Settings
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet
from sequela.events.split import Split
from sequela.evidence.bets import sum_bets
from sequela.evidence.calibration import calibration
from sequela.evidence.fixed_point import from_units
from sequela.evidence.forecasts import forecasts, forecasts_many
from sequela.evidence.pairs import Groups, co_occurring, pair_codes
from sequela.evidence.sums import Partial, real_sums
from sequela.graphs.saved import load_population
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(6, horizon=3, decay=0.2, sparsity=0.6, seed=0)
LOG = read_log(WORLD.to_log(WORLD.sample(40, (1, 15), seed=1)))


def window_density(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = WindowNetwork(WindowConfig(6, 9, 4, 16, 32))
        torch.nn.init.normal_(network.head.weight, std=0.7)
    density = WindowDensity(network, WORLD.vocabulary, knows_hidden=True)
    density.info = {"split": {"seen": Split.of([]).to_plain()}}  # it was trained on nothing
    return density


DENSITY = window_density()
SEQUENCES = SequenceSet.from_log(LOG, WORLD.vocabulary)
GROUPS = Groups.at_level(WORLD.vocabulary, None)
TASK = Weighing(
    Settings(particles=4),
    int(SEQUENCES.lengths.max()),
    4,
    GROUPS,
    True,
    calibration(DENSITY, SEQUENCES, 4),
    co_occurring(SEQUENCES, 4, 6),
    bets_on_causes=False,
    reach=4,
)


def weigh(low, high):
    frame, counts = TASK(DENSITY, SEQUENCES.take(range(low, high)))
    return TASK.total([frame]), counts


@pytest.fixture(scope="module")
def singles():
    return [weigh(number, number + 1)[0] for number in range(40)]


@pytest.fixture(scope="module")
def whole():
    return weigh(0, 40)[0]


def same_bits(a, b):
    for name in ("nodes", "pairs", "bets", "cells", "sums"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name


def test_total_equals_one_pass_over_all_cases(whole):
    bets, strength = [], {}
    for case, found in iter_estimates(DENSITY, SEQUENCES, TASK.settings):
        bets.append(from_units(sum_bets(TASK.pairs, DENSITY, [case], 4, TASK.shift)))
        for j, column in zip(*np.nonzero(np.isfinite(found.cmi)), strict=True):
            u, v = int(case.ids[j]), int(case.ids[j + column + 1])
            if u != v:
                strength.setdefault((u * 6 + v) * 4 + int(column), []).append(found.cmi[j, column])
    assert whole.pairs.tolist() == TASK.pairs.tolist()
    np.testing.assert_allclose(whole.log_e, np.sum(bets, axis=0), atol=1e-12)
    assert whole.cells.tolist() == sorted(strength)
    sums = real_sums(whole.sums)
    assert sums["support"].tolist() == [len(strength[cell]) for cell in sorted(strength)]
    expected = [math.fsum(strength[cell]) for cell in sorted(strength)]
    np.testing.assert_allclose(sums["cmi"], expected, rtol=1e-15, atol=40 * 2.0**-53)
    assert whole.nodes.tolist() == np.bincount(SEQUENCES.ids, minlength=6).tolist()
    counts = weigh(0, 40)[1]
    assert (counts["n_cases"], counts["n_cases_skipped"]) == (40, int((SEQUENCES.lengths < 2).sum()))


@settings(max_examples=50)
@given(st.randoms(use_true_random=False))
def test_any_cut_and_any_order_of_adding_gives_the_same_bits(random):
    waiting = list(PARTS)
    while len(waiting) > 1:
        random.shuffle(waiting)
        waiting.append(waiting.pop() + waiting.pop())
    same_bits(waiting[0], WHOLE)


def random_partial(seed):
    rng = np.random.default_rng(seed)
    limbs = np.stack([rng.integers(-(2**50), 2**50, 5), rng.integers(0, 2**40, 5)])
    sums = np.concatenate([rng.integers(0, 2**40, (4, 5)), *[limbs] * 4])
    codes = np.sort(rng.choice(36, 5, replace=False))
    return Partial(4, rng.integers(0, 9, 6), codes, rng.integers(-(2**50), 2**50, 5), codes * 4, sums)


PARTS = [random_partial(seed) for seed in range(12)]
WHOLE = sum(PARTS, Partial.empty(6, 4))


def test_an_order_of_its_own_would_not_give_the_same_bits(singles):
    """What the integers are for: added from left to right and from right to left, the same floats differ."""
    floats = [real_sums(one.sums)["cmi"].sum() for one in singles]
    assert sum(floats) != sum(reversed(floats)) or math.fsum(floats) != sum(floats)


def test_every_partition_of_the_cases_gives_the_same_bits(singles, whole):
    """The scores of a case do not depend on which cases are scored with it, and neither do the sums."""
    same_bits(sum(singles, Partial.empty(6, 4)), whole)
    for cuts in ([0, 1, 40], [0, 2, 3, 39, 40], [0, 20, 40]):
        parts = [weigh(low, high)[0] for low, high in itertools.pairwise(cuts)]
        same_bits(sum(reversed(parts), Partial.empty(6, 4)), whole)


def test_calibration_does_not_depend_on_the_cut():
    task = Calibrating(4, None, GROUPS)
    tables = [task(DENSITY, SEQUENCES.take(range(low, low + 5)))[0] for low in range(0, 40, 5)]
    assert task.join(tables[::-1]).equals(task.join([task(DENSITY, SEQUENCES)[0]]))


def test_what_cannot_be_added_is_refused(whole):
    with pytest.raises(ConfigError, match="same types and horizon"):
        whole + Partial.empty(6, horizon=5)


def test_a_file_holds_all_of_it(whole, singles, tmp_path):
    whole.to_frame().write_parquet(tmp_path / "chunk.parquet")
    same_bits(TASK.total([pl.read_parquet(tmp_path / "chunk.parquet")]), whole)
    same_bits(TASK.total([TASK.join([one.to_frame() for one in singles])]), whole)
    nothing = Partial.empty(6, 4)
    same_bits(TASK.total([nothing.to_frame()]), nothing)


@pytest.mark.parametrize("level", [None, 1])
def test_with_chunks_on_disk_and_in_memory_the_same_table(tmp_path, level, monkeypatch):
    monkeypatch.setattr("sequela.execution.chunks.Chunks.seconds", 0.0)
    monkeypatch.setattr("sequela.execution.map_cases._FIRST_EVENTS", 20)
    log = LOG
    density = window_density()
    if level:
        names = [name.replace("e", f"{'xy'[i % 2]}|e") for i, name in enumerate(WORLD.vocabulary.names)]
        frame = LOG.frame.with_columns(
            pl.col("event").replace_strict(dict(zip(WORLD.vocabulary.names, names, strict=True)))
        )
        log = read_log(frame.select("case", "event"), case="case", event="event", time=False)
        density.vocabulary = type(WORLD.vocabulary)(tuple(names), WORLD.vocabulary.counts)
    both = CrossFit((density, window_density(1) if level is None else density))
    memory = discover_population(both, log, particles=4, hierarchy_level=level, progress=False)
    disk = discover_population(both, log, particles=4, hierarchy_level=level, out=tmp_path / "out", progress=False)
    assert memory.run.arguments.folds == 2
    assert disk.pairs.equals(memory.pairs)
    assert load_population(tmp_path / "out").lags.equals(memory.lags)
    assert disk.nodes.equals(memory.nodes)
    assert disk.run.counts == memory.run.counts
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(ConfigError, match="already holds a result"):
        discover_population(both, log, out=tmp_path / "out", progress=False)


def test_an_interrupted_weighing_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("sequela.execution.chunks.Chunks.seconds", 0.0)
    monkeypatch.setattr("sequela.execution.map_cases._FIRST_EVENTS", 20)
    whole = discover_population(DENSITY, LOG, cases="all", particles=4, progress=False)
    real, left, weighed = Weighing.__call__, [1], []

    def interrupted(self, density, cases):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        weighed.extend(cases.case_names)
        return real(self, density, cases)

    monkeypatch.setattr(Weighing, "__call__", interrupted)
    arguments = {"cases": "all", "particles": 4, "out": tmp_path / "out", "progress": False}
    with pytest.raises(KeyboardInterrupt):
        discover_population(DENSITY, LOG, **arguments)
    assert 0 < len(weighed) < 40
    left[0] = 1000
    monkeypatch.setattr(Calibrating, "__call__", None)  # the calibration is kept too
    found = discover_population(DENSITY, LOG, **arguments)
    assert len(weighed) == len(set(weighed)) == 40  # no case twice
    assert found.pairs.equals(whole.pairs)
    assert found.run.counts == whole.run.counts
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_chunks_of_another_job_are_not_taken_up(tmp_path, monkeypatch):
    monkeypatch.setattr("sequela.execution.chunks.Chunks.seconds", 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Partial, "tables", None)  # stops when all is weighed
        with pytest.raises(TypeError):
            discover_population(DENSITY, LOG, cases="all", particles=4, seed=1, out=tmp_path / "out", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == [".out.weighing"]
    found = discover_population(DENSITY, LOG, cases="all", particles=4, out=tmp_path / "out", progress=False)
    assert found.pairs.equals(discover_population(DENSITY, LOG, cases="all", particles=4, progress=False).pairs)


@pytest.mark.parametrize("cells", [7, 200, 2**22])
def test_forecasts_of_many_cases_are_those_of_each(cells, monkeypatch):
    monkeypatch.setattr("sequela.evidence.forecasts._CELLS", cells)
    calls = []
    real = DENSITY.conditional_many
    monkeypatch.setattr(DENSITY, "conditional_many", lambda *given: calls.append(1) or real(*given))
    together = list(forecasts_many(DENSITY, SEQUENCES, 4))
    n_together = len(calls)
    apart = [rows for case in SEQUENCES for rows in forecasts(DENSITY, case, 4)]
    for name in ("causes", "positions", "targets", "log_p", "log_q"):
        joined, single = (np.concatenate([getattr(rows, name) for rows in some]) for some in (together, apart))
        assert joined.tobytes() == single.tobytes()
    if cells == 2**22:
        assert n_together == 1  # short cases share a call


def test_codes_of_groups_are_named(singles):
    one = singles[3] + singles[4]
    strength, evidence, nodes = one.tables(GROUPS)
    index = {name: i for i, name in enumerate(WORLD.vocabulary.names)}
    u, v = (np.array([index[name] for name in evidence[column]], np.int32) for column in ("cause", "effect"))
    assert pair_codes(u, v, 6).tolist() == one.pairs.tolist()
    assert strength.height == len(one.cells)
    assert strength["lag"].min() >= 1
    assert strength["lag"].max() <= 4
    assert nodes["count"].sum() == one.nodes.sum()
