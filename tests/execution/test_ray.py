"""The Ray engine gives the edges of a local run, and says what is missing when it is not installed."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from sequela.density.training.crossfit import cross_fit
from sequela.density.training.fit import fit
from sequela.density.window.density import WindowDensity
from sequela.density.window.network import WindowConfig, WindowNetwork
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


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A folder with all results, each local and of two actors, and what else `on_ray` says."""
    if not HAS_RAY:
        pytest.skip("needs the extra 'ray'")
    folder = tmp_path_factory.mktemp("ray")
    WORLD.to_log(WORLD.sample(100, (1, 20), seed=1)).write_csv(folder / "log.csv")
    log = read_log(folder / "log.csv")
    density = fit(log, out=folder / "model", max_steps=60, device="cpu", progress=False)
    folds = cross_fit(log, folds=2, scheme="leave-one-out", like=density, out=folder / "folds", progress=False)
    discover_to(density, log, folder / "edges" / "local", delta=0.01, progress=False)
    discover_population(folds, log, particles=4, out=folder / "population" / "local", progress=False)
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("on_ray.py")), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    return folder, json.loads(run.stdout.strip().splitlines()[-1])  # Ray adds lines of its own


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "files"), [("edges", ["edges", "summary"]), ("population", ["population", "lags", "nodes"])]
)
def test_two_workers_find_the_same(there, name, files):
    """Several ranges for both of them; edges by a command that joins a running cluster, evidence of two densities."""
    folder, said = there
    assert said["joined"] == [0, ""]
    local, ray = folder / name / "local", folder / name / "ray"
    for file in files:
        table = pl.read_parquet(local / f"{file}.parquet")
        assert table.height >= 12
        assert pl.read_parquet(ray / f"{file}.parquet").equals(table)
    counts = [json.loads((each / "run.json").read_text())["counts"] for each in (local, ray)]
    assert counts[0] == counts[1]
    assert sorted(path.name for path in (folder / name).iterdir()) == ["local", "ray"]


@pytest.mark.slow
def test_killed_workers_are_replaced_and_errors_of_workers_keep_their_names(there):
    _, said = there
    assert said["killed"] == ["after", "before"]
    assert said["same"]
    assert said["n_edges"] > 20
    assert said["refused"] == "said by a worker"


@pytest.mark.slow
def test_work_that_cannot_be_done_ends_with_a_line(there):
    """A range that kills every worker, and a cluster without a free processor."""
    _, said = there
    assert re.match(r"workers of the Ray cluster were lost with the cases \d+ to \d+, 2 times: ", said["lost"])
    assert said["taken"].startswith("no worker of the Ray cluster was ready within 2 s: 0 of its 2 processors are free")
    assert "\n" not in said["lost"] + said["taken"]
