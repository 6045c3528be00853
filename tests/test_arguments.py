"""Arguments: what each constraint allows, what a call is told, and that the tables agree with the signatures."""

import doctest
import importlib
import inspect

import numpy as np
import pytest

import sequela as sq
from sequela.arguments import (
    FLAG,
    NOTHING,
    PATH,
    REQUIRED,
    TEXT,
    Argument,
    Choice,
    Either,
    Kind,
    Number,
    Parsed,
    described,
    plain_number,
    public,
)
from sequela.density.training.arguments import FIT
from sequela.density.training.fit import fit
from sequela.discovery.arguments import EXPLAIN, POPULATION, UPDATE, VERBS
from sequela.discovery.diagnose import diagnose_log
from sequela.discovery.discover import discover, discover_log, estimate
from sequela.discovery.explain import explain
from sequela.discovery.plan import plan_discovery
from sequela.discovery.population import discover_population
from sequela.discovery.stream import discover_to
from sequela.discovery.update import update
from sequela.effects.designs import DESIGNS, PROPOSALS, STATISTICS
from sequela.effects.settings import TABLE, Settings
from sequela.effects.thresholds import RULES
from sequela.errors import ConfigError
from sequela.events.reading import READ_LOG
from sequela.worlds.softmax import SoftmaxWorld

WORLD = SoftmaxWorld.random(4, horizon=2, seed=0)
LOG = sq.read_log(WORLD.to_log(WORLD.sample(4, 6, seed=1)))
TABLES = {
    discover: VERBS, estimate: VERBS, discover_log: VERBS, discover_to: VERBS, plan_discovery: VERBS,
    discover_population: POPULATION, diagnose_log: POPULATION, fit: FIT, explain: EXPLAIN,
    update: UPDATE, sq.read_log: READ_LOG,
}  # fmt: skip
VERB = pytest.mark.parametrize("verb", TABLES, ids=lambda verb: verb.__name__)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (Number(1, 3), [1, 3, 2.5, np.float32(2), np.int64(1)], [0.9, 3.1, "2", None, True, float("nan"), 1e999]),
        (Number(0, above=True), [1e-9], [0, -1]),
        (Number(2, whole=True), [2, 2.0, np.int32(5)], [2.5, 1, [2]]),
        (Choice(("a", "b")), ["a"], ["c", 1, None]),
        (Choice("sequela.effects.designs:DESIGNS"), list(DESIGNS), ["atomik"]),
        (Either((Number(1, whole=True), Choice(("full",)))), [1, "full"], ["1", "half", 0]),
        (Parsed("bytes", "sequela.execution.memory:parse_bytes"), ["2GB", 10], ["two", True, [1], None]),
        (FLAG, [True, False], [0, 1, "yes", None]),
        (TEXT, ["x"], [b"x", 1]),
        (PATH, ["x", PATH and __import__("pathlib").Path("x")], [1, None]),
        (NOTHING, [None], [0]),
        (Kind("a world", has=("vocabulary", "score_branches")), [WORLD], [LOG, SoftmaxWorld, "x"]),
        (Kind("a log", "sequela.events.log:EventLog"), [LOG], [WORLD, None]),
    ],
)  # fmt: skip
def test_constraints(check, good, bad):
    assert str(check)
    for value in good:
        assert check.allows(value), value
    for value in bad:
        assert not check.allows(value), value


def test_values_in_messages_are_short_and_named():
    assert described("x" * 100).endswith("…")
    assert described(SoftmaxWorld) == "SoftmaxWorld (not an object made by it)"
    assert described(LOG) == "an EventLog"
    assert plain_number(Argument("", Number(1, whole=True)), np.int64(3)).__class__ is int
    assert plain_number(Argument("", Number(1)), 3).__class__ is float
    assert plain_number(Argument("", Either((Number(1), TEXT))), "full") == "full"


def test_wrapped_functions_keep_what_an_editor_reads():
    @public({"x": Argument("A number.", Number(0)), "y": Argument("Another, with a lot to say.", Number(0), 1)})
    def add(x: float, *, y: float = 1) -> float:
        """Add.

        Args:
            x: The first.

        Returns:
            The sum.
        """
        return x + y

    assert add(1, y=2) == 3
    assert str(inspect.signature(add)) == "(x: float, *, y: float = 1) -> float"
    assert inspect.unwrap(add) is not add
    assert add.__doc__.split("\n")[2:6] == ["Args:", "    x: The first.", "    y: Another, with a lot to say.", ""]
    for call, says in [
        (add, "add: missing a required argument: 'x'"),
        (lambda: add(1, 2), "too many positional arguments"),
        (lambda: add(-1), "add: x must be a number, at least 0; got -1"),
        (lambda: add(1, y="2"), "y must be a number"),
        (lambda: add(1, z=2), "add has no argument 'z'"),
    ]:
        with pytest.raises(ConfigError, match=says):
            call()


@VERB
def test_every_argument_is_declared_with_the_default_of_the_signature(verb):
    for name, parameter in inspect.signature(verb).parameters.items():
        argument = TABLES[verb][name]
        default = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
        if name == "out":  # required where it is the point of the call
            assert default in (REQUIRED, None)
        else:
            assert argument.default == default, name
        assert parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        assert f"    {name}: " in verb.__doc__
        assert argument.help.endswith(".")
        assert argument.check is not None, name


def test_the_settings_are_the_table():
    assert list(TABLE) == list(Settings.__dataclass_fields__)
    for verb, left_out in [(discover, set()), (discover_log, set()), (discover_to, set()), (plan_discovery, set()),
                           (estimate, {"population", "fdr"}),
                           (discover_population, {"threshold", "confidence_level", "tau", "population"})]:  # fmt: skip
        assert set(TABLE) - set(inspect.signature(verb).parameters) == left_out
    for name, choices in {
        "design": DESIGNS,
        "proposal": PROPOSALS,
        "statistic": STATISTICS,
        "threshold": tuple(RULES),
    }.items():
        assert all(choice in TABLE[name].help for choice in choices), name


@VERB
def test_examples_of_the_verbs_are_found(verb):
    # The default run of all tests runs what is found in the modules.
    found = doctest.DocTestFinder().find(importlib.import_module(verb.__module__))
    named = {test.name for test in found if test.examples}
    assert f"{verb.__module__}.{verb.__name__}" in named or verb is fit


def test_every_public_function_is_declared():
    # Their settings are those of `fit`, of Hugging Face, and a path.
    free = {"cross_fit", "wrap_huggingface", "load_cross_fit", "load_run"}
    functions = [name for name in sq.__all__ if inspect.isfunction(getattr(sq, name))]
    assert {name for name in functions if not hasattr(getattr(sq, name), "__arguments__")} <= free
    assert len(functions) > 12


CALLS = {
    "swapped": (lambda: sq.discover(LOG, WORLD), r"discover: density must be a density .*; got an EventLog"),
    "swapped log": (lambda: sq.discover_log(LOG, WORLD), "density must be"),
    "swapped stream": (lambda: discover_to("out", WORLD, LOG), "density must be"),
    "swapped population": (lambda: sq.discover_population(LOG, WORLD), "density must be"),
    "swapped plan": (lambda: plan_discovery(LOG, WORLD), "density must be"),
    "swapped diagnose": (lambda: sq.diagnose_log(LOG, WORLD), "density must be"),
    "swapped fit": (lambda: sq.fit(WORLD), "fit: log must be an event log .*; got a SoftmaxWorld"),
    "a frame": (lambda: sq.discover_log(WORLD, LOG.frame), "log must be an event log .*; got a DataFrame"),
    "a path": (lambda: sq.discover_log(WORLD, "log.csv"), r"read_log.*; got 'log.csv'"),
    "a class": (lambda: sq.discover(SoftmaxWorld, ["e0"]), r"SoftmaxWorld \(not an object made by it\)"),
    "no case": (lambda: sq.discover(WORLD, 7), "case must be the log of one case"),
    "no arguments": (sq.discover, "missing a required argument: 'density'"),
    "too many": (lambda: sq.discover(WORLD, LOG, "atomic"), "too many positional arguments"),
    "misspelt": (lambda: discover_to(WORLD, LOG, "out", particels=3), "did you mean 'particles'"),
    "misspelt population": (lambda: sq.discover_population(WORLD, LOG, detla=3), "did you mean 'delta'"),
    "misspelt plan": (lambda: plan_discovery(WORLD, LOG, desing="atomic"), "did you mean 'design'"),
    "misspelt fit": (lambda: sq.fit(LOG, widht=3), "did you mean 'width'"),
    "level": (lambda: sq.discover_log(WORLD, LOG, level=0.9), "'level': it is now 'confidence_level'$"),
    "population level": (lambda: sq.discover_population(WORLD, LOG, level=1), "it is now 'hierarchy_level'$"),
    "parts": (lambda: sq.fit(LOG, parts=True), "it is now 'components'"),
    "kept_parts": (lambda: sq.discover_log(WORLD, LOG, kept_parts=1), "it is now 'kept_components'"),
    "spare_effect": (lambda: sq.discover_log(WORLD, LOG, spare_effect=True), "it is now 'exclude_effect_type'"),
    "adaptive": (lambda: sq.discover_log(WORLD, LOG, adaptive=0.1), "it is now 'screening'"),
    "text for a number": (lambda: sq.discover_log(WORLD, LOG, particles="8"), "particles must be a whole number"),
    "a list": (lambda: sq.discover_log(WORLD, LOG, design=["atomic"]), "design must be one of .*; got a list of 1"),
    "a flag": (lambda: sq.discover_log(WORLD, LOG, self_loops="no"), "self_loops must be True or False"),
    "a population path": (lambda: sq.discover_log(WORLD, LOG, population="p"), "population must be a population graph"),
    "a duration": (lambda: sq.discover_log(WORLD, LOG, horizon_time="soon"), "horizon_time must be seconds above 0"),
    "an engine": (lambda: sq.discover_population(WORLD, LOG, engine="rai"), "did you mean 'ray'"),
    "workers": (lambda: discover_to(WORLD, LOG, "out", workers=0), "workers must be a whole number, at least 1"),
    "out": (lambda: discover_to(WORLD, LOG, 7), "out must be a path; got 7"),
    "read_log": (
        lambda: sq.read_log(LOG),
        "read_log: source must be a path, or a list of paths, or ",
    ),
    "read_log name": (lambda: sq.read_log(LOG.frame, evnt="event"), "did you mean 'event'"),
    "report": (lambda: sq.report("page.html", LOG), "report: path must be a path; got an EventLog"),
    "report swapped": (lambda: sq.report(WORLD, "page.html"), "report: result must be a result, or the folder of one"),
    "report level": (lambda: sq.report("r", "p", level=1), "it is now 'hierarchy_level'"),
    "load": (lambda: sq.load_density(WORLD), "load_density: path must be a path; got a SoftmaxWorld"),
    "load results": (lambda: sq.load_discovery(None), "load_discovery: path must be a path; got None"),
    "root causes": (lambda: sq.root_causes(2, LOG), "root_causes: graph must be an instance graph"),
    "settings": (lambda: Settings(design="x"), "design must be one of"),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_calls_are_one_line_that_names_the_argument(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, says = CALLS[name]
    with pytest.raises(ConfigError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert list(tmp_path.iterdir()) == []
