"""End-to-end results of small configurations, so that moving code cannot change a result unnoticed.

`results.json` is rewritten by ``python tests/pinned/test_results.py``; a change of it must be explained in its commit.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import sequela as sq
from sequela.worlds.softmax import SoftmaxWorld

STORED = Path(__file__).with_name("results.json")
DESIGNS = ("atomic", "leave-one-out", "masked", "staircase")


def a_log(*, times: bool, components: bool) -> sq.EventLog:
    world = SoftmaxWorld.random(8, horizon=3, sparsity=0.5, seed=3)
    frame = world.to_log(world.sample(80, 12, seed=4))
    number = pl.col("event").str.slice(1).cast(pl.Int64)
    frame = frame.with_columns(unit=number // 4, code=number % 4)
    if times:
        gaps = np.random.default_rng(5).exponential(1.0 + np.arange(frame.height) % 3)
        frame = frame.with_columns(at=pl.Series(np.cumsum(gaps)))
    return sq.read_log(
        frame, case="case", event=["unit", "code"] if components else "event", time="at" if times else False
    )


def numbers(frame: pl.DataFrame, *keys: str) -> dict[str, Any]:
    """Return the rows of a table as a hash of their keys, and the sums of their numbers."""
    frame = frame.sort(*keys)
    text = "\n".join(map(str, frame.select(keys).rows()))
    floats = {name: float(frame[name].fill_nan(0).sum()) for name, kind in frame.schema.items() if kind == pl.Float64}
    return {"rows": frame.height, "keys": hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), **floats}


def edges(found: sq.Discovery) -> dict[str, Any]:
    return numbers(found.edges, "case", "cause_position", "effect_position")


def results() -> dict[str, Any]:
    found: dict[str, Any] = {}
    plain, rich = a_log(times=False, components=False), a_log(times=True, components=True)
    world = SoftmaxWorld.random(8, horizon=3, sparsity=0.5, seed=3)
    short = {"progress": False, "max_steps": 150, "seed": 1}
    densities = {
        "world": (world, plain),
        "window": (sq.fit(plain, width=16, **short), plain),
        "rich": (sq.fit(rich, width=16, times=True, **RICH, **short), rich),
        "llama": (sq.fit(plain, backbone="llama", width=32, **(short | {"max_steps": 20})), plain),
    }
    for name, (density, log) in densities.items():
        if name != "world":
            loss = density.info["report"]["cross_entropy"]
            found[f"{name} loss"] = {"loss": float(loss)}
        for design in DESIGNS:
            if design == "masked" and name == "world":
                continue
            some = log.cases(log.case_names[:12])
            one = sq.discover_log(
                density, some, design=design, particles=6, progress=False, statistic="both", delta=0.002
            )
            found[f"{name} {design}"] = edges(one)
            if design == "atomic":
                found[f"{name} summary"] = numbers(one.summary().edges, "cause", "effect")
    world_density, rich_density = densities["window"][0], densities["rich"][0]
    for proposal in ("unigram", "model"):
        one = sq.discover_log(world_density, plain, proposal=proposal, particles=4, progress=False, threshold="otsu")
        found[f"window {proposal}"] = edges(one)
    one = sq.discover_log(rich_density, rich, proposal="siblings", particles=4, horizon_time="4s", progress=False)
    found["rich siblings"] = edges(one)
    one = sq.discover_log(world_density, plain, particles=8, progress=False, **SCREENING)
    found["window screening"] = edges(one)
    population = sq.discover_population(rich_density, rich, particles=6, delta=0.01, progress=False)
    found["population"] = numbers(population.pairs, "cause", "effect")
    level = sq.discover_population(rich_density, rich, progress=False, **LEVEL)
    found["population level"] = numbers(level.pairs, "cause", "effect")
    folds = sq.cross_fit(plain, folds=2, width=16, **short)
    crossed = sq.discover_population(folds, plain, particles=6, delta=0.01, progress=False)
    found["population folds"] = numbers(crossed.pairs, "cause", "effect")
    weighed = sq.discover_log(world_density, plain, population=crossed, fdr=0.2, progress=False)
    found["window with population"] = edges(weighed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out"
        found["folder"] = edges(discover_to(world_density, plain, path, progress=False))
    return found


RICH = {"components": True}
SCREENING = {"screening": 0.1}
LEVEL = {"hierarchy_level": 1}


def discover_to(*args: Any, **settings: Any) -> Any:
    from sequela.discovery.stream import discover_to as streamed

    return streamed(*args, **settings)


def test_results_are_those_stored() -> None:
    found, stored = results(), json.loads(STORED.read_text())
    assert found.keys() == stored.keys()
    for name, values in stored.items():
        for key, value in values.items():
            expected = pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value
            assert found[name][key] == expected, (name, key)


if __name__ == "__main__":
    STORED.write_text(json.dumps(results(), indent=1) + "\n")
