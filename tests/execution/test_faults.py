"""Every operation on the disk fails once: then the old or the whole new result is there, and a retry succeeds."""

import errno
import os
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from sequela import files
from sequela.cli.app import app
from sequela.density.checkpoint import load_density, save_density
from sequela.density.training.fit import fit
from sequela.density.window.density import WindowDensity
from sequela.density.window.network import WindowConfig, WindowNetwork
from sequela.discovery.population import discover_population
from sequela.discovery.stream import discover_to
from sequela.errors import SequelaError
from sequela.events.log import read_log
from sequela.execution.chunks import Chunks
from sequela.graphs.exports import export
from sequela.graphs.population import PopulationGraph
from sequela.graphs.saved import load_results
from sequela.reports.page import report
from sequela.worlds.softmax import SoftmaxWorld

resource = pytest.importorskip("resource")  # not on Windows
WORLD = SoftmaxWorld.random(5, horizon=2, decay=0.2, seed=0)
LOG = read_log(
    WORLD.to_log(WORLD.sample(12, (2, 9), seed=1)).with_columns(time=pl.int_range(pl.len()).cast(pl.Float64))
)
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


def window_density():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = WindowNetwork(WindowConfig(5, 8, 2, 8, 8))
        torch.nn.init.normal_(network.head.weight, std=0.7)
    return WindowDensity(network, WORLD.vocabulary, knows_hidden=True)


DENSITY = window_density()


class FaultyDisk(files.Disk):
    """Fails at one operation; a failed write has written half of it."""

    def __init__(self, at, number):
        self.at, self.number, self.done = at, number, []

    def _count(self, name, path):
        self.done.append((name, path))
        if len(self.done) == self.at:
            raise OSError(self.number, os.strerror(self.number), str(path))

    def written(self, path):
        if len(self.done) + 1 == self.at:
            for file in [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]:
                os.truncate(file, file.stat().st_size // 2)
        self._count("write", path)

    def sync(self, path):
        self._count("sync", path)
        super().sync(path)

    def replace(self, source, target):
        self._count("replace", source)
        super().replace(source, target)

    def make_folder(self, path, *, exist_ok=False):
        self._count("make_folder", path)
        super().make_folder(path, exist_ok=exist_ok)

    def remove(self, path):
        self._count("remove", path)
        super().remove(path)

    def read(self, path):
        self._count("read", path)
        return super().read(path)

    def blocks(self, path):
        self._count("read", path)
        yield from super().blocks(path)


def result(folder):
    found = load_results(folder)
    return found.pairs if isinstance(found, PopulationGraph) else found.edges


def run_discover(out, seed, overwrite):
    given = {"seed": seed, "particles": 3, "delta": 0.001, "overwrite": overwrite, "progress": False}
    discover_to(DENSITY, LOG, out, **given)


def run_population(out, seed, overwrite):
    given = {"seed": seed, "particles": 3, "overwrite": overwrite, "progress": False}
    discover_population(DENSITY, LOG, cases="all", out=out, **given)


def run_fit(out, seed, overwrite):
    fit(LOG, out=out, seed=seed, overwrite=overwrite, max_steps=2, width=4, device="cpu", progress=False)


def run_save(out, seed, overwrite):
    density = window_density()
    density.info = {"seed": seed}
    save_density(density, out, overwrite=overwrite)


def run_sequences(out, seed, overwrite):
    from sequela.events.sequences import SequenceSet

    SequenceSet.from_log(LOG, WORLD.vocabulary).take(range(seed + 2)).save(out, overwrite=overwrite)


def model(folder):
    density = load_density(folder, device="cpu")
    return [density.info.get("seed"), density.score(np.arange(5, dtype=np.int32)).tolist()]


def sequences(folder):
    from sequela.events.sequences import SequenceSet

    return SequenceSet.load(folder).ids.tolist()


VERBS = {
    "discover": (run_discover, result),
    "population": (run_population, result),
    "save": (run_save, model),
    "sequences": (run_sequences, sequences),
    "fit": (run_fit, model),
}


def same(a, b):
    return a.equals(b) if isinstance(a, pl.DataFrame) else a == b


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(Chunks, "seconds", 0.0)
    monkeypatch.setattr("sequela.execution.map_cases._FIRST_EVENTS", 30)


def with_disk(disk, run, *given):
    """Run with a disk; return the error, if any."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("sequela.files", "sequela.execution.chunks"):
            patch.setattr(f"{module}.disk", disk)
        try:
            run(*given)
        except (OSError, SequelaError) as error:
            return error
    return None


def check_every_fault(folder, verb, *, overwrite, every):
    run, load = VERBS[verb]
    out = folder / "out"
    content = []
    for seed in (0, 1):
        run(folder / f"whole-{seed}", seed, False)
        content.append(load(folder / f"whole-{seed}"))
    assert not same(*content)
    good = FaultyDisk(0, 0)
    run(out, 0, False)
    assert with_disk(good, run, out, 1, True) is None
    n_faults = 0
    for at in range(1, len(good.done) + 1, every):
        shutil.rmtree(out)
        if overwrite:
            shutil.copytree(folder / "whole-0", out)
        disk = FaultyDisk(at, ERRORS[at % 3])
        error = with_disk(disk, run, out, 1, overwrite)
        n_faults += len(disk.done) >= at
        if out.exists():
            now = load(out)
            assert same(now, content[1]) or (overwrite and error is not None and same(now, content[0])), disk.done[-1]
        else:
            assert error is not None, disk.done[-1]
            assert not overwrite, disk.done[-1]
        run(out, 1, True)
        assert same(load(out), content[1]), (at, disk.done[at - 1])
        left = {path.name for path in folder.iterdir()} - {"whole-0", "whole-1"}
        assert left == {"out"}, (at, disk.done[at - 1])
    return n_faults


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("verb", "every"), [("discover", 7), ("population", 11), ("save", 1), ("sequences", 1)])
def test_some_operations_fail(tmp_path, verb, every, overwrite):
    assert check_every_fault(tmp_path, verb, overwrite=overwrite, every=every) > 5


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("verb", ["discover", "population", "fit"])
def test_every_operation_fails(tmp_path, verb, overwrite):
    assert check_every_fault(tmp_path, verb, overwrite=overwrite, every=1) > 20


@pytest.mark.parametrize(
    "name", ["a.graphml", "a.dot", "a.json", "a.csv", "a.parquet", "a.xes", "a.jsonocel", "a.html"]
)
def test_exports_and_pages_fail_whole(tmp_path, name):
    discover_to(WORLD, LOG, tmp_path / "found", particles=2, delta=0.001, progress=False)
    found = load_results(tmp_path / "found")
    out = tmp_path / "files" / name
    if name == "a.xes":
        pytest.importorskip("r4pm")

    def write():
        if name == "a.html":
            report(found, out)
        else:
            export(found, out)

    def content():
        # r4pm writes the attributes of an event in any order.
        return sorted(out.read_bytes()) if name == "a.xes" else out.read_bytes()

    write()
    good = FaultyDisk(0, 0)
    assert with_disk(good, write) is None
    whole = content()
    for at in range(1, len(good.done) + 1):
        for old in (None, b"old"):
            out.unlink(missing_ok=True)
            if old is not None:
                out.write_bytes(old)
            error = with_disk(FaultyDisk(at, ERRORS[at % 3]), write)
            assert (
                (out.exists() and content() == whole)
                or (error is not None and old is None and not out.exists())
                or (error is not None and out.read_bytes() == old)
            )
            write()
            assert content() == whole
            assert [path.name for path in out.parent.iterdir()] == [name]


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        (["fit", "log.csv", "--out", "new", "--max-steps", "2", "--quiet"], 4000),
        (["discover", "model", "log.csv", "--out", "new", "--quiet"], 1000),
        (["population", "model", "log.csv", "--out", "new", "--cases", "all", "--quiet"], 1500),
        (["export", "found", "--out", "new.xes"], 1000),
        (["export", "found", "--out", "new.parquet"], 1000),
        (["export", "found", "--out", "new.graphml"], 1000),
        (["report", "found", "--out", "new.html"], 1000),
    ],
    ids=lambda value: value[0] + value[-1][:4] if isinstance(value, list) else "",
)
def test_a_file_that_may_not_grow_gives_one_line(tmp_path, monkeypatch, arguments, limit):
    """A real limit of the system (``ulimit -f``), so that the libraries meet it in their own code."""
    if arguments[-1] == "new.xes":
        pytest.importorskip("r4pm")
    monkeypatch.chdir(tmp_path)
    LOG.frame.write_csv("log.csv")
    save_density(DENSITY, "model")
    discover_to(WORLD, LOG, "found", particles=2, delta=0.0, progress=False)
    before = sorted(path.name for path in tmp_path.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        run = CliRunner().invoke(app, arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run.exit_code == 1, run.output
    assert run.exception is None or isinstance(run.exception, SystemExit)
    assert run.output.startswith("error: File too large"), run.output
    assert run.output.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".new.training")) == before
