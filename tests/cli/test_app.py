"""The command line as a user meets it."""

import json
import subprocess
import sys

import polars as pl
import pytest
from typer.testing import CliRunner

from sequela.cli.app import app
from sequela.graphs.population import POPULATION_SCHEMA, PopulationGraph
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
    arguments = ["discover", str(model[0]), str(log), "--out", str(out), "--delta", "0.001", "--quiet"]
    result = RUN.invoke(app, arguments)
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


@pytest.fixture(scope="module")
def results(model, log):
    out = log.parent / "results"
    result = RUN.invoke(app, ["discover", str(model[0]), str(log), "--out", str(out), "--delta", "0.001", "--quiet"])
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.parametrize("name", ["a.graphml", "a.dot", "a.json", "a.csv", "a.parquet", "a.jsonocel"])
@pytest.mark.parametrize("instance", [None, "case-00003"])
def test_export(results, name, instance, tmp_path):
    out = tmp_path / name
    more = [] if instance is None else ["--instance", instance]
    result = RUN.invoke(app, ["export", str(results), "--out", str(out), *more])
    assert result.exit_code == 0, result.output
    assert out.stat().st_size > 0
    assert ("case-00003" in result.stdout) == (instance is not None)
    if name == "a.parquet":
        found = pl.read_parquet(results / "edges.parquet").filter(pl.col("case") == "case-00003").drop("case")
        expected = pl.read_parquet(results / "summary.parquet") if instance is None else found
        assert pl.read_parquet(out).equals(expected)


def test_export_of_a_population(tmp_path):
    nodes = pl.DataFrame({"event": ["a"], "count": [1]})
    PopulationGraph(pl.DataFrame(schema=POPULATION_SCHEMA), nodes, {"format": 1}).save(tmp_path / "p")
    done = RUN.invoke(app, ["export", str(tmp_path / "p"), "--out", str(tmp_path / "g.json"), "--json"])
    assert json.loads(done.stdout) == {"out": str(tmp_path / "g.json")}
    assert json.loads((tmp_path / "g.json").read_text())["nodes"] == [{"count": 1, "id": "a"}]
    for more, says in (["--out", "g.xes"], "holds no events"), (["--out", "g.json", "--instance", "a"], "no cases"):
        refused = RUN.invoke(app, ["export", str(tmp_path / "p"), *more])
        assert refused.exit_code == 1
        assert says in refused.stderr


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
        (["export", "{model}", "--out", "{tmp}/g.csv"], "not a folder of discovery results"),
        (["export", "{results}", "--out", "{tmp}/g.cvs"], "did you mean '.csv'"),
        (["export", "{results}", "--out", "{tmp}/g.csv", "--instance", "case-0003"], "did you mean 'case-0"),
    ],
)
def test_named_errors_are_one_line_and_exit_1(arguments, says, model, log, results, tmp_path):
    filled = [a.format(log=log, tmp=tmp_path, model=model[0], results=results) for a in arguments]
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


@pytest.mark.parametrize("command", ["fit", "discover", "demo", "export"])
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


def test_several_files_a_format_and_a_state_are_one_log(tmp_path):
    frame = SoftmaxWorld.random(4, horizon=2, seed=0).simulate(20, 8, seed=1).log
    frame = frame.with_columns(
        outcome=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("ok")).otherwise(pl.lit("failed"))
    )
    frame.head(80).write_csv(tmp_path / "a.log")
    frame.tail(-80).write_csv(tmp_path / "b.log")
    files = [str(tmp_path / "a.log"), str(tmp_path / "b.log"), "--file-format", "csv"]
    columns = ["--case", "case", "--event", "event", "--time", "time", "--state", "outcome"]
    model = str(tmp_path / "model")
    done = RUN.invoke(app, ["fit", *files, *columns, "--out", model, "--max-steps", "5", "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    info = json.loads(done.stdout)
    assert info["log"]["n_cases"] == 20
    assert info["log"]["columns"]["state"] == "outcome"
    found = RUN.invoke(app, ["discover", model, *files, "--out", str(tmp_path / "r"), "--json", "--quiet"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["counts"]["n_cases"] == 20
    events = pl.read_parquet(tmp_path / "r" / "events.parquet")["event"]
    assert all(name.endswith(("|ok", "|failed")) for name in events if name != "<rare>")
