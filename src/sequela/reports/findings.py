"""The root causes of a whole log, ranked, each with its typical chain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from sequela.reports.traces import Traces

_EXAMPLES = 3
_LONGEST_CHAIN = 8
_OTHERS = 3


class _Chains:
    """How often each chain of types occurs, when every event is traced back along its strongest cause."""

    def __init__(self, traces: Traces) -> None:
        self.children: list[dict[int, int]] = []
        self.count: list[int] = []
        self.n_cases: list[int] = []
        self.examples: list[list[int]] = []
        self.seconds: list[list[float]] = []
        self.starts: dict[int, int] = {}
        self._last: list[int] = []
        node = np.full(len(traces.types), -1, dtype=np.int64)
        root = np.arange(len(traces.types))
        types, parents, cases = traces.types.tolist(), traces.strongest_cause.tolist(), traces.case_of.tolist()
        caused = np.flatnonzero(_on_the_way(traces))
        cases_of, lengths = traces.case_of[caused], np.diff(traces.offsets)
        order = np.lexsort((traces.depth[caused], cases_of, lengths[cases_of]))  # short cases are the best examples
        for row in caused[order].tolist():  # causes come first: their node is known
            parent = parents[row]
            if node[parent] < 0:
                node[parent] = self._add(self.starts, types[parent], parent, cases[parent])
            root[row] = root[parent]
            node[row] = here = self._add(self.children[node[parent]], types[row], row, cases[row])
            if traces.times is not None:
                self.seconds[here].append(float(traces.times[row] - traces.times[root[row]]))

    def _add(self, children: dict[int, int], kind: int, row: int, case: int) -> int:
        node = children.setdefault(kind, len(self.count))
        if node == len(self.count):
            self.count.append(0)
            self.n_cases.append(0)
            self.children.append({})
            self.examples.append([])
            self.seconds.append([])
            self._last.append(-1)
        self.count[node] += 1
        if self._last[node] != case:
            self._last[node] = case
            self.n_cases[node] += 1
            if len(self.examples[node]) < _EXAMPLES:
                self.examples[node].append(row)
        return node

    def typical(self, start: int) -> tuple[list[int], int]:
        """Return the types of the typical chain from a type, and its last node; empty and -1 where there is none.

        The most frequent effect comes next, for as long as it follows at least every third time.
        """
        node = self.starts.get(start, -1)
        if node < 0:
            return [], -1
        chain = [start]
        while self.children[node] and len(chain) < _LONGEST_CHAIN:
            kind, child = max(self.children[node].items(), key=lambda item: (self.count[item[1]], -item[0]))
            if len(chain) > 1 and 3 * self.count[child] < self.count[node]:
                break
            chain.append(kind)
            node = child
        return chain, node

    def others(self, chain: list[int]) -> list[list[int]]:
        """Return what else follows the start of a chain, as ``[type, count]``, the most frequent first."""
        if len(chain) < 2:
            return []
        after = self.children[self.starts[chain[0]]]
        ranked = sorted(((self.count[node], -kind) for kind, node in after.items() if kind not in chain), reverse=True)
        return [[-kind, count] for count, kind in ranked if count > 1][:_OTHERS]


def _on_the_way(traces: Traces) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which events with a cause are asked for, or lie on the strongest chain to one, ``[N]``."""
    found = traces.is_asked.copy()
    rows = np.flatnonzero(found)
    while len(rows):
        above = traces.strongest_cause[rows]
        rows = np.unique(above[traces.is_caused[above] & ~found[above]])
        found[rows] = True
    return found


def findings(traces: Traces, links: Mapping[tuple[int, int], Mapping[str, Any]] | None, most: int) -> dict[str, Any]:
    """Rank the root causes of all cases by how many later events they explain, times the confidence where it is known.

    Args:
        traces: All cases.
        links: What is known of the links with evidence over cases (``q_value``, ``confidence``), by their types.
        most: At most so many root causes.

    Returns:
        ``n_caused`` (events with a cause that counts), ``n_usual`` (further such events, which went as usual and are
        not asked for), ``n_roots`` (types), ``n_single`` (root types of one case only, left out where the log has
        several), ``n_undirected`` (edges with evidence and without direction), and ``roots``, each with ``type``,
        ``n_cases``, ``n_starts`` (events of the type at which a chain begins), ``n_events`` (all events of the type),
        ``n_explained`` (events, a sum of shares), ``share`` (of those with a cause), ``chain`` (types), ``others``
        (what else follows its start: type and count), ``chain_count``, ``chain_cases``, ``seconds`` (median from the
        first to the last event of the chain; None without times), ``confidence`` (of all links of the chain together;
        None where it is not known), ``q_value`` (the largest of the chain's links) and ``examples`` (rows of the last
        events of such chains).
    """
    chains = _Chains(traces)
    rows = np.flatnonzero(traces.explained)
    table = pl.DataFrame(
        {
            "type": traces.types[rows],
            "case": traces.case_of[rows],
            "explained": traces.explained[rows],
        },
        schema={"type": pl.Int64, "case": pl.Int64, "explained": pl.Float64},
    )
    ranked = (
        table.group_by("type")
        .agg(pl.col("case").n_unique().alias("n_cases"), pl.len().alias("n_starts"), pl.col("explained").sum())
        .sort([pl.col("explained").round(9), "type"], descending=[True, False])
    )
    shown = ranked.filter(pl.col("n_cases") > 1) if len(traces.names) > 1 else ranked
    confidence = _mean_confidence(traces)
    counts = np.bincount(traces.types)
    n_caused = int(traces.is_asked.sum())
    found = []
    for kind, n_cases, n_starts, explained in shown.head(most).iter_rows():
        chain, node = chains.typical(kind)
        pairs = list(pairwise(chain))
        q_values = [links[pair].get("q_value") for pair in pairs if pair in links] if links else []
        seconds = chains.seconds[node] if node >= 0 else []
        found.append(
            {
                "type": kind,
                "n_cases": n_cases,
                "n_starts": n_starts,
                "n_events": int(counts[kind]),
                "n_explained": round(explained, 3),
                "share": round(explained / n_caused, 6),
                "chain": chain,
                "others": chains.others(chain),
                "chain_count": chains.count[node] if node >= 0 else 0,
                "chain_cases": chains.n_cases[node] if node >= 0 else 0,
                "seconds": round(float(np.median(seconds)), 3) if seconds else None,
                "confidence": _chain_confidence(pairs, confidence, links),
                "q_value": max((q for q in q_values if q is not None), default=None),
                "examples": chains.examples[node] if node >= 0 else [],
            }
        )
    found.sort(key=_sure_share, reverse=True)
    return {
        "n_caused": n_caused,
        "n_usual": int(traces.is_caused.sum()) - n_caused,
        "n_roots": shown.height,
        "n_single": ranked.height - shown.height,
        "n_undirected": _n_undirected(traces),
        "roots": found,
    }


def _sure_share(root: Mapping[str, Any]) -> float:
    """Return how much a root explains, as far as its chain is one: what is common but doubtful comes later."""
    confidence = root["confidence"]
    return float(root["share"] * (1.0 if confidence is None else confidence))


def _mean_confidence(traces: Traces) -> dict[tuple[int, int], float]:
    """Return the mean confidence of the edges that count, by their pair of types."""
    if "confidence" not in traces.values:
        return {}
    types = {"cause": traces.types[traces.cause], "effect": traces.types[traces.effect]}
    edges = pl.DataFrame({**types, "value": traces.values["confidence"]}).filter(pl.Series(traces.counted))
    means = edges.group_by("cause", "effect").agg(pl.col("value").mean())
    return {(cause, effect): mean for cause, effect, mean in means.iter_rows() if mean is not None}


def _n_undirected(traces: Traces) -> int:
    if "directed" not in traces.values:
        return 0
    return int((~traces.values["directed"].fill_null(True).to_numpy() & traces.has_evidence).sum())


def _chain_confidence(
    pairs: list[tuple[int, int]],
    edges: Mapping[tuple[int, int], float],
    links: Mapping[tuple[int, int], Mapping[str, Any]] | None,
) -> float | None:
    """Return the product of the links' confidences: of the edges, else of the population; None where one is missing."""
    values = [edges.get(pair, (links or {}).get(pair, {}).get("confidence")) for pair in pairs]
    known = [float(value) for value in values if value is not None]
    return round(math.prod(known), 4) if known and len(known) == len(values) else None
