"""Results carry checksums: what a bad disk changes is refused, and named."""

import json

import pytest
from typer.testing import CliRunner

from conftest import tiny_window
from sequela import files
from sequela.cli.app import app
from sequela.density.checkpoint import load_density, save_density
from sequela.density.training.crossfit import CrossFit, load_cross_fit
from sequela.discovery.population import discover_population
from sequela.discovery.stream import discover_to
from sequela.errors import LogFormatError, SequelaError
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet
from sequela.graphs.run_record import verify_results
from sequela.graphs.saved import load_results
from sequela.reports.page import report
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(4, horizon=2, decay=0.2, seed=0)
LOG = read_log(WORLD.to_log(WORLD.sample(6, (2, 6), seed=1)))


@pytest.fixture(params=["discovery", "population"])
def folder(request, tmp_path):
    out = tmp_path / "out"
    if request.param == "discovery":
        discover_to(WORLD, LOG, out, particles=2, progress=False)
    else:
        density = tiny_window(WORLD.vocabulary, memory=2, embedding=8, width=8)
        discover_population(density, LOG, cases="all", particles=2, out=out, progress=False)
    return out


def check_flips(folder, every):
    n_flips = 0
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for bit in range(0, 8 * len(content), every):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            with pytest.raises(LogFormatError, match="not a folder of"):
                load_results(folder)
            n_flips += 1
        path.write_bytes(content)
    load_results(folder)
    return n_flips


def test_flipped_bits_are_refused(folder):
    assert check_flips(folder, every=99) > 300


@pytest.mark.slow
def test_every_flipped_bit_is_refused(folder):
    assert check_flips(folder, every=1) > 30_000


def test_what_is_damaged_is_named(folder):
    assert verify_results(folder)["damage"].null_count() == len(list(folder.iterdir()))
    (folder / "nodes.parquet").unlink()
    table = next(path for path in folder.glob("*.parquet"))
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    found = dict(verify_results(folder).drop_nulls().iter_rows())
    assert found == {"nodes.parquet": "is missing", table.name: "has changed since it was written"}
    with pytest.raises(LogFormatError, match=r"nodes.parquet is missing"):
        load_results(folder)
    run = CliRunner().invoke(app, ["verify", str(folder)])
    assert run.exit_code == 1
    assert sorted(run.output.splitlines()) == sorted(f"{name} {what}" for name, what in found.items())
    run = CliRunner().invoke(app, ["verify", str(folder), "--json"])
    assert json.loads(run.output)["damaged"] == found


def test_a_whole_result_is_said_to_be_whole(folder):
    run = CliRunner().invoke(app, ["verify", str(folder)])
    assert run.exit_code == 0
    assert "are as they were written" in run.output


def test_a_changed_record_is_refused(folder):
    record = json.loads((folder / "run.json").read_text())
    record["counts"]["n_cases"] += 1
    (folder / "run.json").write_text(json.dumps(record, indent=2))
    with pytest.raises(LogFormatError, match=r"run.json has changed"):
        load_results(folder)
    run = CliRunner().invoke(app, ["verify", str(folder)])
    assert run.exit_code == 1
    assert "run.json has changed" in run.output


def test_results_without_checksums_are_refused(folder):
    record = json.loads((folder / "run.json").read_text())
    del record["files"]
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(LogFormatError, match="no checksums"):
        load_results(folder)
    with pytest.raises(LogFormatError, match="no checksums"):
        verify_results(folder)


def test_models_are_checked_too(tmp_path):
    save_density(tiny_window(WORLD.vocabulary), tmp_path / "model")
    assert verify_results(tmp_path / "model")["damage"].null_count() == 3
    weights = tmp_path / "model" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    found = dict(verify_results(tmp_path / "model").drop_nulls().iter_rows())
    assert found == {"weights.safetensors": "has changed since it was written"}


def test_a_result_that_is_replaced_while_it_is_open_is_not_mixed_with_the_other(tmp_path):
    out, other = tmp_path / "out", SoftmaxWorld.random(4, horizon=2, decay=0.2, seed=5)
    given = {"particles": 2, "delta": 0.0, "progress": False}
    discover_to(WORLD, LOG, out, **given)
    opened, read, case = (load_results(out) for _ in range(3))
    n_edges = read.edges.height
    log = read_log(other.to_log(other.sample(9, (2, 6), seed=1)))
    discover_to(other, log, out, overwrite=True, **given)
    for ask in (
        lambda: opened.edges,
        lambda: opened.events,
        opened.scan,
        lambda: opened.save(tmp_path / "copy"),
        lambda: case.case(LOG.case_names[0]),
        lambda: case.summary(self_loops=True),
        lambda: report(opened, tmp_path / "page.html"),
    ):
        with pytest.raises(LogFormatError, match="was replaced while it was in use: open it again"):
            ask()
    assert read.edges.height == n_edges != load_results(out).edges.height
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def save_folds(density, out):
    CrossFit((density,)).save(out)


def save_sequences(density, out):
    SequenceSet.from_log(LOG, WORLD.vocabulary).take(range(2 + (density.info["seed"] == 1))).save(out)


def save_discovery(density, out):
    discover_to(density, LOG, out, particles=2, delta=1e-12 * density.info["seed"], progress=False)


def save_population(density, out):
    discover_population(
        density, LOG, cases="all", particles=2, delta=0.05 + 1e-12 * density.info["seed"], out=out, progress=False
    )


@pytest.mark.parametrize(
    ("save", "load"),
    [
        (save_density, load_density),
        (save_folds, load_cross_fit),
        (save_sequences, SequenceSet.load),
        (save_discovery, load_results),
        (save_population, load_results),
    ],
)
def test_a_folder_that_is_replaced_after_its_checksums_were_compared_is_refused(tmp_path, monkeypatch, save, load):
    for seed in (0, 1):
        density = tiny_window(WORLD.vocabulary, memory=2, embedding=8, width=8, head=1.0).with_info({"seed": seed})
        save(density, tmp_path / str(seed))
    load(tmp_path / "0")
    compare = files.damaged_files

    def replaced(folder, record):
        found = compare(folder, record)
        if folder == tmp_path / "0":
            folder.rename(tmp_path / "old")
            (tmp_path / "1").rename(folder)
        return found

    for module in ("files", "density.checkpoint", "graphs.records"):
        monkeypatch.setattr(f"sequela.{module}.damaged_files", replaced)
    with pytest.raises(SequelaError, match="was replaced while it was in use: open it again"):
        load(tmp_path / "0")
