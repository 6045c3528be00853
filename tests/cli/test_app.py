"""The command line as a user meets it."""

import json
import subprocess
import sys

import polars as pl
import pytest
from typer.testing import CliRunner

from sequela.cli.app import app
from sequela.worlds.softmax import SoftmaxWorld

RUN = CliRunner()


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    world = SoftmaxWorld.random(6, horizon=2, decay=0.3, seed=1)
    path = tmp_path_factory.mktemp("log") / "log.csv"
    frame = world.to_log(world.sample(60, 12, seed=2))
    frame.rename({"case": "device", "event": "alarm", "time": "at"}).write_csv(path)
    return path


@pytest.fixture(scope="module")
def model(log):
    out = log.parent / "model"
    columns = ["--case", "device", "--event", "alarm", "--time", "at"]
    result = RUN.invoke(app, ["fit", str(log), *columns, "--out", str(out), "--max-steps", "60", "--json"])
    assert result.exit_code == 0, result.output
    return out, result


def test_fit_prints_json_on_stdout_and_choices_on_stderr(model):
    out, result = model
    info = json.loads(result.stdout)
    assert info["log"]["n_cases"] == 60
    assert info["report"]["n_events"] > 0
    assert "split by case" in result.stderr
    assert (out / "density.json").is_file()


def test_discover_reads_the_log_as_fit_did_and_writes_the_folder(model, log, tmp_path):
    out = tmp_path / "results"
    result = RUN.invoke(app, ["discover", str(model[0]), str(log), "--out", str(out), "--quiet"])
    assert result.exit_code == 0, result.output
    assert "Strongest links" in result.stdout
    run = json.loads((out / "run.json").read_text())
    edges = pl.read_parquet(out / "edges.parquet")
    assert edges.height == run["counts"]["n_edges"] > 0
    assert run["counts"]["n_cases"] == 60


def test_discover_json_and_only(model, log, tmp_path):
    arguments = [
        "discover",
        str(model[0]),
        str(log),
        "--out",
        str(tmp_path / "r"),
        "--only",
        "case-00003",
        "--json",
    ]
    result = RUN.invoke(app, [*arguments, "--horizon", "full", "--design", "masked", "--quiet"])
    assert result.exit_code == 0, result.output
    run = json.loads(result.stdout)
    assert run["counts"]["n_cases"] == 1
    assert run["arguments"]["design"] == "masked"
    assert run["counts"]["n_pairs_tested"] == 12 * 11 // 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fit", "nothing.csv", "--out", "m"], "nothing.csv"),
        (
            ["fit", "{log}", "--case", "devise", "--event", "alarm", "--out", "{tmp}/m"],
            "did you mean 'device'",
        ),
        (
            [
                "fit",
                "{log}",
                "--case",
                "device",
                "--event",
                "alarm",
                "--out",
                "{tmp}/m",
                "--backbone",
                "lama",
            ],
            "llama",
        ),
        (["discover", "{tmp}/nowhere", "{log}", "--out", "{tmp}/r"], "sequela fit"),
        (["discover", "{model}", "{log}", "--out", "{tmp}/r", "--design", "atomik"], "atomic"),
        (["discover", "{model}", "{log}", "--out", "{tmp}/r", "--horizon", "many"], "horizon"),
        (["discover", "{model}", "{log}", "--out", "{tmp}/r", "--threshold", "fixed"], "tau"),
        (["discover", "{model}", "{log}", "--out", "{tmp}/r", "--only", "case-9"], "case-9"),
    ],
)
def test_named_errors_are_one_line_and_exit_1(arguments, says, model, log, tmp_path):
    filled = [a.format(log=log, tmp=tmp_path, model=model[0]) for a in arguments]
    result = RUN.invoke(app, filled)
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert says in lines[0]
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["fit"], ["discover", "m", "l"], ["nothing"], ["fit", "l", "--seed", "x"]])
def test_usage_errors_exit_2(arguments):
    assert RUN.invoke(app, arguments).exit_code == 2


def test_overwrite_is_asked_for(model, log):
    columns = ["--case", "device", "--event", "alarm", "--time", "at", "--max-steps", "5", "--quiet"]
    again = RUN.invoke(app, ["fit", str(log), *columns, "--out", str(log.parent / "model")])
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize("command", ["fit", "discover", "demo"])
def test_help_has_an_example(command):
    result = RUN.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"sequela {command}" in result.stdout


def test_importing_and_help_load_nothing_heavy():
    heavy = "('torch', 'transformers', 'polars', 'numpy')"
    code = f"import sys, sequela, sequela.cli.app; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_installed_command_runs():
    code = "from sequela.cli import main; main()"
    found = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("sequela 0.")
