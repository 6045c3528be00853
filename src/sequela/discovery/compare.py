"""The verb ``compare``: what changed between two results (before and after a release, two sites, two model years)?

The edges of both results say which types are linked and how the effect falls off with the lag; whether the effect
changed is asked of the events themselves (`sequela.evidence.changes`). So two densities that were trained apart, and
differ by chance, do not make a change.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.arguments import PATH, Argument, Either, Kind, Number, public
from sequela.errors import ConfigError, LogFormatError
from sequela.evidence.changes import (
    Cases,
    Links,
    above_common_level,
    by_q_values,
    change_p_values,
    known_effects,
    places_by_lag,
    rate_p_values,
    slopes,
)
from sequela.graphs.changes import Changes
from sequela.graphs.results import Discovery
from sequela.graphs.saved import load_discovery
from sequela.graphs.schemas import CHANGED_LINKS, CHANGED_TYPES

MAX_LINKS = 1_000
"""Most links that are tested: those in the most cases."""
LEAST_CASES = 10
"""Cases that must hold an event after a cause within the horizon, in each log, before a link is tested."""

_RESULTS = Either((PATH, Kind("what discover_log or load_discovery gave", "sequela.graphs.results:Discovery")))
COMPARE = {
    "results_a": Argument("The first result: a folder that `discover` or `run` wrote, or a `Discovery`.", _RESULTS),
    "results_b": Argument("The second result.", _RESULTS),
    "fdr": Argument("Highest expected share of false changes among those of links, and among those of types.",
                    Number(0, 1, above=True), 0.05),
}  # fmt: skip
"""The arguments of `compare`, by name."""


@public(COMPARE)
def compare(results_a: str | Path | Discovery, results_b: str | Path | Discovery, *, fdr: float = 0.05) -> Changes:
    """Find links that appeared, vanished, grew or fell, event types that came or went, and rates that changed.

    A link is tested with all other links known (`sequela.evidence.changes`), with errors by case. Hypotheses are all
    pairs of event types, since the links were chosen on the same cases; the rate is that of Benjamini and Yekutieli,
    which holds under any dependence. A change of a rate is one of events a case, or of those before which no linked
    cause stands.

    Raises:
        LogFormatError: A folder is not one of results, or lacks its events.
        ConfigError: The two have no event type in common.

    Example:
        >>> import sequela as sq
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> before, after = (SoftmaxWorld([0.0] * 3, [[0, w, 0], [0] * 3, [0] * 3], horizon=1) for w in (2.0, 0.0))
        >>> results = [
        ...     sq.discover_log(w, sq.read_log(w.to_log(w.sample(150, 20, seed=2))), progress=False)
        ...     for w in (before, after)
        ... ]
        >>> sq.compare(*results).changed.select("cause", "effect", "change").rows()
        [('e0', 'e1', 'vanished')]
    """
    both = [one if isinstance(one, Discovery) else load_discovery(one) for one in (results_a, results_b)]
    events = [_events(one) for one in both]
    names = sorted(set(events[0]["event"]) | set(events[1]["event"]))
    if not set(events[0]["event"]) & set(events[1]["event"]):
        raise ConfigError("the two results have no event type in common: were they read with the same columns?")
    cases = [_cases(each, names, _has_ticks(one)) for each, one in zip(events, both, strict=True)]
    horizon = max(one.run.arguments.horizon or 1 for one in both)
    notes = _notes(both, events)
    known, n_left = _links(both, cases, names, horizon)
    if n_left:
        notes.append(f"{n_left:,} pairs were not tested: the {MAX_LINKS:,} with an edge in the most cases were")
    counts = np.bincount(np.concatenate([each.ids for each in cases]), minlength=len(names))
    own, differs = above_common_level(known, counts)
    if not differs.all():
        notes.append(
            f"{np.count_nonzero(~differs):,} pairs are left out: their effect gets rarer only because the cause makes "
            "something else more frequent"
        )
    joined = _with_results(_tested(own, cases, names), both, fdr)
    types = _types(cases, known, names, fdr)
    sources = tuple(one.run.log.source for one in both)
    first, second = (len(each.offsets) - 1 for each in cases)
    return Changes(joined, types, fdr, (sources[0], sources[1]), (first, second), tuple(notes))


def _events(found: Discovery) -> pl.DataFrame:
    events = found.events
    if events is None:
        where = "a result" if found.folder is None else f"'{found.folder}'"
        raise LogFormatError(f"{where} does not hold the events of its cases; run discover again")
    return events


def _has_ticks(found: Discovery) -> bool:
    """Return whether lags count time stamps: somewhere the lag is not the distance of the positions."""
    return bool(found.scan().select((pl.col("lag") != pl.col("effect_position") - pl.col("cause_position")).any())
                .collect().item())  # fmt: skip


def _cases(events: pl.DataFrame, names: list[str], has_ticks: bool) -> Cases:
    lengths = events["case"].rle().struct.field("len").to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    index = dict(zip(names, range(len(names)), strict=True))
    ids = events["event"].replace_strict(index, return_dtype=pl.Int64).to_numpy()
    if has_ticks and "time" in events.columns:
        times = events["time"].to_numpy()
        starts = np.append(True, np.diff(times) > 0)
        return Cases(ids, offsets, np.cumsum(starts))
    return Cases(ids, offsets, np.arange(len(ids)) - np.repeat(offsets[:-1], lengths))


def _notes(both: list[Discovery], events: list[pl.DataFrame]) -> list[str]:
    notes = []
    first, second = (one.run.arguments.to_dict() for one in both)
    other = [name for name in sorted({*first, *second} - {"seed", "population"}) if first.get(name) != second.get(name)]
    if other:
        said = ", ".join(f"{name} ({first.get(name)} and {second.get(name)})" for name in other)
        notes.append(f"the two were discovered with other settings, so effect_a_nats and effect_b_nats differ: {said}")
    shared = set(events[0]["case"]) & set(events[1]["case"])
    if shared:
        notes.append(
            f"{len(shared):,} case names are in both logs: the test takes them as different cases; it is not valid "
            "where they are the same"
        )
    return notes


def _links(both: list[Discovery], cases: list[Cases], names: list[str], horizon: int) -> tuple[Links, int]:
    """Return the pairs with an edge in two cases or more, with their effect by lag, and how many more there were."""
    used = ["case", "cause", "effect", "lag", "pointwise_nats"]
    edges = pl.concat(
        [one.scan().filter(pl.col("lag") >= 1).select(*used, log=pl.lit(i)) for i, one in enumerate(both)]
    ).collect()
    by_pair = edges.group_by("cause", "effect").agg(pl.struct("log", "case").n_unique().alias("n_cases"))
    pairs = by_pair.filter(pl.col("n_cases") >= 2).sort("n_cases", "cause", "effect", descending=[True, False, False])
    kept = pairs.head(MAX_LINKS)
    index = dict(zip(names, range(len(names)), strict=True))
    cause, effect = (kept[side].replace_strict(index, return_dtype=pl.Int64).to_numpy() for side in ("cause", "effect"))
    row = {pair: i for i, pair in enumerate(kept.select("cause", "effect").iter_rows())}
    links = Links(cause, effect, np.zeros((len(row), horizon)))
    for u, v, lag, total in edges.group_by("cause", "effect", "lag").agg(pl.col("pointwise_nats").sum()).iter_rows():
        if (u, v) in row and lag <= horizon:
            links.shape[row[u, v], lag - 1] = total
    places = sum(places_by_lag(each, links, len(names)) for each in cases)
    return Links(cause, effect, links.shape / np.maximum(places, 1)), pairs.height - kept.height


def _tested(links: Links, cases: list[Cases], names: list[str]) -> pl.DataFrame:
    """Return pair, change of the effect and its test, one row a link."""
    if not len(links.cause):
        return pl.DataFrame(schema={name: CHANGED_LINKS.schema[name] for name in _OF_THE_TEST})
    first, second = fitted = [slopes(each, links, len(names)) for each in cases]
    testable = np.minimum(first.n_cases, second.n_cases) >= LEAST_CASES
    p = change_p_values(first, second, testable)
    loops = links.cause == links.effect  # known beside the others; no links themselves
    p = np.where(loops, 1.0, p)
    size = np.maximum(first.size, second.size)
    gains = [np.where(each.n_cases > 0, each.theta * size, np.nan) for each in fitted]
    known = pl.Series(names, dtype=pl.String)
    return (
        pl.DataFrame(
            {
                "cause": known.gather(links.cause),
                "effect": known.gather(links.effect),
                "gain_a_nats": gains[0],
                "gain_b_nats": gains[1],
                "std_error_a_nats": np.sqrt(first.variance) * np.abs(size),
                "std_error_b_nats": np.sqrt(second.variance) * np.abs(size),
                "p_value": p,
                "q_value": by_q_values(p, len(names) * (len(names) - 1)),
            }
        )
        .filter(~pl.Series(loops))
        .with_columns(pl.col("gain_a_nats", "gain_b_nats").fill_nan(None))
    )


_OF_THE_TEST = (
    "cause",
    "effect",
    "gain_a_nats",
    "gain_b_nats",
    "std_error_a_nats",
    "std_error_b_nats",
    "p_value",
    "q_value",
)


def _with_results(table: pl.DataFrame, both: list[Discovery], fdr: float) -> pl.DataFrame:
    """Add what the two results say of each link, and call the change."""
    for side, found in zip("ab", both, strict=True):
        pairs = found.summary().edges
        is_link = pl.col("is_link") if "is_link" in pairs.columns else pl.lit(True)
        effect = pl.col("effect_nats") if "effect_nats" in pairs.columns else pl.col("cmi_nats")
        said = pairs.select("cause", "effect", effect.alias(f"effect_{side}_nats"),
                            pl.col("n_cases").alias(f"n_cases_{side}"), is_link.alias(f"is_link_{side}"))  # fmt: skip
        table = table.join(said, on=["cause", "effect"], how="left", maintain_order="left").with_columns(
            pl.col(f"n_cases_{side}").fill_null(0), pl.col(f"is_link_{side}").fill_null(False)
        )
    table = table.filter(pl.col("is_link_a") | pl.col("is_link_b") | (pl.col("q_value") <= fdr))
    none_a, none_b = (pl.col(f"gain_{side}_nats").abs() < 3 * pl.col(f"std_error_{side}_nats") for side in "ab")
    stronger = pl.col("gain_b_nats").abs() > pl.col("gain_a_nats").abs()
    change = (
        pl.when(pl.col("q_value") > fdr).then(pl.lit("none"))
        .when(stronger & none_a).then(pl.lit("appeared"))
        .when(~stronger & none_b).then(pl.lit("vanished"))
        .when(stronger).then(pl.lit("grew")).otherwise(pl.lit("fell"))
    )  # fmt: skip
    table = table.with_columns(change=change).select(list(CHANGED_LINKS.schema)).cast(CHANGED_LINKS.schema)
    return table.sort("q_value", "p_value", "cause", "effect")


def _types(cases: list[Cases], links: Links, names: list[str], fdr: float) -> pl.DataFrame:
    """Compare the rates of all events, and of those that no link explains."""
    counts: list[NDArray[np.int64]] = []
    roots: list[NDArray[np.int64]] = []
    causes = Links(links.cause, links.effect, np.maximum(links.shape, 0.0))
    for each in cases:
        case = np.repeat(np.arange(len(each.offsets) - 1), np.diff(each.offsets))
        explained = np.zeros(len(each.ids), dtype=bool)
        known = known_effects(each, causes, len(names)).tocoo()
        explained[known.row[links.effect[known.col] == each.ids[known.row]]] = True
        shape = (len(each.offsets) - 1, len(names))
        for kept, rows in ((counts, slice(None)), (roots, ~explained)):
            table = np.zeros(shape, dtype=np.int64)
            np.add.at(table, (case[rows], each.ids[rows]), 1)
            kept.append(table)
    p = np.concatenate([rate_p_values(*counts), rate_p_values(*roots)])
    q, root_q = np.split(by_q_values(p, len(p)), 2)
    first, second = (table.sum(axis=0) for table in counts)
    change = np.where(first == 0, "new", np.where(second == 0, "vanished", _more_or_fewer(counts)))
    columns = {
        "event": names,
        "change": np.where(q <= fdr, change, "none").tolist(),
        "root_change": np.where(root_q <= fdr, _more_or_fewer(roots), "none").tolist(),
        "n_cases_a": (counts[0] > 0).sum(axis=0), "n_cases_b": (counts[1] > 0).sum(axis=0),
        "per_case_a": counts[0].mean(axis=0), "per_case_b": counts[1].mean(axis=0),
        "q_value": q,
        "roots_per_case_a": roots[0].mean(axis=0), "roots_per_case_b": roots[1].mean(axis=0),
        "root_q_value": root_q,
    }  # fmt: skip
    return pl.DataFrame(columns, schema=CHANGED_TYPES.schema).sort(
        pl.min_horizontal("q_value", "root_q_value"), "event"
    )


def _more_or_fewer(counts: list[NDArray[np.int64]]) -> NDArray[np.str_]:
    return np.where(counts[1].mean(axis=0) > counts[0].mean(axis=0), "more", "fewer")
