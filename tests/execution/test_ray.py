"""The Ray engine gives the edges of a local run, and says what is missing when it is not installed."""

import importlib.util
import json
import subprocess
import sys

import polars as pl
import pytest

from sequela.density.training.fit import fit
from sequela.density.window.network import WindowConfig, WindowDensity, WindowNetwork
from sequela.discovery.population import discover_population
from sequela.discovery.stream import discover_to
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
        with pytest.raises(MissingExtraError, match=r"sequela\[ray\]"):
            discover_population(untrained(), log, cases="all", out=tmp_path / "out", engine="ray", progress=False)
    with pytest.raises(ConfigError, match="did you mean 'ray'"):
        discover_population(untrained(), log, cases="all", engine="rya", progress=False)
    with pytest.raises(ConfigError, match="workers"):
        discover_to(WORLD, log, tmp_path / "out", engine="ray", workers=0, progress=False)
    assert list(tmp_path.iterdir()) == []


def untrained():
    network = WindowNetwork(WindowConfig(12, 15, 4, 16, 32))
    return WindowDensity(network, WORLD.vocabulary, knows_hidden=True)


def run_both(arguments, folder):
    """Run a command locally and with two actors; return the folders."""
    for engine in ("local", "ray"):
        # A process of its own: Ray warns of many things, and warnings are errors here.
        code = "from sequela.cli import main; main()"
        extra = ["--engine", "ray", "--workers", "2"] if engine == "ray" else []
        run = subprocess.run(
            [sys.executable, "-c", code, *arguments, "--out", str(folder / engine), *extra, "--quiet"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
    return folder / "local", folder / "ray"


@pytest.mark.slow
@pytest.mark.skipif(not HAS_RAY, reason="needs the extra 'ray'")
def test_two_local_workers_find_the_same_edges(tmp_path):
    path = tmp_path / "log.csv"
    WORLD.to_log(WORLD.sample(60, (1, 20), seed=1)).write_csv(path)
    fit(read_log(path), out=tmp_path / "model", max_steps=100, device="cpu", progress=False)
    folders = run_both(["discover", str(tmp_path / "model"), str(path), "--delta", "0.01"], tmp_path)
    local, ray = (pl.read_parquet(folder / "edges.parquet") for folder in folders)
    assert local.height > 20
    assert ray.equals(local)
    counts = [json.loads((folder / "run.json").read_text())["counts"] for folder in folders]
    assert counts[0] == counts[1]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_RAY, reason="needs the extra 'ray'")
def test_two_local_workers_weigh_the_same_population(tmp_path):
    """Several ranges for both of them, and two densities: every bit is that of a local run."""
    path = tmp_path / "log.csv"
    WORLD.to_log(WORLD.sample(600, (1, 40), seed=1)).write_csv(path)
    fit(read_log(path), out=tmp_path / "model", max_steps=60, device="cpu", progress=False)
    for name, more in {"one": ["--cases", "all"], "folds": ["--folds", "2"]}.items():
        (tmp_path / name).mkdir()
        arguments = ["population", str(tmp_path / "model"), str(path), "--particles", "4", *more]
        local, ray = run_both(arguments, tmp_path / name)
        for file in ("population", "lags", "nodes"):
            table = pl.read_parquet(local / f"{file}.parquet")
            assert table.height >= 12
            assert pl.read_parquet(ray / f"{file}.parquet").equals(table)
        counts = [json.loads((folder / "run.json").read_text())["counts"] for folder in (local, ray)]
        assert counts[0] == counts[1]
        assert sorted(found.name for found in (tmp_path / name).iterdir()) == ["local", "ray"]


# Two of the workers are killed in the middle of a range, one before and one after its work was done.
DYING = """
import os, signal, sys, tempfile
from dataclasses import dataclass
from pathlib import Path
from sequela import load_density, read_log
from sequela.discovery.job import DensityHandle
from sequela.discovery.stream import Discovering
from sequela.effects.encoding import encode_log, longest_case
from sequela.effects.settings import Settings
from sequela.errors import ConfigError
from sequela.execution.engines import start_engine
from sequela.execution.map_cases import map_cases

@dataclass(frozen=True)
class Dying(Discovering):
    folder: str = ""

    def __call__(self, density, cases):
        self.die("before")
        found = super().__call__(density, cases)
        self.die("after")
        return found

    def die(self, when):
        try:
            (Path(self.folder) / when).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

class Refusing(Discovering):
    def __call__(self, density, cases):
        raise ConfigError("said by a worker")

density, log = load_density(sys.argv[1]), read_log(sys.argv[2])
cases = encode_log(density, log)
given = Settings(delta=0.01), longest_case(cases)
task, model = Dying(*given, folder=tempfile.mkdtemp()), DensityHandle(density)
(expected,) = map_cases(Discovering(*given), model, cases)
with start_engine("ray", 2) as engine:
    (found,) = map_cases(task, model, cases, engine=engine)
    assert sorted(os.listdir(task.folder)) == ["after", "before"]
    assert found.counts == expected.counts and found.counts["n_edges"] > 20
    assert found.read().equals(expected.read())
    try:
        map_cases(Refusing(*given), model, cases, engine=engine)
    except ConfigError as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not HAS_RAY, reason="needs the extra 'ray'")
def test_killed_workers_are_replaced_and_errors_of_workers_keep_their_names(tmp_path):
    path = tmp_path / "log.csv"
    WORLD.to_log(WORLD.sample(60, (1, 20), seed=1)).write_csv(path)
    fit(read_log(path), out=tmp_path / "model", max_steps=100, device="cpu", progress=False)
    run = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path / "model"), str(path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "said by a worker\n" in run.stdout  # Ray adds lines of its own
