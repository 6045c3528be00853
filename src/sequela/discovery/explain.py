"""The verb ``explain``: why did this event happen? For a case of a run, or for a new one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sequela.arguments import public
from sequela.discovery.arguments import EXPLAIN, edge_delta
from sequela.discovery.discover import discover
from sequela.discovery.run_folder import RunResult, load_run, read_progress
from sequela.errors import ConfigError, nearest_spelling
from sequela.events.log import EventLog
from sequela.graphs.explanation import Explanation
from sequela.graphs.instance import InstanceGraph
from sequela.graphs.population import PopulationGraph
from sequela.graphs.results import Discovery
from sequela.graphs.saved import load_discovery


class Explained(NamedTuple):
    """An answer, and what it was taken from.

    Attributes:
        explanation: The answer.
        graph: The graph of the case.
        population: The evidence over cases; None where there is none.
    """

    explanation: Explanation
    graph: InstanceGraph
    population: PopulationGraph | None


@public(EXPLAIN)
def explain(
    results: RunResult | Discovery | str | Path,
    log: EventLog | None = None,
    *,
    case: str | None = None,
    event: int | str = -1,
) -> Explained:
    """Say why one event of a case happened.

    Args:
        results: What `run` returned, its folder, a folder of `discover_to`, or what `discover_log` returned.

    Raises:
        ConfigError: No case or no such event is named, or new cases come without a run.
        LogFormatError: There is no such case, or the folder is not one of results.
        VocabularyError: The new case is not of the model's vocabulary.

    Example:
        >>> import tempfile
        >>> import sequela as sq
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> log = sq.read_log(world.to_log(world.sample(30, 8, seed=1)))
        >>> found = sq.run(log, out=Path(tempfile.mkdtemp()) / "out", max_steps=10, fast=True, progress=False)
        >>> explain(found, case="case-00003").explanation.position
        7
    """
    run = _opened(results)
    if log is not None:
        if run is None:
            raise ConfigError(f"new cases need the model of a run; '{results}' holds results only: use `sequela run`")
        graph = explain_new(run, log.case(_named(case, log.case_names)))
    else:
        discovery = results if isinstance(results, Discovery) else None
        if discovery is None:
            discovery = run.discovery if run is not None else load_discovery(Path(str(results)))
        if case is None:
            events = discovery.scan_events()
            names = (
                pl.Series([]) if events is None else events.select("case").unique(maintain_order=True).collect()["case"]
            )
            case = _named(None, names)
        graph = discovery.case(case)
    return Explained(graph.explain(event_of(graph, event)), graph, None if run is None else run.population)


def explain_new(run: RunResult, case: EventLog) -> InstanceGraph:
    """Return the graph of a case that was not in the log of a run, found as those in it were."""
    asked = run.question | {"seed": run.record.arguments["seed"]}
    asked["delta"] = edge_delta(asked["delta"], weighed=run.population is not None)
    weighed = {} if run.population is None else {"population": run.population, "fdr": run.record.arguments["fdr"]}
    return discover(run.model, case, **asked, **weighed)


def _opened(results: RunResult | Discovery | str | Path) -> RunResult | None:
    if isinstance(results, RunResult):
        return results
    if isinstance(results, Discovery):
        return None
    return None if read_progress(results) is None else load_run(results)


def _named(case: str | None, names: Iterable[str]) -> str:
    known = list(map(str, names))
    if case is not None:
        return case
    if len(known) == 1:
        return known[0]
    raise ConfigError(f"name the case to explain (case=..., --case NAME){nearest_spelling('', known)}")


def event_of(graph: InstanceGraph, event: int | str) -> int | str:
    """Return what names an event: a position where the text is a number and no event type."""
    if not isinstance(event, str) or event in graph.events:
        return event
    try:
        return int(event)
    except ValueError:
        return event
