"""What scoring costs, and batches that keep to a limit: values that say it, and densities that stay as they are."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import tiny_llama, tiny_window, vocabulary_of
from sequela.density.runtime.network_density import Batches, density_cost, runtime_of, within_memory
from sequela.worlds.softmax import SoftmaxWorld

V = 500
VOCABULARY = vocabulary_of(V)
LLAMA, WINDOW = tiny_llama(VOCABULARY, context=200), tiny_window(VOCABULARY)
IDS = np.random.default_rng(0).integers(0, V, 150).astype(np.int32)


def test_operations_by_hand():
    weights = 4 * 16 * 32 + 32 + 2 * (32 * 128 + 64 * 32 + 32) + 32 + 32 * V + V
    assert density_cost(WINDOW).step_flops == 2 * weights
    layer = 4 * 32 * 32 + 3 * 32 * 64 + 2 * 32
    assert density_cost(LLAMA).step_flops == 2 * (2 * layer + 32 + 32 * V)
    assert density_cost(SoftmaxWorld.random(5, horizon=2, seed=0)).step_flops is None


@pytest.mark.parametrize("longest", [5, 150, 400])
@pytest.mark.parametrize("horizon", [1, 8, 100])
def test_costs_grow_from_the_least_to_the_most(longest, horizon):
    cost = density_cost(LLAMA, longest, horizon)
    assert 0 < cost.least_bytes < cost.most_bytes
    assert density_cost(LLAMA, longest + 100, horizon + 100).least_bytes >= cost.least_bytes
    assert density_cost(WINDOW, longest, horizon) == density_cost(WINDOW, 1, 1)
    assert density_cost(WINDOW).least_bytes == density_cost(WINDOW).most_bytes


def test_a_limit_makes_batches_smaller_and_changes_no_result():
    cost, before = density_cost(LLAMA, 150, 8), LLAMA.runtime
    tails = IDS[np.arange(100)[:, None] + np.arange(8)]
    expected = LLAMA.score_branches(IDS, np.arange(100), tails)
    sizes = []
    for limit in (cost.most_bytes, (cost.least_bytes + cost.most_bytes) // 2, cost.least_bytes, 1):
        small = within_memory(LLAMA, limit, longest=150, horizon=8)
        sizes.append(small.runtime.batches)
        assert np.allclose(small.score_branches(IDS, np.arange(100), tails), expected, atol=1e-5, equal_nan=True)
        assert small.fingerprint == LLAMA.fingerprint
        assert within_memory(small, cost.most_bytes, longest=150, horizon=8).runtime.batches == sizes[0]
    assert sizes[0].n_tokens > sizes[1].n_tokens >= sizes[2].n_tokens
    assert sizes[2] == sizes[3]
    assert LLAMA.runtime == before


def test_one_density_does_not_change_another():
    one = LLAMA.with_runtime(replace(LLAMA.runtime, batches=Batches(192, 64, 16)))
    half = one.with_runtime(replace(one.runtime, precision="bfloat16"))
    assert [runtime_of(each).precision for each in (LLAMA, one, half)] == ["float32", "float32", "bfloat16"]
    assert [runtime_of(each).batches is None for each in (LLAMA, one, half)] == [True, False, False]
    assert np.array_equal(LLAMA.score(IDS), one.with_runtime(LLAMA.runtime).score(IDS))
    assert not np.array_equal(LLAMA.score(IDS), half.score(IDS))
    assert LLAMA.model is half.model


def test_densities_without_batches_are_returned_as_they_are():
    world = SoftmaxWorld.random(5, horizon=2, seed=0)
    for density in (WINDOW, world):
        assert within_memory(density, 1, longest=10, horizon=2) is density
