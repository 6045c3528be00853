"""Partial results: sums of disjoint cases give the same bits whatever the cut, the order and the way to the total."""

import numpy as np
import polars as pl
import pytest
import torch

from sequela.density.training.crossfit import CrossFit
from sequela.density.window.network import WindowConfig, WindowDensity, WindowNetwork
from sequela.discovery.discover import iter_estimates
from sequela.discovery.population import discover_population
from sequela.effects.settings import Settings
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.events.split import Split
from sequela.events.sequences import SequenceSet
from sequela.evidence.bets import (
    Groups,
    LagSums,
    add_bets,
    calibration,
    co_occurring,
    forecasts,
    forecasts_many,
    pair_codes,
)
from sequela.evidence.sums import Partial, Weighing, unit_bounds
from sequela.execution.chunks import Counts
from sequela.graphs.population import load_population
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


@pytest.fixture
def small_units(monkeypatch):
    monkeypatch.setattr("sequela.evidence.sums._EVENTS_A_UNIT", 30)


@pytest.fixture
def weighing(small_units):
    sequences = SequenceSet.from_log(LOG, WORLD.vocabulary)
    shift = calibration(DENSITY, sequences, 4)
    pairs = co_occurring(sequences, 4, 6)
    task = Weighing(Settings(particles=4), int(sequences.lengths.max()), None, shift, pairs, unit_bounds(sequences))
    return sequences, task, [one for _, one in task.units(DENSITY, 0, sequences)]


def same_bits(a, b):
    assert a.counts == b.counts
    assert a.nodes.tolist() == b.nodes.tolist()
    for x, y in zip(a.total(), b.total(), strict=True):
        assert x.tobytes() == y.tobytes()


def test_units_depend_on_the_log_alone(small_units):
    lengths = np.array([10, 25, 3, 70, 1, 1])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    some = SequenceSet(np.zeros(110, np.int32), offsets, pl.Series([f"c{i}" for i in range(6)]))
    # Cases that start in the same 30 events: at 0 and 10; 35 and 38; 108 and 109.
    assert unit_bounds(some).tolist() == [0, 2, 4, 6]
    assert unit_bounds(some.take(range(0))).tolist() == [0]


def test_total_equals_one_pass_over_all_cases(weighing):
    sequences, task, units = weighing
    assert len(units) > 5
    total = sum(units[1:], units[0])
    pairs = co_occurring(sequences, 4, 6)
    log_e, strength = np.zeros(len(pairs)), {}
    for case, found in iter_estimates(DENSITY, sequences, task.settings):
        add_bets(log_e, pairs, DENSITY, case, 4, task.shift)
        for j, column in zip(*np.nonzero(np.isfinite(found.cmi)), strict=True):
            u, v = int(case.ids[j]), int(case.ids[j + column + 1])
            if u != v:
                strength.setdefault((u * 6 + v) * 4 + int(column), []).append(found.cmi[j, column])
    found = total.total()
    assert found.pairs.tolist() == pairs.tolist()
    np.testing.assert_allclose(found.log_e, log_e, atol=1e-9)
    assert found.cells.tolist() == sorted(strength)
    sums = dict(zip(LagSums.columns, found.sums, strict=True))
    assert sums["support"].tolist() == [len(strength[cell]) for cell in sorted(strength)]
    np.testing.assert_allclose(sums["cmi"], [sum(strength[cell]) for cell in sorted(strength)], atol=1e-12)
    assert total.nodes.tolist() == np.bincount(sequences.ids, minlength=6).tolist()
    assert (total.counts.n_cases, total.counts.n_cases_skipped) == (40, int((sequences.lengths < 2).sum()))


def test_any_cut_and_any_order_of_adding_gives_the_same_bits(weighing):
    _, task, units = weighing
    whole = sum(units, task.nothing(DENSITY))
    assert len(whole.blocks) == len(units).bit_count()  # as few as there are ones in the number of units
    rng = np.random.default_rng(0)
    for _ in range(20):
        waiting = [units[i] for i in rng.permutation(len(units))]
        while len(waiting) > 1:
            one, other = (waiting.pop(int(rng.integers(len(waiting)))) for _ in range(2))
            waiting.append(one + other)
        same_bits(waiting[0], whole)


def test_an_order_of_its_own_would_not_give_the_same_bits(weighing):
    """What the units are for: added from left to right and from right to left, the same numbers differ."""
    _, _, units = weighing
    blocks = [unit.total() for unit in units]
    left, right = blocks[0], blocks[-1]
    for block in blocks[1:]:
        left = left.plus(block)
    for block in blocks[-2::-1]:
        right = right.plus(block)
    assert left.log_e.tobytes() != right.log_e.tobytes()
    np.testing.assert_allclose(left.log_e, right.log_e, atol=1e-12)


def test_workers_with_ranges_of_their_own_give_the_same_bits(weighing):
    sequences, task, units = weighing
    whole = sum(units, task.nothing(DENSITY))
    for cuts in ([0, 1, len(units)], [0, 2, 3, len(units) - 1, len(units)]):
        total = task.nothing(DENSITY)
        for low, high in reversed(list(zip(task.bounds[cuts[:-1]], task.bounds[cuts[1:]], strict=True))):
            frame, counts = task(DENSITY, int(low), sequences.take(range(low, high)))
            total += task.read(DENSITY, frame, counts)
        same_bits(total, whole)


def test_what_cannot_be_added_is_refused(weighing):
    _, _, units = weighing
    both = units[0] + units[1]
    for again in (units[0], both):
        with pytest.raises(ConfigError, match="share some"):
            both + again
    with pytest.raises(ConfigError, match="same types and horizon"):
        both + Partial.empty(6, horizon=5)


def test_a_file_holds_all_of_it(weighing, tmp_path):
    _, task, units = weighing
    some = units[0] + units[3] + units[1]
    some.to_frame().write_parquet(tmp_path / "part.parquet")
    again = task.read(DENSITY, pl.read_parquet(tmp_path / "part.parquet"), some.counts)
    assert again.blocks.keys() == some.blocks.keys()
    same_bits(again, some)
    nothing = task.nothing(DENSITY)
    same_bits(task.read(DENSITY, nothing.to_frame(), Counts()), nothing)


@pytest.mark.parametrize("level", [None, 1])
def test_with_parts_on_disk_and_in_memory_the_same_table(small_units, tmp_path, level, monkeypatch):
    monkeypatch.setattr("sequela.execution.chunks.Chunks.seconds", 0.0)
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
    assert memory.run["arguments"]["folds"] == 2
    assert disk.pairs.equals(memory.pairs)
    assert load_population(tmp_path / "out").lags.equals(memory.lags)
    assert disk.nodes.equals(memory.nodes)
    assert disk.run["counts"] == memory.run["counts"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(ConfigError, match="already holds a result"):
        discover_population(both, log, out=tmp_path / "out", progress=False)


def test_an_interrupted_weighing_goes_on(small_units, tmp_path, monkeypatch):
    monkeypatch.setattr("sequela.execution.chunks.Chunks.seconds", 0.0)
    whole = discover_population(DENSITY, LOG, cases="all", particles=4, progress=False)
    real, left, weighed = Weighing._weigh, [3], []

    def weigh(self, density, unit, cases, groups):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        weighed.append(unit)
        return real(self, density, unit, cases, groups)

    monkeypatch.setattr(Weighing, "_weigh", weigh)
    arguments = {"cases": "all", "particles": 4, "out": tmp_path / "out", "progress": False}
    with pytest.raises(KeyboardInterrupt):
        discover_population(DENSITY, LOG, **arguments)
    left[0] = 1000
    monkeypatch.setattr("sequela.discovery.weigh.calibration", None)  # the shift is kept too
    found = discover_population(DENSITY, LOG, **arguments)
    assert weighed == sorted(set(weighed))  # no unit twice
    assert found.pairs.equals(whole.pairs)
    assert found.run["counts"] == whole.run["counts"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_parts_of_another_job_are_not_taken_up(small_units, tmp_path, monkeypatch):
    monkeypatch.setattr("sequela.execution.chunks.Chunks.seconds", 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sequela.discovery.weigh._together", None)  # stops when all is weighed
        with pytest.raises(TypeError):
            discover_population(DENSITY, LOG, cases="all", particles=4, seed=1, out=tmp_path / "out", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == [".out.weighing"]
    found = discover_population(DENSITY, LOG, cases="all", particles=4, out=tmp_path / "out", progress=False)
    assert found.pairs.equals(discover_population(DENSITY, LOG, cases="all", particles=4, progress=False).pairs)


@pytest.mark.parametrize("cells", [7, 200, 2**22])
def test_forecasts_of_many_cases_are_those_of_each(cells, monkeypatch):
    monkeypatch.setattr("sequela.evidence.bets._CELLS", cells)
    sequences = SequenceSet.from_log(LOG, WORLD.vocabulary)
    calls = []
    real = DENSITY.conditional_many
    monkeypatch.setattr(DENSITY, "conditional_many", lambda *given: calls.append(1) or real(*given))
    together = list(forecasts_many(DENSITY, sequences, 4))
    n_together = len(calls)
    apart = [rows for case in sequences for rows in forecasts(DENSITY, case, 4)]
    for name in ("causes", "positions", "targets", "log_p", "log_q"):
        joined, single = (np.concatenate([getattr(rows, name) for rows in some]) for some in (together, apart))
        assert joined.tobytes() == single.tobytes()
    if cells == 2**22:
        assert n_together == 1  # short cases share a call


def test_codes_of_groups_are_named(weighing):
    _, _, units = weighing
    groups = Groups.at_level(WORLD.vocabulary, None)
    strength, evidence, nodes = units[0].tables(groups)
    block = units[0].total()
    names = np.array(WORLD.vocabulary.names)
    index = {name: i for i, name in enumerate(names)}
    u, v = (np.array([index[name] for name in evidence[column]], np.int32) for column in ("cause", "effect"))
    assert pair_codes(u, v, 6).tolist() == block.pairs.tolist()
    assert strength.height == len(block.cells)
    assert strength["lag"].min() >= 1
    assert strength["lag"].max() <= 4
    assert nodes["count"].sum() == units[0].nodes.sum()
