"""What a run did and how far to trust it, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from sequela.text import visible

Level = Literal["good", "note", "warning"]
Grade = Literal["good", "fair", "poor"]
_MANY_TIES = 0.5
_MANY_UNKNOWN = 0.01
_MOST_REQUIRED = 20
_REPORTED = ("cross_entropy", "unigram", "bigram", "trigram")

ASSUMPTIONS = (
    "Nothing outside the log drives two of its events: a cause that nobody recorded makes the events it drives look "
    "like cause and effect.",
    "Causes come before their effects: what is later in the log is never taken for a cause.",
    "The model has learned how this log behaves: where it predicts badly, links are missing or wrong.",
)
"""What has to hold for a link to be a cause."""


@dataclass(frozen=True)
class Sentence:
    """One sentence about a run, and whether it is good news, a note or a warning."""

    level: Level
    text: str


@dataclass(frozen=True)
class Badge:
    """How far to trust a result, in one word, and the reason in a few more."""

    grade: Grade
    reason: str


def badge(run: Mapping[str, Any], population: Mapping[str, Any] | None, has_evidence: bool) -> Badge:
    """Grade a result: poor where the model predicts no better than counting, good where nothing speaks against it.

    Evidence was gathered on cases that the model had not seen: with it a result is fair unless counting is clearly
    better.

    Args:
        run: The record of the result; may be empty.
        population: The record of the population graph beside it, if there is one.
        has_evidence: Whether links between types have evidence over cases.

    Example:
        >>> badge({}, None, False)
        Badge(grade='fair', reason='how it was made is not recorded')
    """
    report = _report(run, population)
    if report is not None and _gain(report) <= 0 and not (has_evidence and _is_within_noise(report, -1)):
        return Badge("poor", "the model predicts new cases no better than simple counting")
    arguments = (run if population is None else population).get("arguments", {})
    fdr, controlled = arguments.get("fdr"), ""
    if fdr is not None:
        controlled = f"; at most {_percent(fdr)} false links expected"
        if arguments.get("objective") not in (None, "rate"):
            controlled = "; how many links are false is not bounded"
        elif arguments.get("control") == "each":
            controlled = f"; evidence of at least {round(1 / fdr)} to 1 for each link"
    for doubt in _doubts(run, report, has_evidence=has_evidence):
        return Badge("fair", doubt)
    return Badge("good", f"the model predicts new cases better than simple counting{controlled}")


def _doubts(run: Mapping[str, Any], report: Mapping[str, Any] | None, *, has_evidence: bool) -> Iterator[str]:
    """Yield what speaks against trusting a result, the most important first."""
    if not run:
        yield "how it was made is not recorded"
    if report is not None and _is_within_noise(report):
        how = "no" if _gain(report) <= 0 else "only a little"
        yield f"the model predicts new cases {how} better than simple counting, within the noise"
    counts, log = run.get("counts", {}), run.get("log", {})
    share = log.get("n_ties", 0) / max(1, log.get("n_events", 1))
    if share > _MANY_TIES:
        yield f"{_percent(share)} of the events share their time with the event before"
    if counts.get("n_unknown_events", 0) > _MANY_UNKNOWN * max(1, log.get("n_events", 1)):
        yield f"{_n(counts['n_unknown_events'], 'event')} of types the model has never seen"
    if not has_evidence:
        yield "the links have no evidence over cases"
    if report is None:
        yield "the model's predictions were not compared with simple counting"


def _report(run: Mapping[str, Any], population: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return how well the model predicts, from whichever record says it."""
    reports = [each["density"].get("report") for each in (run, population or {}) if each.get("density")]
    return next((report for report in reports if _is_complete(report)), None)


def _is_complete(report: Any) -> bool:
    """Return whether a report holds what is said of it; one from a file need not."""
    numbers = [report.get(name) for name in _REPORTED] if isinstance(report, Mapping) else [None]
    return all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)


def _gain(report: Mapping[str, Any]) -> float:
    """Return how much better than simple counting the model predicts, in nats an event."""
    return float(min(report["unigram"], report["bigram"], report["trigram"]) - report["cross_entropy"])


def _is_within_noise(report: Mapping[str, Any], sign: int = 1) -> bool:
    """Return whether the model is not clearly better than simple counting, or not clearly worse (sign -1)."""
    error = report.get("gain_std_error")
    return not isinstance(error, int | float) or not sign * _gain(report) >= 2 * error


def trust(
    run: Mapping[str, Any], population: Mapping[str, Any] | None = None, known: pl.DataFrame | None = None
) -> list[Sentence]:
    """Say what was done and how far to trust it, the most important first.

    Args:
        run: The record that `discover_to`, `discover_log` or `discover_population` keeps; may be empty.
        population: The record of the population graph that is shown with it, if there is one.
        known: Pairs that knowledge excludes or requires, as the result gives them.

    Example:
        >>> trust({"counts": {"n_cases_skipped": 2}})[0].text
        '2 cases have fewer than two events and were skipped.'
    """
    if not run:
        return [Sentence("note", "How this graph was made is not recorded in it.")]
    arguments: Mapping[str, Any] = run.get("arguments", {})
    counts: Mapping[str, Any] = run.get("counts", {})
    found = [_model(_report(run, population))] if "density" in run else []
    found += [] if population is None else _rule(population.get("arguments", {}))
    found += _rule(arguments, has_evidence=population is not None)
    if arguments.get("horizon"):
        found.append(
            Sentence("note", f"Effects later than {arguments['horizon']} events after a cause were not tested.")
        )
    if arguments.get("context"):
        found.append(Sentence("note", f"The first {_n(arguments['context'], 'event')} of a case are never causes."))
    for side in ("causes", "effects"):
        if arguments.get(side):
            found.append(Sentence("note", f"Only {side} of these types were asked for: {arguments[side]}"))
    found += [] if known is None else known_pairs(known)
    found += _folded(counts)
    n_ties = run.get("log", {}).get("n_ties", 0)
    if n_ties:
        share = n_ties / max(1, run["log"]["n_events"])
        have = "shares its" if n_ties == 1 else "share their"
        found.append(
            Sentence(
                "warning" if share > _MANY_TIES else "note",
                f"{_n(n_ties, 'event')} ({_percent(share)}) {have} time with the event before: unless the "
                "log was read with --ties order or a population tells the direction, edges between them have none.",
            )
        )
    return found


def _model(report: Mapping[str, Any] | None) -> Sentence:
    if report is None:
        return Sentence("note", "The model's predictions were not compared with simple references.")
    gain = _gain(report)
    events, cases = _n(report.get("n_events", 0), "event"), _n(report.get("n_cases", 0), "case")
    numbers = (
        f"{report['cross_entropy']:.2f} nats an event; the best of frequencies and n-grams "
        f"{report['cross_entropy'] + gain:.2f}; {events} of {cases}"
    )
    if gain <= 0:
        return Sentence(
            "warning",
            "The model does not predict new cases better than simple counting, so this graph is not to be trusted: "
            f"more data is needed ({numbers}).",
        )
    if _is_within_noise(report):
        return Sentence(
            "warning",
            f"The model predicts new cases only a little better than simple counting, within the noise ({numbers}).",
        )
    return Sentence("good", f"The model predicts new cases better than simple counting ({numbers}).")


def _rule(arguments: Mapping[str, Any], *, has_evidence: bool = False) -> list[Sentence]:
    doing = {
        "atomic": "replacing an event by others",
        "leave-one-out": "leaving an event out",
        "masked": "hiding an event",
        "staircase": "replacing an event and all after it by noise",
    }.get(str(arguments.get("design")), "taking an event away")
    if arguments.get("population") is not None and "fdr" in arguments:
        return [
            Sentence(
                "note",
                "Single edges were weighed by the evidence for their links over cases: of those on a true link at most "
                f"{_percent(arguments['fdr'])} are expected to be false, as far as the model is right.",
            )
        ]
    if arguments.get("objective") == "cascades":
        says = (
            "A link says: by their times, events of the one type brought about events of the other, and not both ways."
        )
        return [Sentence("note", says), Sentence("note", _controlled(arguments))]
    if "fdr" in arguments and arguments.get("delta") is not None:
        return [
            Sentence(
                "note",
                f"A link says: {doing} changes how likely the later event is, by {arguments['delta']:g} nats or more "
                "in the mean, and the evidence for it was gathered on cases the model had not seen.",
            ),
            Sentence("note", _controlled(arguments)),
        ]
    rule = arguments.get("threshold")
    if not isinstance(rule, Mapping):
        return []
    numbers = {name: value for name, value in rule.items() if isinstance(value, int | float)}
    if rule.get("rule") == "EffectSize" and {"delta", "confidence_level"} <= numbers.keys():
        edge = Sentence(
            "note",
            f"An edge says: {doing} changes how likely a later event is, by more than {numbers['delta']:g} nats, with "
            f"{_percent(numbers['confidence_level'])} confidence as far as sampling goes.",
        )
        uncontrolled = "No false discovery rate was controlled: the command 'sequela population' does that."
        return [edge] if has_evidence else [edge, Sentence("note", uncontrolled)]
    settings = ", ".join(f"{name} {value:g}" for name, value in numbers.items())
    return [Sentence("note", f"An edge says: {doing} passed the rule {rule.get('rule')} ({settings}).")]


def known_pairs(known: pl.DataFrame) -> list[Sentence]:
    """Say which pairs were excluded or required beforehand."""
    found = []
    n_excluded = known.filter(pl.col("knowledge") == "excluded").height
    if n_excluded:
        found.append(
            Sentence(
                "note",
                f"{_n(n_excluded, 'pair')} of event types near each other {'was' if n_excluded == 1 else 'were'} "
                "excluded by what was known beside the log, and not tested: no link there means nothing.",
            )
        )
    is_link = "is_edge" if "is_edge" in known.columns else "is_link"
    for row in known.filter(pl.col("knowledge") == "required").head(_MOST_REQUIRED).iter_rows(named=True):
        names = f"{visible(row['cause'], longest=60)} → {visible(row['effect'], longest=60)}"
        if row[is_link]:
            said = "it was found"
        elif not row["n_places"]:
            said = "the two never occur within the horizon"
        else:
            evidence = "" if row.get("log10_e") is None else f", log10 of its e-value {row['log10_e']:.1f}"
            said = f"there is not enough evidence for it in {_n(row['n_places'], 'place')}{evidence}"
        found.append(Sentence("note" if row[is_link] else "warning", f"Required beforehand: {names}; {said}."))
    return found


def _folded(counts: Mapping[str, Any]) -> list[Sentence]:
    found = []
    if counts.get("n_rare_events"):
        rare = counts["n_rare_events"]
        found.append(Sentence("note", f"Events of rare types, shown together as <rare>: {rare:,}."))
    if counts.get("n_unknown_events"):
        found.append(
            Sentence(
                "warning",
                f"Events of types the model had never seen count as <rare>: {counts['n_unknown_events']:,}.",
            )
        )
    if counts.get("n_cases_skipped"):
        one = counts["n_cases_skipped"] == 1
        found.append(
            Sentence(
                "note",
                f"{_n(counts['n_cases_skipped'], 'case')} {'has' if one else 'have'} fewer than two events and "
                f"{'was' if one else 'were'} skipped.",
            )
        )
    if counts.get("n_clamped"):
        found.append(Sentence("note", f"{_n(counts['n_clamped'], 'probability', 'probabilities')} had to be clamped."))
    return found


def made_by(run: Mapping[str, Any]) -> str:
    """Return seed and versions in one line; empty when they are not known."""
    parts = []
    if "seed" in run.get("arguments", {}):
        parts.append(f"seed {run['arguments']['seed']}")
    if "density" in run:
        parts.append(f"model {run['density']['backbone']}")
    parts += [f"{name} {version}" for name, version in run.get("versions", {}).items()]
    return ", ".join(parts)


def _n(count: int, noun: str, plural: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _controlled(arguments: Mapping[str, Any]) -> str:
    """Say what the evidence of a population's links promises."""
    if arguments.get("objective") not in (None, "rate"):
        return (
            "The links shown are the likeliest, as many as make the expected F1 highest; how many of all are false is "
            "not bounded."
        )
    if arguments.get("control") == "each":
        odds = round(1 / max(arguments["fdr"], 1e-12))
        return (
            f"Each link shown has evidence of at least {odds} to 1 and its cause first more often than not. "
            "For weak effects that order has such evidence too. How many of all links are false is not bounded."
        )
    return (
        f"Of the links shown, at most {_percent(arguments['fdr'])} are expected to be no links at all, as far "
        "as the model is right."
    )
