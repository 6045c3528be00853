"""16-bit hidden layers: close to float32, chosen only where asked for, in a density of its own."""

import numpy as np
import pytest
import torch

from sequela.density.checkpoint import load_density
from sequela.density.runtime import precision as precisions
from sequela.density.runtime.precision import with_precision
from sequela.density.training.fit import fit
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(10, horizon=3, decay=0.3, seed=0)
LOG = read_log(WORLD.to_log(WORLD.sample(60, (4, 15), seed=1)))


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
@pytest.mark.parametrize("backbone", ["window", "llama"])
def test_16_bits_are_close_and_leave_the_density_as_it_is(backbone, half, tmp_path, monkeypatch):
    density = fit(LOG, backbone=backbone, max_steps=60, device="cpu", progress=False, out=tmp_path / "model")
    ids = np.random.default_rng(0).integers(0, 10, 30).astype(np.int32)
    exact, exact_name = density.score(ids), density.fingerprint
    halved = with_precision(density, half)
    assert halved.runtime.precision == half
    rough = halved.score(ids)
    assert 0 < np.abs(rough - exact).max() < precisions.PRECISION_TOLERANCE
    assert halved.fingerprint != exact_name
    branches = halved.score_branches(ids, np.arange(20), ids[np.arange(20)[:, None] + np.arange(4)])
    assert np.allclose(branches, rough[np.arange(20)[:, None] + 1 + np.arange(4)], atol=0.05)
    assert np.array_equal(load_density(tmp_path / "model", device="cpu", precision=half).score(ids), rough)
    for back in (density, with_precision(halved, "float32")):
        assert back.runtime.precision == "float32"
        assert np.array_equal(back.score(ids), exact)
        assert back.fingerprint == exact_name
    # "auto": only where the hardware has it, and only while it is close.
    monkeypatch.setattr(precisions, "fast_half", lambda device: None)
    assert with_precision(density, "auto").runtime.precision == "float32"
    monkeypatch.setattr(precisions, "fast_half", lambda device: half)
    assert with_precision(density, "auto").runtime.precision == half
    monkeypatch.setattr(precisions, "PRECISION_TOLERANCE", 0.0)
    assert with_precision(density, "auto").runtime.precision == "float32"
    assert all(tensor.dtype == torch.float32 for tensor in weights(density))


def test_float16_is_refused_where_numbers_outgrow_it(monkeypatch):
    density = fit(LOG, max_steps=20, device="cpu", progress=False)
    density.network.mix.weight.mul_(1e7)
    exact = density.score(np.arange(10, dtype=np.int32))
    assert np.isfinite(exact).all()
    with pytest.raises(ConfigError, match="exceed what float16 can hold"):
        with_precision(density, "float16")
    assert np.array_equal(density.score(np.arange(10, dtype=np.int32)), exact)
    monkeypatch.setattr(precisions, "fast_half", lambda device: "float16")
    assert with_precision(density, "auto").runtime.precision == "float32"


def weights(density):
    return list((density.network if hasattr(density, "network") else density.model).parameters())


def test_what_is_refused():
    with pytest.raises(ConfigError, match="SoftmaxWorld: it has no network"):
        with_precision(WORLD, "bfloat16")
    with pytest.raises(ConfigError, match="did you mean 'bfloat16'"):
        with_precision(WORLD, "bfloat61")
