"""A model that only answers `conditional` is enough: its defaults equal those that were written to be fast."""

import numpy as np
import pytest

import sequela as sq
from conftest import tiny_llama, tiny_window, vocabulary_of
from sequela.density.base import Branches, Density
from sequela.density.registry import backbone_of
from sequela.density.runtime.network_density import density_cost, runtime_of
from sequela.errors import ConfigError
from sequela.worlds.softmax import SoftmaxWorld

V, LENGTH = 7, 18
VOCABULARY = vocabulary_of(V)
RNG = np.random.default_rng(0)
IDS = RNG.integers(0, V, LENGTH).astype(np.int32)
TIMES = np.cumsum(RNG.uniform(0, 9, LENGTH))


class Brought(Density):
    """A model that somebody brings: the facts and one method."""

    def __init__(self, model):
        self.model = model
        for fact in ("vocabulary", "memory", "knows_hidden", "uses_times"):
            setattr(self, fact, getattr(model, fact))

    def conditional(self, ids, positions, times=None):
        return self.model.conditional(ids, positions, times)


MODELS = {
    "window": tiny_window(VOCABULARY, head=0.5),
    "window with times": tiny_window(VOCABULARY, wide=True, n_knots=5, longest_seconds=80.0, direct=0.7),
    "llama, short context": tiny_llama(VOCABULARY, context=12),
    "world": SoftmaxWorld.random(V, horizon=3, seed=0),
}


def tasks():
    rng = np.random.default_rng(1)
    for n, steps in ((1, 1), (9, 4), (20, 6)):
        tails = rng.integers(0, V, (n, steps)).astype(np.int32)
        yield Branches(IDS, rng.integers(0, LENGTH, n), tails, TIMES)
    hidden = np.full((3, 2), VOCABULARY.hidden_id, np.int32)
    yield Branches(IDS[:5], np.array([0, 3, 4]), hidden, TIMES[:5])
    yield Branches(IDS[:2], np.zeros(0, np.int64), np.zeros((0, 2), np.int32), TIMES[:2])


@pytest.mark.parametrize("name", MODELS)
def test_the_defaults_are_twins_of_the_fast_ways(name):
    model = MODELS[name]
    brought = Brought(model)
    given = list(tasks())
    for slow, fast in zip(brought.score_both(given), model.score_both(given), strict=True):
        for one, other in zip(slow, fast, strict=True):
            assert one.shape == other.shape
            assert np.allclose(one, other, atol=2e-5, equal_nan=True)
    assert np.isnan(brought.score_branches_many(given)[2]).any()
    where = [np.array([0, 4, 2]), np.array([1])]
    for one, other in zip(
        brought.conditional_many([IDS, IDS[:3]], where, [TIMES, TIMES[:3]]),
        model.conditional_many([IDS, IDS[:3]], where, [TIMES, TIMES[:3]]),
        strict=True,
    ):
        assert np.allclose(one, other, atol=2e-5)
    assert brought.score(np.zeros(0, np.int32), np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("design", ["atomic", "leave-one-out", "masked", "staircase"])
def test_discovery_with_a_model_that_was_brought(design):
    model = MODELS["window"]
    settings = {"design": design, "particles": 4, "delta": 0.0, "horizon": 3}
    graphs = [sq.discover(one, [f"e{i}" for i in IDS], **settings) for one in (Brought(model), model)]
    assert len(graphs[0]) == len(graphs[1]) > 0
    assert np.allclose(graphs[0].edges["cmi_nats"], graphs[1].edges["cmi_nats"], atol=1e-5)


def test_what_it_need_not_tell(tmp_path):
    brought = Brought(MODELS["window"])
    assert brought.fingerprint is None
    assert runtime_of(brought).device == "cpu"
    assert density_cost(brought, 10, 3).step_flops is None
    assert dict(brought.with_info({"a": 1}).info) == {"a": 1}
    assert dict(brought.info) == {}
    with pytest.raises(ConfigError, match="Brought cannot be saved"):
        backbone_of(brought)


def test_the_branches_of_a_brought_model_are_checked():
    brought = Brought(MODELS["window"])
    with pytest.raises(ConfigError, match="starts must lie in"):
        brought.score_branches(IDS, np.array([LENGTH]), np.zeros((1, 1), np.int32))
    with pytest.raises(ConfigError, match="event types"):
        brought.score(np.array([V], np.int32))


def test_the_base_class_knows_nothing_of_machines():
    words = ("device", "precision", "bytes", "flops", "compil", "batch", "reserve")
    for kind in (Density, SoftmaxWorld):
        assert not [name for name in dir(kind) if any(word in name for word in words)]
