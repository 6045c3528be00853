"""Compiled code: within its tolerance of code as it is, never in the way where it cannot be had, and on record."""

import json

import numpy as np
import pytest

from sequela.density import base
from sequela.density.runtime import compiled
from sequela.density.training.fit import fit
from sequela.discovery.stream import discover_to
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(10, horizon=3, decay=0.3, seed=0)
LOG = read_log(WORLD.to_log(WORLD.sample(40, (4, 15), seed=1)))
IDS = np.random.default_rng(0).integers(0, 10, 30).astype(np.int32)
SECONDS = np.cumsum(np.random.default_rng(1).uniform(0, 5, 30))


@pytest.fixture(scope="module")
def density():
    return fit(LOG, max_steps=40, device="cpu", progress=False)


@pytest.fixture
def plain(density):
    yield density
    density.use_precision("float32")


def compare(density, backend, tolerance):
    before, name = density.score(IDS, SECONDS), density.fingerprint
    assert density.use_compilation(backend=backend)
    assert density.compiled
    assert density.fingerprint != name  # what was begun without is not gone on with
    assert np.abs(density.score(IDS, SECONDS) - before).max() <= tolerance
    where = np.arange(5)
    whole = density.conditional(IDS, where, SECONDS)
    assert np.allclose(np.take_along_axis(whole, IDS[:5, None], 1)[:, 0], before[:5], atol=max(tolerance, 1e-5))
    assert density.use_compilation(False) is False
    assert np.array_equal(density.score(IDS, SECONDS), before)
    assert density.fingerprint == name


def test_it_runs_through_the_compiler_and_can_be_undone(plain):
    compare(plain, "aot_eager", 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("times", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_compiled_code_is_close(times, precision):
    world = SoftmaxWorld.random(10, horizon=3, decay=0.3, seed=0)
    frame = world.to_log(world.sample(40, (4, 15), seed=1))
    import polars as pl

    frame = frame.with_columns(pl.int_range(pl.len()).cast(pl.Float64).alias("time"))
    own = fit(read_log(frame, time="time"), max_steps=40, device="cpu", times=times, progress=False)
    own.use_precision(precision)
    tolerance = base.COMPILED_TOLERANCE if precision == "float32" else base.PRECISION_TOLERANCE
    compare(own, "inductor", tolerance)


def test_where_compiling_fails_it_says_so_and_runs_as_before(plain, monkeypatch):
    before = plain.score(IDS)
    with pytest.warns(UserWarning, match="compiling failed, computing without"):
        assert plain.use_compilation(backend="no such backend") is False
    monkeypatch.setattr(compiled, "COMPILED_TOLERANCE", -1.0)
    with pytest.warns(UserWarning, match="more than -1: computing without"):
        assert plain.use_compilation(backend="eager") is False
    assert not plain.compiled
    assert np.array_equal(plain.score(IDS), before)


def test_another_precision_undoes_it(plain):
    plain.use_compilation(backend="eager")
    plain.use_precision("bfloat16")
    assert not plain.compiled


def test_only_the_window_density_can():
    with pytest.raises(ConfigError, match="cannot be compiled"):
        WORLD.use_compilation()
    assert WORLD.use_compilation(False) is False
    with compiled.compilation(WORLD, "auto", 10**12) as on:
        assert not on
    with pytest.raises(ConfigError, match="did you mean 'auto'"), compiled.compilation(WORLD, "auot", 1):
        pass


def test_auto_is_for_large_jobs_on_cuda_and_is_undone(plain, monkeypatch):
    asked = []
    monkeypatch.setattr(plain, "use_compilation", lambda on=True: asked.append(on), raising=False)
    large = int(compiled.WORTH_COMPILING_FLOPS / plain.step_flops) + 1
    for device, n_steps in (("cpu", large), ("mps", large), ("cuda", large - 2), ("cuda", large), ("cuda:1", large)):
        monkeypatch.setattr(plain, "device", device)
        with compiled.compilation(plain, "auto", n_steps):
            asked.append(f"{device} {n_steps - large}")
    assert asked == ["cpu 0", "mps 0", "cuda -2", True, "cuda 0", True, "cuda:1 0"]


def test_a_run_says_what_it_used(plain, tmp_path, monkeypatch):
    used, whole = [], type(plain).use_compilation

    def quick(self, on=True, *, backend="aot_eager"):
        used.append(on)
        return whole(self, on, backend=backend)

    monkeypatch.setattr(type(plain), "use_compilation", quick)
    found = [
        discover_to(plain, LOG, tmp_path / str(choice), particles=4, progress=False, compile=choice)
        for choice in (False, True, "auto")
    ]
    assert used == [True, False]
    assert not plain.compiled
    for result, on in zip(found, (False, True, False), strict=True):
        record = json.loads((result.folder / "run.json").read_text())["density"]
        assert (record["compiled"], record["precision"], record["device"]) == (on, "float32", "cpu")
    edges = [result.edges.collect() for result in found]
    assert edges[0].height > 5
    assert (
        edges[0]
        .select("case", "cause_position", "effect_position")
        .equals(edges[1].select("case", "cause_position", "effect_position"))
    )
    assert np.allclose(edges[0]["cmi_nats"], edges[1]["cmi_nats"], atol=1e-5)
    assert edges[0].equals(edges[2])
