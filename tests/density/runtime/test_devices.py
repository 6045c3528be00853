"""What other devices need, checked on a processor: no float64 (Apple's have none), the kinds of 16-bit numbers."""

import polars as pl
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sequela.density.runtime import devices
from sequela.density.runtime.precision import with_precision
from sequela.density.training.fit import fit
from sequela.density.window.network import WindowConfig, WindowNetwork
from sequela.density.window.rate_rows import _rows_by_lag, scaled_rows
from sequela.discovery.discover import discover_log
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(10, horizon=3, decay=0.3, seed=0)
FRAME = WORLD.to_log(WORLD.sample(20, (4, 10), seed=1)).with_columns(
    pl.int_range(pl.len()).cast(pl.Float64).alias("time")
)


class NoFloat64(TorchDispatchMode):
    """Fails where an operation of torch, or of its gradients, reads or gives float64."""

    def __init__(self):
        super().__init__()
        self.n_operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64:
                raise AssertionError(f"float64 in {func}")
        self.n_operations += 1
        return result


def test_the_guard_guards():
    with pytest.raises(AssertionError, match="float64"), NoFloat64():
        torch.ones(2).double()


@pytest.mark.parametrize(
    ("backbone", "precision"), [("window", "float32"), ("window", "bfloat16"), ("llama", "float32"), ("gru", "float32")]
)
def test_training_and_discovery_need_no_float64(backbone, precision):
    log = read_log(FRAME, time="time")
    with NoFloat64() as guard:
        times = backbone == "window"
        density = fit(
            log, backbone=backbone, max_steps=3, times=times, precision=precision, device="cpu", progress=False
        )
        n_training = guard.n_operations
        density = with_precision(density, precision)
        discover_log(density, log, particles=4, progress=False)
        # The model's proposal asks for whole conditionals, formed in float64 only after they have left the device.
        if backbone == "window":
            discover_log(density, log, particles=4, proposal="model", progress=False)
    assert n_training > 300
    assert guard.n_operations > n_training + 50


def test_the_table_without_embedding_bag_is_the_same():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = WindowNetwork(WindowConfig(9, 12, 5, 8, 16, wide=True))
        torch.nn.init.normal_(network.table.weight)
        windows = torch.randint(0, 12, (7, 5))
        scale = torch.randn(7, 5, requires_grad=True)
        sign = torch.randn(7, 9)
    found = []
    for way in (scaled_rows, _rows_by_lag):
        value = way(windows, network.table.weight, scale)
        found.append([value, *torch.autograd.grad((value * sign).sum(), [network.table.weight, scale])])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_device_that_is_not_here_is_refused():
    assert devices.choose_device("cpu") == "cpu"
    for name in ("quantum", "cuda:99", ""):
        with pytest.raises(ConfigError, match="device must be one that torch finds here"):
            devices.choose_device(name)


@pytest.mark.parametrize(("amx", "avx"), [(True, False), (False, True), (False, False)])
def test_which_processors_multiply_16_bits(amx, avx, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx, raising=False)
    assert devices.multiplies_bfloat16() == (amx or avx)


def test_which_16_bit_numbers(monkeypatch):
    capability = {}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability[str(device)])
    capability |= {"cuda": (9, 0), "cuda:1": (8, 0), "cuda:2": (7, 5), "cuda:3": (7, 0), "cuda:4": (6, 1)}
    found = [devices.fast_half(name) for name in (*capability, "mps")]
    assert found == ["bfloat16", "bfloat16", "float16", "float16", None, "float16"]
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=has: has)
        assert devices.fast_half("cpu") == ("bfloat16" if has else None)


@pytest.mark.parametrize(
    ("world", "rank", "first"), [(None, None, True), ("2", "0", True), ("2", "1", False), ("1", "1", True)]
)
def test_the_first_process_is_known_before_they_have_met(world, rank, first, monkeypatch):
    for name, value in (("WORLD_SIZE", world), ("RANK", rank)):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    assert devices.is_first_process() == first
