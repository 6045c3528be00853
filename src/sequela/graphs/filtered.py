"""A part of a result: some cases, effects of a time, some types, or what holds for the events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import polars as pl

from sequela.arguments import TEXT, Argument, Either, Number, checks, list_of, public
from sequela.errors import ConfigError, LogFormatError
from sequela.events.filters import chosen_cases, where_expression, within_time
from sequela.events.patterns import TypeNames
from sequela.graphs.places import pair_counts
from sequela.graphs.population import PopulationGraph
from sequela.graphs.results import Discovery

_SIDES = ("cause", "effect")
_OF_EVENTS = Either((TEXT, Number()))


@public(
    checks(
        causes=TEXT, effects=TEXT, only=Either((TEXT, list_of("a list of patterns"))), since=_OF_EVENTS,
        until=_OF_EVENTS, where=TEXT,
    )
    | {"found": Argument("")}
)  # fmt: skip
def filter_result(
    found: Any,
    *,
    causes: str | None = None,
    effects: str | None = None,
    only: str | Sequence[str] | None = None,
    since: str | float | None = None,
    until: str | float | None = None,
    where: str | None = None,
) -> Any:
    """Return a part of a result.

    Args:
        found: The result of `discover_log` or `discover_to`, or a population graph (whose only filters are causes and
            effects: it has no cases).
        causes: Only edges whose cause is of these types: a pattern, see `sequela.events.patterns`.
        effects: Only edges whose effect is of these types.
        only: Only cases whose names match a pattern, or one of several.
        since: Only edges whose effect happened at this time or later.
        until: Only edges whose effect happened before this time.
        where: Only edges whose effect is an event for which this holds: SQL over the columns of its events, attributes
            among them, as ``"status == 'failed'"``.

    Returns:
        The same kind of result, in memory. Chains are cut where an edge is left out.

    Raises:
        ConfigError: A pattern matches nothing, or a condition cannot be read.
        LogFormatError: The result does not hold its events.

    Example:
        >>> from sequela import discover_log, read_log
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> whole = discover_log(world, read_log(world.to_log(world.sample(3, 6, seed=1))), progress=False)
        >>> part = filter_result(whole, only="case-00001", effects="e*")
        >>> part.events["case"].unique().to_list(), part.events.height
        (['case-00001'], 6)
    """
    if isinstance(found, PopulationGraph):
        if any(each is not None for each in (only, since, until, where)):
            raise ConfigError("a population graph has no cases: only causes and effects choose among its pairs")
        names = TypeNames(found.nodes["event"].to_list(), found.run.log.event_columns)
        pairs = found.pairs.filter(_of_types(names, causes, effects))
        return replace(found, pairs=pairs)
    events = found.events
    if events is None:
        raise LogFormatError("the result does not hold the events of its cases; run discover again")
    names = TypeNames(found.nodes["event"].to_list(), found.run.log.event_columns)
    edges = found.edges.filter(_of_types(names, causes, effects))
    if only is not None:
        cases = chosen_cases(events["case"], only, "the result")
        events, edges = (table.filter(pl.col("case").is_in(cases)) for table in (events, edges))
    conditions = [] if where is None else [where_expression(where, events.schema, "the result").fill_null(False)]
    span = within_time(since, until)
    if span is not None:
        if "time" not in events.columns:
            raise ConfigError("since and until need times, and the log of this result had none")
        conditions.append(span)
    counted = None
    if conditions:
        events = events.sort("case", "position", maintain_order=True)
        counted = events.select(pl.all_horizontal(conditions)).to_series()
        kept = events.filter(counted).select("case", effect_position="position")
        edges = edges.join(kept, on=["case", "effect_position"], how="semi", maintain_order="left")
    nodes = events.group_by("event").agg(pl.len().cast(pl.Int64).alias("count")).sort("event")
    counts = msgspec.structs.replace(
        found.run.counts, n_edges=edges.height, n_cases=events["case"].n_unique(), n_pairs_tested=0
    )
    log = msgspec.structs.replace(found.run.log, n_events=events.height)
    run = msgspec.structs.replace(found.run, counts=counts, log=log, files={}, checksum=None)
    places = _places(found, events, counted)
    return Discovery(edges, nodes, run, events, places, found.knowledge)


def _of_types(names: TypeNames, causes: str | None, effects: str | None) -> pl.Expr:
    """Return the condition that cause and effect of an edge are of the types asked for."""
    found = pl.lit(True)
    for side, pattern in zip(_SIDES, (causes, effects), strict=True):
        if pattern is not None:
            chosen = names.matching(pattern)
            if not len(chosen):
                raise ConfigError(f"{side}s='{pattern}' matches no event type of the result; {names.hint()}")
            found &= pl.col(side).is_in([names.names[number] for number in chosen])
    return found


def _places(found: Discovery, events: pl.DataFrame, counted: pl.Series | None) -> pl.DataFrame | None:
    """Return how often each pair was tested in what is left; None where that is not known."""
    if found.places is None or found.run.arguments.proposal == "siblings":
        return None
    names = events["event"].unique().sort().to_list()
    number = {name: place for place, name in enumerate(names)}
    ids = events["event"].replace_strict(number, return_dtype=pl.Int32).to_numpy()
    lengths = events["case"].rle().struct.field("len").to_numpy()
    counts = pair_counts(
        ids, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        events["time"].to_numpy() if "time" in events.columns else None, names=names, arguments=found.run.arguments,
        unordered_ties=found.edges["lag"].min() == 0,
        limits=None if found.knowledge is None else found.knowledge.limits(names),
        effects=None if counted is None else counted.to_numpy(),
    )  # fmt: skip
    return counts.join(found.places.drop("n_places"), on=list(_SIDES), how="inner", maintain_order="left")
