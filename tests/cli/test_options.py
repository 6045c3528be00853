"""The options of the command line are the arguments of the verbs: none lacks, no default or help is written twice."""

import inspect
import json
import re

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

import sequela as sq
from sequela.arguments import RETIRED
from sequela.cli.app import app
from sequela.density.training.arguments import FIT
from sequela.density.training.fit import fit
from sequela.discovery.arguments import POPULATION, VERBS
from sequela.discovery.arguments import RUN as RUN_TABLE
from sequela.discovery.diagnose import diagnose_log
from sequela.discovery.plan import plan_discovery
from sequela.discovery.population import discover_population
from sequela.discovery.run import run as run_verb
from sequela.discovery.stream import discover_to
from sequela.graphs.population import PopulationGraph
from sequela.graphs.schemas import POPULATION as PAIRS
from sequela.worlds.softmax import SoftmaxWorld

RUN = CliRunner()
COMMANDS = dict(typer.main.get_command(app).commands)
VERB_OF = {
    "fit": (fit, FIT),
    "discover": (discover_to, VERBS),
    "population": (discover_population, POPULATION),
    "plan": (plan_discovery, VERBS),
    "diagnose": (diagnose_log, POPULATION),
    "run": (run_verb, RUN_TABLE),
}
ELSEWHERE = {"density", "log", "progress", "calibrate"}
"""Arguments that are no options: what is read, and what is shown."""


def plain(text):
    return re.sub(r"\s+", " ", re.sub(r"[│╭╮╰╯─]", " ", text))


@pytest.mark.parametrize("name", VERB_OF)
def test_every_argument_is_an_option_with_the_same_default_and_help(name):
    verb, table = VERB_OF[name]
    options = {parameter.name: parameter for parameter in COMMANDS[name].params}
    for argument, parameter in inspect.signature(verb).parameters.items():
        if argument in ELSEWHERE or (verb, argument) == (fit, "vocabulary"):
            continue
        option = options[argument]
        if argument in ("out", "population"):  # folders, which the command reads
            continue
        assert option.help == table[argument].help, argument
        default = parameter.default
        assert option.default == (None if default == "auto" and option.is_flag else default), argument
        assert option.rich_help_panel == table[argument].panel


@pytest.mark.parametrize("name", VERB_OF)
def test_help_is_in_groups_and_swallows_nothing(name):
    shown = RUN.invoke(app, [name, "--help"], env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    panels = re.findall(r"╭─ (.*?) ─", shown.stdout)
    assert panels[:2] == ["Arguments", "Options"]
    assert "Log and files" in panels
    assert max(map(len, shown.stdout.splitlines())) <= 80
    _, table = VERB_OF[name]
    text = plain(shown.stdout)
    for parameter in COMMANDS[name].params:
        if parameter.name in table and parameter.name != "out":
            assert all(word in text for word in parameter.help.split()), parameter.name
    if name == "fit":
        assert "folded into <rare>." in text


@pytest.mark.parametrize(
    ("arguments", "now"),
    [
        (["discover", "m", "l", "--level", "0.9"], "--confidence-level."),
        (["discover", "m", "l", "--adaptive", "0.1"], "--screening."),
        (["discover", "m", "l", "--kept-parts", "1"], "--kept-components."),
        (["discover", "m", "l", "--spare-effect"], "--exclude-effect-type."),
        (["population", "m", "l", "--level", "1"], "--hierarchy-level."),
        (["report", "r", "--level", "1"], "--hierarchy-level."),
        (["export", "r", "--level", "1"], "--hierarchy-level."),
        (["fit", "l", "--parts"], "--components."),
    ],
)
def test_old_names_of_options_are_answered_with_the_new(arguments, now):
    result = RUN.invoke(app, [*arguments, "--out", "x"])
    assert result.exit_code == 2
    assert f"It is now {now}" in plain(result.stderr)
    assert arguments[arguments.index(next(a for a in arguments if a.startswith("--")))][2:].replace("-", "_") in RETIRED


def test_misspelt_options_are_answered_with_the_nearest():
    result = RUN.invoke(app, ["discover", "m", "l", "--particels", "3"])
    assert result.exit_code == 2
    assert "--particles" in result.stderr


def test_completion_can_be_installed():
    assert "--install-completion" in RUN.invoke(app, ["--help"]).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A log, a model, and results of both kinds."""
    out = tmp_path_factory.mktemp("work")
    world = SoftmaxWorld.random(6, horizon=2, decay=0.3, seed=1)
    log = world.to_log(world.sample(40, 12, seed=2))
    log.write_csv(out / "log.csv")
    density = sq.fit(sq.read_log(log), max_steps=40, width=16, progress=False, out=out / "model")
    asked = {"cases": "all", "fdr": 1.0, "control": "each", "delta": 0.0001}  # a small log: some links, certain or not
    sq.discover_population(density, sq.read_log(log), progress=False, out=out / "population", **asked)
    truth = sq.discover_log(world, sq.read_log(log), progress=False)
    truth.edges.write_parquet(out / "truth.parquet")
    return out


def test_plan_takes_every_setting_of_discover(folder):
    model, log = str(folder / "model"), str(folder / "log.csv")
    more = [
        "--horizon-time",
        "10m",
        "--proposal",
        "unigram",
        "--statistic",
        "both",
        "--delta",
        "0.1",
        "--batch-size",
        "4",
    ]
    more += ["--threshold", "fixed", "--tau", "0.2", "--screening", "0", "--seed", "3", "--only", "case-00001"]
    done = RUN.invoke(app, ["plan", model, log, *more, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n_cases"] == 1
    same = RUN.invoke(app, ["discover", model, log, *more, "--plan", "--json"])
    assert json.loads(same.stdout)["n_pairs"] == json.loads(done.stdout)["n_pairs"]


def test_population_takes_what_lacked(folder, tmp_path):
    more = [
        "--cases",
        "all",
        "--context",
        "1",
        "--statistic",
        "kl_of_mean",
        "--proposal",
        "uniform",
        "--batch-size",
        "3",
    ]
    more += ["--keep-effect-type", "--memory-budget", "1GB", "--no-pool", "--screening", "0"]
    arguments = ["population", str(folder / "model"), str(folder / "log.csv"), "--out", str(tmp_path / "p")]
    done = RUN.invoke(app, [*arguments, *more, "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    asked = json.loads(done.stdout)["arguments"]
    assert (asked["context"], asked["exclude_effect_type"], asked["pool"]) == (1, False, False)


def test_evaluate_compares_the_links_of_a_population(folder):
    done = RUN.invoke(app, ["evaluate", str(folder / "population"), str(folder / "truth.parquet"), "--json"])
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout)
    assert scores["links"]["n_predicted"] > 0
    assert scores["links"]["n_true"] > 0
    shown = RUN.invoke(app, ["evaluate", str(folder / "population"), str(folder / "truth.parquet")])
    assert "links between types" in shown.stdout


def test_a_table_of_a_population_fits_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    long = "engine_control_unit|P0A1234"
    rows = [
        (long, f"{long}{i}", 1234, 99_999, 3, 0.512, 0.401, 0.623, -0.5, 4.0, 1e-7, True, "uncertain: " + "why " * 20)
        for i in range(3)
    ]
    graph = PopulationGraph(
        pl.DataFrame(rows, schema=PAIRS.schema, orient="row"), pl.DataFrame({"event": [long], "count": [1]})
    )
    from sequela.cli.tables import print_population

    print_population(graph)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for part in ("1,234", "0.51 (0.40–0.62)", "1e-07", "rarer [1]", "[1] uncertain: why"):
        assert part in shown
    assert shown.count("[1] uncertain") == 1


def test_what_was_written_is_said_in_words(folder, tmp_path):
    results = tmp_path / "results"
    arguments = ["discover", str(folder / "model"), str(folder / "log.csv"), "--out", str(results), "--quiet"]
    done = RUN.invoke(app, [*arguments, "--delta", "0.001"])
    assert done.exit_code == 0, done.output
    assert "are links" in done.stdout
    for more, says in [
        (["--out", "g.csv"], r"wrote the summary graph, \d+ edges, to"),
        (["--out", "g.csv", "--instance", "case-00003"], r"wrote the graph of case 'case-00003', \d+ edges, to"),
        (["--out", "g.jsonocel"], r"wrote the log with the causes of each event to"),
    ]:
        shown = RUN.invoke(app, ["export", str(results), more[0], str(tmp_path / more[1]), *more[2:]])
        assert re.search(says, shown.stdout), shown.output
    shown = RUN.invoke(app, ["export", str(folder / "population"), "--out", str(tmp_path / "p.csv")])
    assert re.search(r"wrote the graph of the population, \d+ edges, to", shown.stdout)
    assert "all 6 files" in RUN.invoke(app, ["verify", str(results)]).stdout


def test_the_reason_for_no_types_is_named(tmp_path):
    (tmp_path / "log.csv").write_text("case,event\n1,a\n1,b\n1,c\n")
    done = RUN.invoke(app, ["fit", str(tmp_path / "log.csv"), "--out", str(tmp_path / "m")])
    assert done.exit_code == 1
    assert "0 of the 3 event types of this log occur 2 times or more (min_count=2)" in done.stderr
    assert "--min-count 1" in done.stderr


def test_swapped_columns_are_warned_of(tmp_path):
    frame = pl.DataFrame({"case": [i // 10 for i in range(200)], "event": [i * i % 7 for i in range(200)]})
    frame.write_csv(tmp_path / "log.csv")
    arguments = ["fit", str(tmp_path / "log.csv"), "--out", str(tmp_path / "m"), "--max-steps", "5", "--quiet"]
    done = RUN.invoke(app, [*arguments, "--case", "event", "--event", "case"])
    assert "warning: 'event' as case and 'case' as event look swapped" in done.stderr


def test_errors_show_names_of_files_harmlessly(tmp_path):
    (tmp_path / "log.csv").write_text("case,\x1b]0;title\x07event\n1,a\n")
    done = RUN.invoke(app, ["fit", str(tmp_path / "log.csv"), "--out", str(tmp_path / "m")])
    assert done.exit_code == 1
    assert "\x1b" not in done.stderr
