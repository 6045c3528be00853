"""The number of threads: chosen by measurement, the user's choice stands, nothing leaks, results stay."""

import os

import numpy as np
import pytest
import torch

from sequela import discover, fit, read_log
from sequela.density.runtime import threads
from sequela.density.runtime.threads import fastest, most_threads, refresh_threads, right_threads
from sequela.worlds.softmax import SoftmaxWorld


@pytest.fixture
def untouched(monkeypatch):
    """As when the user has chosen nothing, on a machine of four processors (whatever this one has)."""
    for name in threads._USER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(threads, "_container_limit", lambda: 64)
    monkeypatch.setattr(threads, "_state", threads._State())
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield monkeypatch
    torch.set_num_threads(before)


def speeds(monkeypatch, **steps):
    asked = []

    def measure(n):
        asked.append(n)
        return steps[f"n{n}"], 1.0

    monkeypatch.setattr(threads, "measure", measure)
    return asked


def test_fastest_wins_unless_the_gain_is_small(monkeypatch):
    speeds(monkeypatch, n1=100, n2=190, n4=200)
    assert fastest([1, 2, 4]) == 2
    speeds(monkeypatch, n1=100, n2=60, n4=30)
    assert fastest([1, 2, 4]) == 1
    speeds(monkeypatch, n1=100, n2=110, n4=300)
    assert fastest([1, 2, 4]) == 4


def test_chosen_inside_and_restored_outside(untouched):
    asked = speeds(untouched, n1=100, n2=190, n4=200)
    with right_threads():
        assert torch.get_num_threads() == 2
        with right_threads():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 4
    assert sorted(set(asked)) == [1, 2, 4]
    asked.clear()
    with pytest.raises(KeyError), right_threads():
        raise KeyError
    assert torch.get_num_threads() == 4
    assert not asked  # the measurement still holds


def test_measured_again_when_old(untouched):
    speeds(untouched, n1=100, n2=190, n4=200)
    with right_threads():
        speeds(untouched, n1=100, n2=50, n4=50)
        refresh_threads()
        assert torch.get_num_threads() == 2
        untouched.setattr(threads, "GOOD_FOR_SECONDS", -1.0)
        refresh_threads()
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 4
    refresh_threads()  # outside: nothing
    assert torch.get_num_threads() == 4


def test_the_users_choice_stands(untouched):
    asked = speeds(untouched, n1=100, n2=190, n4=200)
    untouched.setenv("OMP_NUM_THREADS", "4")
    with right_threads():
        assert torch.get_num_threads() == 4
    untouched.delenv("OMP_NUM_THREADS")
    torch.set_num_threads(3)
    with right_threads():
        assert torch.get_num_threads() == 3
    assert not asked


def test_container_limit_counts(untouched):
    untouched.setattr(threads, "_container_limit", lambda: 3)
    assert most_threads() == 3
    asked = speeds(untouched, n1=100, n2=190, n3=400)
    with right_threads():
        assert torch.get_num_threads() == 3
    assert sorted(set(asked)) == [1, 2, 3]


@pytest.mark.parametrize("backbone", ["window", "llama"])
def test_weights_and_graph_do_not_depend_on_threads(backbone):
    world = SoftmaxWorld.random(12, horizon=3, seed=0)
    sequences = world.sample(40, 12, seed=1)
    log = read_log(world.to_log(sequences))
    before = torch.get_num_threads()
    found = []
    for n in (1, 2):
        torch.set_num_threads(n)
        torch.manual_seed(n)
        rng = torch.random.get_rng_state()
        density = fit(log, backbone=backbone, max_steps=5, progress=False)
        graph = discover(density, log.case(str(sequences.case_names[0])), particles=4, delta=0.0)
        assert torch.equal(torch.random.get_rng_state(), rng)
        found.append((density.fingerprint, graph.edges["cmi_nats"].to_numpy()))
    torch.set_num_threads(before)
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])
