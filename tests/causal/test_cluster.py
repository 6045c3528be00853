"""The Ray engine gives the edges of a local run, and says what is missing when it is not installed."""

import importlib.util
import json
import subprocess
import sys

import polars as pl
import pytest

from sequela.causal.run import discover_to
from sequela.density.fit import fit
from sequela.errors import ConfigError, MissingExtraError
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(12, horizon=3, decay=0.3, seed=0)
HAS_RAY = importlib.util.find_spec("ray") is not None


def test_engines_are_named(tmp_path):
    log = read_log(WORLD.to_log(WORLD.sample(5, 10, seed=1)))
    with pytest.raises(ConfigError, match="did you mean 'ray'"):
        discover_to(WORLD, log, tmp_path / "out", engine="rya", progress=False)
    if not HAS_RAY:
        with pytest.raises(MissingExtraError, match=r"sequela\[ray\]"):
            discover_to(WORLD, log, tmp_path / "out", engine="ray", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not HAS_RAY, reason="needs the extra 'ray'")
def test_two_local_workers_find_the_same_edges(tmp_path):
    path = tmp_path / "log.csv"
    WORLD.to_log(WORLD.sample(60, (1, 20), seed=1)).write_csv(path)
    fit(read_log(path), out=tmp_path / "model", max_steps=100, device="cpu", progress=False)
    for engine in ("local", "ray"):
        # A process of its own: Ray warns of many things, and warnings are errors here.
        code = "from sequela.cli import main; main()"
        arguments = ["discover", str(tmp_path / "model"), str(path), "--out", str(tmp_path / engine), "--delta", "0.01"]
        extra = ["--engine", "ray", "--workers", "2"] if engine == "ray" else []
        run = subprocess.run(
            [sys.executable, "-c", code, *arguments, *extra, "--quiet"], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
    local, ray = (pl.read_parquet(tmp_path / engine / "edges.parquet") for engine in ("local", "ray"))
    assert local.height > 20
    assert ray.equals(local)
    counts = [json.loads((tmp_path / engine / "run.json").read_text())["counts"] for engine in ("local", "ray")]
    assert counts[0] == counts[1]
