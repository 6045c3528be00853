"""Arguments of the verbs: what several of them share, beside the settings; and from keywords to settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sequela.arguments import FLAG, PATH, TEXT, Argument, Choice, Either, Kind, Number
from sequela.density.training.arguments import FIT
from sequela.effects.settings import TABLE, Settings

if TYPE_CHECKING:
    from sequela.evidence.edge_probability import Beliefs

CASES = ("held-out", "all")


_EVIDENCE, _RUN, _FILES = "Evidence", "How it runs", "Log and files"
A_DENSITY = Kind(
    "a density (from fit, load_density, cross_fit, wrap_huggingface or wrap_model, or a world)",
    has=("vocabulary", "score_branches"),
)
_FOLDS = Kind("", "sequela.density.training.crossfit:CrossFit")
A_LOG = Kind("an event log (from read_log)", "sequela.events.log:EventLog")
_SEQUENCES = Kind("encoded cases", "sequela.events.sequences:SequenceSet")
_ONE_CASE = Kind(
    "the log of one case (log.case(name)) or a list of event types in time order",
    "sequela.events.log:EventLog sequela.events.sequences:Case builtins:list builtins:tuple",
)

VERBS = TABLE | {
    "density": Argument("A trained density, or a world.", A_DENSITY),
    "case": Argument("The log of one case, or a list of event types in time order.", _ONE_CASE),
    "log": Argument("Event log.", Either((A_LOG, _SEQUENCES))),
    "out": Argument("Folder for the result; it appears when all is done.", PATH, panel=_FILES),
    "overwrite": Argument("Replace an earlier result.", FLAG, False, panel=_FILES, flags="--overwrite"),
    "progress": Argument(
        "Show a bar.", Either((FLAG, Kind("a reporter", has=("say", "bar")))), True, flags=None
    ),
    "self_loops": Argument("Keep u -> u in the summary.", FLAG, False, panel="What counts as an edge",
                           flags="--self-loops"),
    "engine": Argument("local (this process), or ray (a Ray cluster; extra 'ray').",
                       Choice("sequela.execution.engines:ENGINES"), "local",
                       more="Same result, to the last bit. Where a cluster is of several machines, ``out`` must be a "
                       "folder that all of them see.", panel=_RUN),
    "workers": Argument("Ray actors, each with a model of its own; by default one a processor.",
                        Number(1, whole=True), None, panel=_RUN),
    "compile": Argument("Run the model as compiled code; by default on CUDA for long jobs.",
                        Either((FLAG, Choice(("auto",)))), "auto", panel=_RUN, flags="--compile/--no-compile",
                        more="The ``density`` of `run.json` says what was done."),
    "cases": Argument("held-out (kept out of training), or all: the log is new.", Choice(CASES), "held-out",
                      more="Plays no part with `cross_fit`, where the density that never saw a case judges it.",
                      panel=_EVIDENCE),
    "hierarchy_level": Argument(
        "Links between the first 1, 2, … components of event types (several event columns).", Number(1, whole=True),
        None, panel=_EVIDENCE,
        more="All types that share these components are hidden together and forecast together, so what is rare by "
        "itself adds up; the density stays that of the whole types, and the strength is that of hiding (``design`` and "
        "``particles`` play no part)."),
    "pool": Argument(
        "Types with components: less evidence is needed where others with the same first components are linked.", FLAG,
        True, panel=_EVIDENCE, flags="--pool/--no-pool",
        more="And more elsewhere, see `sequela.evidence.multiplicity.family_weights`."),
    "calibrate": Argument("Score some cases for two seconds to tell the time.", FLAG, True, panel=_RUN, flags=None),
}  # fmt: skip
"""The arguments of the verbs, by name."""

POPULATION = VERBS | {
    "density": Argument(
        "A density trained with hidden events (the default of `fit`), or `cross_fit` densities.",
        Either((A_DENSITY, _FOLDS)),
        more="With these each case is scored by the one that never saw it.",
    ),
    "out": Argument(
        "Folder to save the result to.",
        PATH,
        None,
        more="With it, a run that was interrupted, even killed, goes on when the same call is made again.",
    ),
    "fdr": Argument(
        "Highest expected share of false links.",
        Number(0, 1, above=True),
        0.05,
        more="Holds as far as the density's forecasts with hidden events are right; see the docs page on evidence.",
        panel=_EVIDENCE,
    ),
    "control": Argument(
        "What fdr bounds: fdr (the share of false links among all), or each (each pair by itself).",
        Choice("sequela.evidence.links:CONTROLS"),
        "fdr",
        more='``"each"`` asks an e-value of ``1 / fdr`` of each pair, and takes links down to a fifth of ``delta`` '
        "whose order is as certain: it finds more in small logs. The share of false links is then bounded by no "
        "theorem, only by what strength and order ask for besides.",
        panel=_EVIDENCE,
    ),
    "objective": Argument(
        "What decides which pairs are links: rate (fdr bounds the false ones), f1 (the highest expected F1), or "
        "cascades (the same by times alone: alarms that come in cascades and repeat themselves).",
        Choice("sequela.evidence.links:OBJECTIVES"),
        "rate",
        more='With ``"f1"`` as many of the likeliest pairs are links as make the expected F1 highest; ``fdr`` and '
        '``control`` play no part, and the share of false links is not bounded. With ``"cascades"`` too; the '
        "probabilities then say in which order events of the two types bring each other about, whatever the strength.",
        panel=_EVIDENCE,
    ),
    "placebo": Argument(
        "Also tell how strong each pair is beyond the horizon, up to twice as far, where no effect is asked for.",
        FLAG,
        False,
        more="About doubles the time of the strengths. Missing where the model's memory is shorter than twice the "
        "horizon, as it is by default.",
        panel=_EVIDENCE,
        flags="--placebo",
    ),
    "delta": Argument(
        "Least mean effect of a link, in nats.", Number(0), 0.05, more="At its strongest lag.", panel=_EVIDENCE
    ),
}
"""The arguments of `discover_population`, where some mean the links rather than the edges."""


def _asks_of_states(values: Mapping[str, Any], density: Any) -> bool:
    """Return whether the log that a density was trained on has a state column, and these settings can ask of states."""
    info = getattr(density, "info", {})
    has_state = bool(dict(info.get("log", {}).get("columns", {})).get("state"))
    plain = values.get("design") in (None, "atomic") and values.get("proposal") != "siblings"
    return has_state and plain and values.get("screening") in (None, "auto", 0)


OF_MODEL = ("backbone", "min_count", "memory", "max_steps", "seed", "device")
OF_QUESTION = ("delta", "fdr", "horizon", "horizon_time", "causes", "effects", "particles")
"""Arguments of `run` that go to training, and to evidence and discovery."""
RUN = {
    "log": FIT["log"],
    "out": Argument("Folder for model, population, results, report.html and run.json.", FIT["out"].check,
                    panel="Log and files"),
    "overwrite": FIT["overwrite"],
    **{name: FIT[name] for name in OF_MODEL},
    **{name: POPULATION[name] for name in OF_QUESTION},
    "control": replace(POPULATION["control"], default="each"),
    "particles": replace(
        POPULATION["particles"], default=16,
        more="Half as many for the links between types, whose strength is a mean over many places.",
    ),
    "folds": Argument(
        "Parts of the log for evidence: cases of one are judged by a density trained on others.",
        Number(2, whole=True), 5, panel="Evidence",
        more="The densities are trained one after the other, each going on from the one before with one more part; "
        "those cases count that none of the weights before had seen.",
    ),
    "knowledge": VERBS["knowledge"],
    "fast": Argument(
        "Skip the folds: evidence from the tenth of the cases that `fit` kept apart, where that is 100 or more.", FLAG,
        False, panel="Evidence", flags="--fast",
    ),
    "progress": FIT["progress"],
}  # fmt: skip
"""The arguments of `run`, by name."""

UPDATE = {
    "results": Argument(
        "What `run` returned, or its folder.",
        Either((PATH, Kind("the result of run", "sequela.discovery.run_folder:RunResult"))),
    ),
    "log": Argument("Log with new cases.", A_LOG),
    "grown": Argument(
        "What to do with a case that is known and has changed: refuse, or keep (the earlier version stays).",
        Choice(("refuse", "keep")), "refuse",
        more="What a case has contributed cannot be taken back, and it is never counted twice. Known cases that have "
        "not changed are left aside.", panel=_FILES,
    ),
    "unknown_limit": Argument(
        "Share of new events of types that the model does not know above which it is time to train again.",
        Number(0, 1), 0.05,
        more="Beyond the share of rare types in the log of training.", panel=_RUN,
    ),
    "refit": Argument(
        "Train the model further, from its weights, on old and new cases, and find everything again.", FLAG, False,
        panel=_RUN, flags="--refit",
    ),
    "device": FIT["device"],
    "progress": FIT["progress"],
}  # fmt: skip
"""The arguments of `update`, by name."""

EXPLAIN = {
    "results": Argument(
        "What `run` returned, its folder, a folder of `discover_to`, or what `discover_log` returned.",
        Either((PATH, Kind("the result of run or discover_log",
                           "sequela.discovery.run_folder:RunResult sequela.graphs.results:Discovery"))),
    ),
    "log": Argument(
        "New cases, of which one is explained with the model and the evidence of the run; needs a run.", A_LOG, None
    ),
    "case": Argument("Name of the case; may be left out where there is one only.", TEXT, None),
    "event": Argument(
        "Position of the event, from 0 (from the end where negative; also as text), or its type where that occurs "
        "once. By default the last event.",
        Either((Number(whole=True), TEXT)), -1,
    ),
}  # fmt: skip
"""The arguments of `explain`, by name."""


def chosen(given: Mapping[str, Any]) -> tuple[Settings, Beliefs | None]:
    """Return the settings among a verb's arguments as plain values, and what a population graph among them says.

    Args:
        given: The arguments of the verb by name; those that are no settings are left aside.
    """
    values = {name: given[name] for name in TABLE if name in given}
    if values.get("contrast") is None and _asks_of_states(values, given.get("density")):
        values["contrast"] = "state"
    if values.get("knowledge") is not None:
        from sequela.discovery.knowledge import knowledge_for

        values["knowledge"] = knowledge_for(values["knowledge"], given.get("log", given.get("case")), given["density"])
    population = values.get("population")
    if population is None:
        return Settings(**values), None
    from sequela.evidence.edge_probability import Beliefs

    beliefs = Beliefs.of(population)
    values["population"] = beliefs.fingerprint
    if values.get("exclude_effect_type") is None:
        values["exclude_effect_type"] = bool(population.run.arguments.exclude_effect_type)
    return Settings(**values), beliefs


def edge_delta(delta: float, *, weighed: bool) -> float:
    """Return the smallest effect of a single edge in a run, in nats: a fifth of ``delta`` where links have evidence.

    A cause that acted late, or beside others, did little in that place. The fifth was chosen on simulated fleets
    (`fault_codes`, seeds 3 and 7): F1 of the edges on links 0.87 to 0.90, and 0.69 to 0.75.

    Args:
        delta: Least mean effect of a link, in nats.
        weighed: Whether a population weighs the edges.
    """
    from sequela.evidence.links import WEAKEST

    return delta / WEAKEST if weighed else delta
