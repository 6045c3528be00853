"""16-bit hidden layers: close to float32, chosen only where asked for, never for an exact density."""

import numpy as np
import pytest
import torch

from sequela.density import base
from sequela.density.checkpoint import load_density
from sequela.density.training.fit import fit
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(10, horizon=3, decay=0.3, seed=0)
LOG = read_log(WORLD.to_log(WORLD.sample(60, (4, 15), seed=1)))


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
@pytest.mark.parametrize("backbone", ["window", "llama"])
def test_16_bits_are_close_and_can_be_undone(backbone, half, tmp_path, monkeypatch):
    density = fit(LOG, backbone=backbone, max_steps=60, device="cpu", progress=False, out=tmp_path / "model")
    ids = np.random.default_rng(0).integers(0, 10, 30).astype(np.int32)
    exact, exact_name = density.score(ids), density.fingerprint
    assert density.use_precision(half) == half
    rough = density.score(ids)
    assert 0 < np.abs(rough - exact).max() < base.PRECISION_TOLERANCE
    assert density.fingerprint != exact_name
    branches = density.score_branches(ids, np.arange(20), ids[np.arange(20)[:, None] + np.arange(4)])
    assert np.allclose(branches, rough[np.arange(20)[:, None] + 1 + np.arange(4)], atol=0.05)
    assert np.array_equal(load_density(tmp_path / "model", device="cpu", precision=half).score(ids), rough)
    assert density.use_precision("float32") == "float32"
    assert np.array_equal(density.score(ids), exact)
    # "auto": only where the hardware has it, and only while it is close.
    monkeypatch.setattr(base, "fast_half", lambda device: None)
    assert density.use_precision("auto") == "float32"
    monkeypatch.setattr(base, "fast_half", lambda device: half)
    assert density.use_precision("auto") == half
    monkeypatch.setattr(base, "PRECISION_TOLERANCE", 0.0)
    assert density.use_precision("auto") == "float32"
    assert np.array_equal(density.score(ids), exact)
    assert all(tensor.dtype == torch.float32 for tensor in weights(density))


def test_float16_is_refused_where_numbers_outgrow_it(monkeypatch):
    density = fit(LOG, max_steps=20, device="cpu", progress=False)
    density.network.mix.weight.mul_(1e7)
    exact = density.score(np.arange(10, dtype=np.int32))
    assert np.isfinite(exact).all()
    with pytest.raises(ConfigError, match="exceed what float16 can hold"):
        density.use_precision("float16")
    assert density.precision == "float32"
    assert np.array_equal(density.score(np.arange(10, dtype=np.int32)), exact)
    monkeypatch.setattr(base, "fast_half", lambda device: "float16")
    assert density.use_precision("auto") == "float32"


def weights(density):
    return list((density.network if hasattr(density, "network") else density.model).parameters())


def test_what_is_refused():
    with pytest.raises(ConfigError, match="exact"):
        WORLD.use_precision("bfloat16")
    with pytest.raises(ConfigError, match="did you mean 'bfloat16'"):
        WORLD.use_precision("bfloat61")
