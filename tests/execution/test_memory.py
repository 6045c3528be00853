"""The memory budget: refused when too small, held to when not, without a trace in the result; the plan counts right."""

import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from conftest import tiny_llama, tiny_window, vocabulary_of
from sequela.discovery.discover import discover_log, estimate
from sequela.discovery.plan import plan_discovery
from sequela.discovery.population import discover_population
from sequela.effects.encoding import encode_log
from sequela.effects.settings import Settings
from sequela.errors import ConfigError, OutOfMemoryBudgetError
from sequela.events.log import read_log
from sequela.events.sequences import Case
from sequela.execution.memory import parse_bytes
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(12, horizon=3, decay=0.2, sparsity=0.6, seed=0)
LOG = read_log(WORLD.to_log(WORLD.sample(30, (1, 25), seed=1)))


def window(**times):
    return tiny_window(WORLD.vocabulary, **times)


def llama(n_types=12, context=16):
    return tiny_llama(vocabulary_of(n_types), context=context, knows_hidden=False, max_position_embeddings=600)


DENSITIES = {
    "window": window(),
    "window with times": window(n_knots=6, longest_seconds=500.0),
    "llama": llama(),
    "world": WORLD,
}


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("design", ["atomic", "leave-one-out", "staircase"])
def test_the_budget_changes_nothing(name, design):
    density = DENSITIES[name]
    settings = {"design": design, "particles": 6, "delta": 0.005, "horizon": 3, "progress": False}
    found = [
        discover_log(density, LOG, memory_budget=budget, batch_size=size, **settings).edges
        for budget, size in (("30MB", 1), ("60MB", None), ("4GB", 50))
    ]
    assert found[0].height > 5
    for other in found[1:]:
        assert other.equals(found[0])


@pytest.mark.parametrize("budget", ["1 MB", 30_000_000])
def test_a_budget_that_is_too_small_is_refused_with_one_that_is_not(budget):
    density, case = llama(n_types=5000, context=511), Case("x", np.arange(400, dtype=np.int32), None)
    with pytest.raises(OutOfMemoryBudgetError, match=r"needs at least (\d+) MB .* set memory_budget to") as caught:
        estimate(density, case, particles=500, horizon=200, memory_budget=budget)
    enough = str(caught.value).rsplit("set memory_budget to '")[1].split("'")[0]
    horizon = density.max_tail and 200
    Settings(particles=500, horizon=horizon, memory_budget=enough).allotment(density, horizon, 400)


@pytest.mark.parametrize(("ties", "says"), [(1, "24 MB (60,000 events x 384 B)"), (4, "6 MB (60,000 events x 96 B)")])
def test_a_case_too_long_to_be_weighed_is_refused_before_anything_is_done(ties, says):
    """Bets on causes, and those on effects where events share their time, go through a case as a whole."""
    place = pl.int_range(60_000, eager=True)
    names = pl.Series(WORLD.vocabulary.names)[place % WORLD.vocabulary.n_types]
    log = read_log(pl.DataFrame({"case": "one", "event": names, "time": place // ties}))
    with pytest.raises(OutOfMemoryBudgetError, match=re.escape(f"weighing the longest case holds {says}")):
        discover_population(window(), log, cases="all", horizon=3, memory_budget="5MB", progress=False)


@pytest.mark.parametrize("value", ["much", "-2GB", 0, "3XB", True])
def test_budgets_that_are_none(value):
    with pytest.raises(ConfigError, match="memory_budget"):
        parse_bytes(value)


MEASURE = """
import ctypes
import sys
sys.path[:0] = {here!r}
from pathlib import Path
import numpy as np
from test_memory import llama, window
from sequela.discovery.discover import estimate
from sequela.events.sequences import Case
def status(field):
    return next(int(x.split()[1]) * 1024 for x in Path("/proc/self/status").read_text().splitlines() if field in x)
ids = np.random.default_rng(0).integers(0, 12, {length}).astype(np.int32)
density, case = {density}, Case("x", ids, np.arange({length}) * 9.0)
estimate(density, Case("x", case.ids[:20], case.times[:20]), particles=4, horizon=2)  # libraries load
getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # give back what is free, so that what is used again counts as growth
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
estimate(density, case, particles={particles}, horizon={horizon}, design={design!r}, memory_budget={budget})
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("density", "design", "length", "particles", "horizon", "budget"),
    [
        pytest.param("llama(n_types=29_100, context=511)", "atomic", 64, 32, 6, 100_000_000, marks=pytest.mark.slow),
        pytest.param(
            "llama(n_types=3000, context=511)", "leave-one-out", 300, 64, 8, 150_000_000, marks=pytest.mark.slow
        ),
        pytest.param("window()", "atomic", 4000, 11, 4, 60_000_000, marks=pytest.mark.slow),
        ("window(n_knots=6, longest_seconds=500.0)", "atomic", 2000, 11, 4, 60_000_000),
    ],
)
def test_the_budget_is_held(density, design, length, particles, horizon, budget, tmp_path):
    from pathlib import Path

    code = MEASURE.format(
        here=[str(folder) for folder in Path(__file__).parents[:2]],
        density=density, design=design, length=length, particles=particles,
        horizon=horizon, budget=budget,
    )  # fmt: skip
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 <= int(found.stdout.split()[-1]) <= budget


class Counting:
    """Counts what a density is asked."""

    def __init__(self, density, monkeypatch):
        self.steps = self.branches = 0
        alone, both = density.score_branches_many, density.score_both
        monkeypatch.setattr(density, "score_branches_many", lambda asked: self.count(asked, alone(asked)))
        monkeypatch.setattr(density, "score_both", lambda asked: ((got := both(asked))[0], self.count(asked, got[1])))

    def count(self, branches, found):
        self.branches += sum(len(one.starts) for one in branches)
        self.steps += sum(int(np.isfinite(answer).sum()) for answer in found)
        return found


@pytest.mark.parametrize("design", ["atomic", "leave-one-out", "masked", "staircase"])
@pytest.mark.parametrize("context", [0, 3])
def test_the_plan_counts_what_is_done(design, context, monkeypatch):
    density, settings = window(), {"design": design, "particles": 5, "horizon": 3, "context": context}
    plan = plan_discovery(density, LOG, calibrate=False, **settings)
    seen = Counting(density, monkeypatch)
    run = discover_log(density, LOG, progress=False, **settings).run
    assert plan.n_pairs == run.counts.n_pairs_tested
    assert plan.n_branches == seen.branches
    assert plan.n_steps == seen.steps + LOG.n_events


def test_the_plan_tells_the_time_and_the_cost():
    plan = plan_discovery(window(), LOG)
    assert plan.seconds > 0
    weights = 2 * (64 * 32 + 32 + 2 * (32 * 128 + 64 * 32 + 32) + 32 + 32 * 12 + 12)
    assert plan.flops == weights * plan.n_steps
    assert plan.peak_bytes <= plan.budget_bytes
    assert any("floating-point" in line for line in plan.lines())
    assert encode_log(WORLD, LOG).n_cases == plan.n_cases
    assert plan_discovery(WORLD, LOG, calibrate=False).flops is None
