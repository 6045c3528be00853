"""Compiled code: within its tolerance of code as it is, never in the way where it cannot be had, and on record."""

import copy
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from conftest import tiny_llama
from sequela.density.runtime import compiled
from sequela.density.runtime.compiled import compiled_for, with_compilation
from sequela.density.runtime.network_density import within_memory
from sequela.density.runtime.precision import PRECISION_TOLERANCE, with_precision
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


def compare(density, compiler, tolerance):
    before, name = density.score(IDS, SECONDS), density.fingerprint
    own = with_compilation(density, compiler=compiler)
    assert own.runtime.compiled
    assert own.fingerprint != name  # what was begun without is not gone on with
    assert np.abs(own.score(IDS, SECONDS) - before).max() <= tolerance
    where = np.arange(5)
    whole = own.conditional(IDS, where, SECONDS)
    assert np.allclose(np.take_along_axis(whole, IDS[:5, None], 1)[:, 0], before[:5], atol=max(tolerance, 1e-5))
    for back in (density, with_compilation(own, False)):
        assert not back.runtime.compiled
        assert np.array_equal(back.score(IDS, SECONDS), before)
        assert back.fingerprint == name


def test_it_runs_through_the_compiler_and_leaves_the_density_as_it_is(density):
    compare(density, "aot_eager", 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("times", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_compiled_code_is_close(times, precision):
    world = SoftmaxWorld.random(10, horizon=3, decay=0.3, seed=0)
    frame = world.to_log(world.sample(40, (4, 15), seed=1))
    import polars as pl

    frame = frame.with_columns(pl.int_range(pl.len()).cast(pl.Float64).alias("time"))
    own = fit(read_log(frame, time="time"), max_steps=40, device="cpu", times=times, progress=False)
    tolerance = compiled.COMPILED_TOLERANCE if precision == "float32" else PRECISION_TOLERANCE
    compare(with_precision(own, precision), "inductor", tolerance)


def test_where_compiling_fails_it_says_so_and_runs_as_before(density, monkeypatch):
    before = density.score(IDS)
    with pytest.warns(UserWarning, match="compiling failed, computing without"):
        found = with_compilation(density, compiler="no such compiler")
    assert not found.runtime.compiled
    assert np.array_equal(found.score(IDS), before)
    monkeypatch.setattr(compiled, "COMPILED_TOLERANCE", -1.0)
    with pytest.warns(UserWarning, match="more than -1: computing without"):
        found = with_compilation(density, compiler="eager")
    assert not found.runtime.compiled
    assert np.array_equal(found.score(IDS), before)


def test_another_precision_is_not_compiled(density):
    assert not with_precision(with_compilation(density, compiler="eager"), "bfloat16").runtime.compiled


def test_a_memory_limit_compiles_nothing_again(density, monkeypatch):
    own = with_compilation(density, compiler="eager")
    monkeypatch.setattr(torch, "compile", None)
    bounded = within_memory(own, 10**9, longest=20, horizon=3)
    assert bounded.runtime.compiled
    assert np.array_equal(bounded.score(IDS), own.score(IDS))


def test_only_the_window_density_can():
    for kind in (WORLD, tiny_llama(WORLD.vocabulary)):
        with pytest.raises(ConfigError, match="cannot be compiled"):
            with_compilation(kind)
        assert with_compilation(kind, False) is kind
        assert compiled_for(kind, "auto", 10**18) is kind
    with pytest.raises(ConfigError, match="did you mean 'auto'"):
        compiled_for(WORLD, "auot", 1)


def test_auto_is_for_large_jobs_on_cuda(density, monkeypatch):
    monkeypatch.setattr(compiled, "with_compilation", lambda density, on=True: "compiled")
    large = int(compiled.WORTH_COMPILING_FLOPS / density.cost().step_flops) + 1
    found = []
    for device, n_steps in (("cpu", large), ("mps", large), ("cuda", large - 2), ("cuda", large), ("cuda:1", large)):
        there = copy.copy(density)
        there.runtime = replace(density.runtime, device=device)
        found.append(compiled_for(there, "auto", n_steps) == "compiled")
    assert found == [False, False, False, True, True]


def test_a_run_says_what_it_used(density, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "with_compilation", partial(with_compilation, compiler="eager"))
    found = [
        discover_to(density, LOG, tmp_path / str(choice), particles=4, progress=False, compile=choice)
        for choice in (False, True, "auto")
    ]
    assert not density.runtime.compiled
    for result, on in zip(found, (False, True, False), strict=True):
        record = json.loads((result.folder / "run.json").read_text())["density"]
        assert (record["compiled"], record["precision"], record["device"]) == (on, "float32", "cpu")
    edges = [result.edges for result in found]
    assert edges[0].height > 5
    places = ("case", "cause_position", "effect_position")
    assert edges[0].select(places).equals(edges[1].select(places))
    assert np.allclose(edges[0]["cmi_nats"], edges[1]["cmi_nats"], atol=1e-5)
    assert edges[0].equals(edges[2])
