"""A long case that is scored in stretches has the graph of the case scored at once, however short they are."""

import numpy as np
import pytest

from conftest import tiny_window
from sequela.discovery.discover import discover
from sequela.effects import stretches
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(30, horizon=3, decay=0.2, sparsity=0.6, seed=0)
LENGTH = 60


def long_case(ties):
    rng = np.random.default_rng(1)
    frame = WORLD.to_log(WORLD.sample(1, LENGTH, seed=2))
    sizes = {"none": [1] * LENGTH, "some": rng.choice([1, 1, 2, 4], LENGTH), "many": [7] * LENGTH}[ties]
    return read_log(frame.with_columns(time=np.repeat(np.arange(LENGTH), sizes)[:LENGTH] * 60.0))


@pytest.mark.parametrize("ties", ["none", "some", "many"])
@pytest.mark.parametrize(
    "settings",
    [
        {"particles": 20},  # screened
        {"particles": 3, "context": 25, "horizon": 6, "statistic": "both"},
        {"design": "leave-one-out", "particles": 3},
        {"design": "staircase", "particles": 3},
        {"particles": 3, "proposal": "model", "horizon_time": "3min", "exclude_effect_type": True},
    ],
)
def test_stretches_change_nothing(ties, settings, monkeypatch):
    density, case = tiny_window(WORLD.vocabulary, n_knots=6, longest_seconds=500.0), long_case(ties)
    whole = discover(density, case, delta=1e-4, **settings)
    assert len(whole) > 5
    given = read_stretches(monkeypatch)
    for most in (1, 45, 100):
        monkeypatch.setattr(stretches, "MOST_PAIRS", most)
        found = discover(density, case, delta=1e-4, **settings)
        assert found == whole
        assert (found.n_tested, found.n_clamped, found.counts) == (whole.n_tested, whole.n_clamped, whole.counts)
    assert given[0] >= given[-1] > 1


def read_stretches(monkeypatch):
    """Return a list that gets the number of stretches of each graph."""
    from sequela.graphs.instance import InstanceGraph

    given, real = [], InstanceGraph.from_stretches.__func__

    def counted(cls, case, vocabulary, decided, **more):
        decided = list(decided)
        given.append(len(decided))
        return real(cls, case, vocabulary, decided, **more)

    monkeypatch.setattr(InstanceGraph, "from_stretches", classmethod(counted))
    return given
