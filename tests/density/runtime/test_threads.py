"""The number of threads: one, unless the user chose; nothing leaks, results stay."""

import os

import numpy as np
import pytest
import torch

from sequela import discover, fit, read_log
from sequela.density.runtime.threads import right_threads
from sequela.worlds.softmax import SoftmaxWorld


@pytest.fixture
def untouched(monkeypatch):
    """As when the user has chosen nothing, on a machine of four processors (whatever this one has)."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield monkeypatch
    torch.set_num_threads(before)


def test_one_inside_and_restored_outside(untouched):
    with right_threads():
        assert torch.get_num_threads() == 1
        with right_threads():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 4
    with pytest.raises(KeyError), right_threads():
        raise KeyError
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_the_users_variable_stands(untouched, name):
    untouched.setenv(name, "4")
    with right_threads():
        assert torch.get_num_threads() == 4


def test_a_number_that_the_user_set_stands(untouched):
    torch.set_num_threads(3)
    with right_threads():
        assert torch.get_num_threads() == 3


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
