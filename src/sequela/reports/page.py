"""The verb ``report``: one self-contained interactive page of a result.

The file holds everything it needs (no network). Event names are untrusted: they are in the file as JSON data only, the
scripts put them on the page as text, and a content security policy lets nothing run but the scripts written here.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl

from sequela.arguments import FLAG, PATH, TEXT, Either, Kind, Number, checks, list_of, public
from sequela.errors import ConfigError, check_range
from sequela.files import whole_file
from sequela.graphs.changes import Changes
from sequela.graphs.outcomes import OutcomeGraph, load_outcome_graph
from sequela.graphs.population import PopulationGraph
from sequela.graphs.results import Discovery
from sequela.graphs.saved import load_population, load_results
from sequela.reports.changes import changes_page
from sequela.reports.payload import Result, page_data

_ASSETS = files("sequela.reports") / "assets"
_SCRIPTS = (
    "base", "links", "layouts", "picture", "details", "table", "exports", "story", "timeline", "cases", "findings",
    "outcomes", "main",
)  # fmt: skip
"""Our scripts, in the order in which they are joined into one."""
MOST_OUTCOME_ROWS = 50
"""Most causes, sets and pairs of one label in the page."""


_RESULT = Kind(
    "a result, or the folder of one",
    "sequela.graphs.instance:InstanceGraph sequela.graphs.summary:SummaryGraph sequela.graphs.results:Discovery "
    "sequela.graphs.population:PopulationGraph sequela.graphs.changes:Changes builtins:str pathlib:Path",
)


@public(
    checks(
        result=_RESULT,
        path=PATH,
        population=_RESULT,
        outcomes=Kind(
            "what discover_outcomes gave, or its folder",
            "sequela.graphs.outcomes:OutcomeGraph builtins:str pathlib:Path",
        ),
        cases=Either((list_of("a list of names"), TEXT)),
        title=TEXT,
        max_links=Number(1, whole=True),
        max_megabytes=Number(0),
        hierarchy_level=Number(1, whole=True),
        anonymise=FLAG,
        overwrite=FLAG,
    )
)
def report(
    result: Result | Changes | str | Path,
    path: str | Path,
    *,
    population: PopulationGraph | str | Path | None = None,
    outcomes: OutcomeGraph | str | Path | None = None,
    cases: Sequence[str] | None = None,
    title: str | None = None,
    max_links: int = 20_000,
    max_megabytes: float = 10.0,
    hierarchy_level: int | None = None,
    anonymise: bool = False,
    overwrite: bool = True,
) -> Path:
    """Write an interactive page: one HTML file that opens from disk, to explore and to send to a colleague.

    Args:
        result: A graph, what `discover_log` or `compare` returned, or a folder that ``sequela discover`` or ``sequela
            population`` wrote. Of what `compare` returned only the title and ``overwrite`` may be set.
        path: The file to write.
        population: Evidence over cases, to show with a discovery: a population graph or its folder. Root causes and the
            default graph then rest on links that have evidence.
        outcomes: What leads to outcomes of cases, for a tab of its own: what `discover_outcomes` gave, or the folder of
            ``sequela outcomes``.
        cases: Names of cases to embed; by default as many as fit ``max_megabytes``, first the examples of the root
            causes, then those with the most events that have a cause.
        title: Heading; by default the name of the log.
        max_links: The strongest so many links go into the page.
        max_megabytes: Size of the data of the embedded cases; the page says how many of how many it holds.
        hierarchy_level: Event types by their first 1, 2, … components, for types of several columns. Without it the
            page shows whole types and can group those with equal components.
        anonymise: For a page that leaves the house: case names become "case 1", "case 2", …, the first event of the
            log is at time 0, and the name of the log is left out. Names of event types stay as they are.
        overwrite: Replace an earlier file.

    Returns:
        ``path``.

    Raises:
        ConfigError: A setting is not allowed, cases are asked of a graph that has none, there is no such level, the
            population graph is of another log, or the file exists and may not be replaced.
        LogFormatError: The folder is not one of results, or there is no such case.

    Example:
        >>> import tempfile
        >>> from sequela.discovery.discover import discover
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> graph = discover(world, ["e0", "e1", "e2", "e1"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report(graph, Path(folder) / "report.html").name
        'report.html'
    """
    check_range("max_links", max_links, low=1, whole=True)
    check_range("max_megabytes", max_megabytes, low=0)
    if not overwrite and Path(path).exists():
        raise ConfigError(f"'{path}' exists already: give another path, or overwrite=True")
    if isinstance(cases, str):
        raise ConfigError(f"cases must be a list of names; got the text {cases!r}: write [{cases!r}]")
    if isinstance(result, Changes):
        if population is not None or outcomes is not None or cases or hierarchy_level is not None or anonymise:
            raise ConfigError(
                "the page of a comparison takes no population, outcomes, cases, hierarchy_level or anonymise"
            )
        text = changes_page(result, title)
    else:
        told = {} if outcomes is None else {"outcomes": outcomes_data(outcomes)}
        text = render(
            _data(result, population, cases, title, max_links, max_megabytes, hierarchy_level, anonymise) | told
        )
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def _data(result: Result | str | Path, population: PopulationGraph | str | Path | None, *rest: Any) -> dict[str, Any]:
    """Open what is a folder, and return what the page shows."""
    if isinstance(result, str | Path):
        result = load_results(result)
    if isinstance(population, str | Path):
        population = load_population(population)
    names = ("cases", "title", "max_links", "max_megabytes", "hierarchy_level", "anonymise")
    found = page_data(result, population=population, **dict(zip(names, rest, strict=True)))
    if isinstance(result, Discovery):
        result.check_same()
    return found


def outcomes_data(outcomes: OutcomeGraph | str | Path) -> dict[str, Any]:
    """Return what the tab of outcomes shows: for each label its causes, sets that suffice, pairs that act together."""
    found = load_outcome_graph(outcomes) if isinstance(outcomes, str | Path) else outcomes
    labels = []
    for label, n_cases in sorted(found.labels.items(), key=lambda each: (-each[1], each[0])):
        causes, sets, pairs = (
            table.filter(pl.col("label") == label).head(MOST_OUTCOME_ROWS).to_dicts()
            for table in (found.links, found.sets, found.pairs)
        )
        labels.append({"label": label, "n_cases": n_cases, "causes": causes, "sets": sets, "pairs": pairs})
    return {"labels": labels, "n_cases": found.n_cases, "fdr": found.fdr, "delta": found.delta}


def render(data: dict[str, Any]) -> str:
    """Return the page for what `page_data` returned."""
    libraries = json.loads(_read("vendor/vendor.json"))
    code = "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
    scripts = [_read(f"vendor/{each['file']}") for each in libraries if each["file"]]
    scripts.append(f'(() => {{\n"use strict";\n{code}\n}})();')
    trust = "".join(f'<li class="{each["level"]}">{html.escape(each["text"])}</li>' for each in data["trust"])
    licences = "".join(_licence(each["package"], each["version"]) for each in libraries)
    values = {
        "POLICY": _policy(scripts),
        "TITLE": html.escape(data["title"]),
        "LEAD": html.escape(_lead(data["counts"], data["anonymised"])),
        "GRADE": data["badge"]["grade"],
        "REASON": html.escape(data["badge"]["reason"]),
        "TRUST": trust,
        "ASSUMPTIONS": "".join(f"<li>{html.escape(text)}</li>" for text in data["assumptions"]),
        "MADE_BY": html.escape(data["made_by"]),
        "LICENCES": licences,
        "STYLE": _read("page.css"),
        "DATA": _json(data),
        "SCRIPTS": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    pieces = _read("page.html").split("%%")
    return "".join(values[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def _lead(counts: dict[str, Any], anonymised: bool) -> str:
    """Say in one line what the page is about."""
    words = []
    for key, noun in (("n_cases", "case"), ("n_events", "event"), ("n_types", "event type"), ("n_links", "link")):
        if counts[key] is not None and not (key == "n_cases" and counts["is_one_case"]):
            words.append(f"{counts[key]:,} {noun}{'' if counts[key] == 1 else 's'}")
    words[-1] += " with evidence" if counts["has_evidence"] else ""
    return " · ".join(words) + (" · anonymised: no case names, times from 0" if anonymised else "")


def _licence(package: str, version: str) -> str:
    text = html.escape(_read(f"vendor/{package.replace('/', '-')}.LICENSE"))
    return f"<h4>{package} {version}</h4><pre>{text}</pre>"


def _policy(scripts: list[str]) -> str:
    """Allow these scripts by their hashes, inline styles, images made on the page, and nothing else."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"


def _json(data: dict[str, Any]) -> str:
    """Return JSON in which nothing can end the element that holds it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _read(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")
