"""Tables for the terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sequela.display import cell, rich_table
from sequela.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from sequela.discovery.run_folder import RunResult
    from sequela.evaluation.compare import Evaluation, LinkEvaluation
    from sequela.evaluation.metrics import Scores
    from sequela.evaluation.ties import DirectedScores, TickEvaluation
    from sequela.graphs.population import PopulationGraph
    from sequela.graphs.summary import SummaryGraph


_WIDTH = 160
_OF_POWER = ("power", "undecidable")
"""Findings on links that would be too weak or too rare to be seen: `run.json` and `sequela diagnose` have them."""


def print_links(summary: SummaryGraph, *, title: str, truth: SummaryGraph | None = None, limit: int = 15) -> None:
    """Print the strongest links between event types; with a truth, say which of them are real."""
    links = summary.links
    table = _links_table(title, min(limit, links.height), links.height)
    for name in ("edges", "of places", "cases", "lag", "nats"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("makes it", no_wrap=True)
    real = None if truth is None else set(truth.edges.select("cause", "effect").iter_rows())
    if real is not None:
        table.add_column("true", no_wrap=True)
    for row in links.head(limit).iter_rows(named=True):
        share = row.get("share")
        cells: list[str | Text] = [
            _name(row["cause"]),
            _name(row["effect"]),
            f"{row['n_edges']:,}",
            "–" if share is None else f"{share:.0%}",
            f"{row['n_cases']:,}",
            f"{row['mean_lag']:.1f}",
            f"{row['cmi_nats']:.3f}",
            _direction(row),
        ]
        if real is not None:
            cells.append("yes" if (row["cause"], row["effect"]) in real else "no")
        table.add_row(*cells)
    _console().print(table)


def print_population(found: PopulationGraph, *, limit: int = 15) -> None:
    """Print the strongest links of a population with their evidence; what makes one uncertain stands below.

    The three strongest are said in words too.
    """
    from sequela.evidence.words import link_sentence

    table = _links_table("Strongest links", min(limit, len(found)), len(found))
    for name in ("cases", "lag", "nats (95 %)", "q"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("makes it", no_wrap=True)
    marks: list[str] = []
    for row in found.edges.head(limit).iter_rows(named=True):
        mark = row["mark"]
        if mark is not None and mark not in marks:
            marks.append(mark)
        table.add_row(
            _name(row["cause"]),
            _name(row["effect"]),
            f"{row['support_cases']:,}",
            "–" if row["lag"] is None else f"{row['lag']}",
            f"{row['cmi_nats']:.2f} ({row['cmi_low_nats']:.2f}–{row['cmi_high_nats']:.2f})",
            f"{row['q_value']:.1g}",
            _direction(row) + ("" if mark is None else f" [{marks.index(mark) + 1}]"),
            style=None if mark is None else "dim",
        )
    console = _console()
    console.print(table)
    for number, mark in enumerate(marks, start=1):
        console.print(Text(f"[{number}] {visible(mark)}"))
    for row in found.edges.head(3).iter_rows(named=True):
        console.print(_name(link_sentence(row)))


def _links_table(title: str, n_shown: int, n_links: int) -> Table:
    """Return a table of links; only the names are folded where the terminal is narrow."""
    table = Table(title=f"{title} ({n_shown} of {n_links:,})", title_justify="left")
    for name in ("cause", "effect"):
        table.add_column(name, overflow="fold", min_width=8)
    return table


def _direction(row: dict[str, Any]) -> str:
    return "likelier" if row["pointwise_nats"] >= 0 else "rarer"


def print_evaluation(found: Evaluation) -> None:
    """Print all numbers of a comparison with labels, and in words what they rest on."""
    print_scores(
        {"edges between events": found.pooled, "links between types": found.links, **found.controls()},
        title="Found against true",
    )
    table = Table(title="Recall by lag", title_justify="left")
    for name in ("lag", "recall", "true edges"):
        table.add_column(name, justify="right")
    for lag, (recall, n_true) in found.recall_by_lag.items():
        table.add_row(str(lag), f"{recall:.3f}", f"{n_true:,}")
    console = Console(highlight=False)
    console.print(table)
    low, high = found.f1_interval
    console.print(
        f"F1 {found.pooled.f1:.3f} (95 % interval over {found.n_cases:,} cases: {low:.3f} to {high:.3f}; mean of cases "
        f"{found.mean_f1:.3f}); average precision {found.average_precision:.3f}; structural Hamming distance "
        f"{found.shd:,} edges, {found.links_shd:,} links",
        soft_wrap=True,
    )


def print_link_scores(found: LinkEvaluation) -> None:
    """Print how links between types compare with those of the labels."""
    print_scores({"links between types": found.links}, title="Found against true")
    Console(highlight=False).print(f"structural Hamming distance {found.shd:,} links", soft_wrap=True)


def print_tick_evaluation(found: TickEvaluation) -> None:
    """Print the comparison with labels of a log whose events share time stamps."""
    table = Table(title="Found against true; an edge without direction counts one half", title_justify="left")
    table.add_column("")
    parts = {"edges": found.events, "between ticks": found.between, "within a tick": found.within, "links": found.links}
    for name in parts:
        table.add_column(name, justify="right")
    rows: dict[str, Callable[[DirectedScores], object]] = {
        "precision": lambda score: float(score.precision),
        "recall": lambda score: float(score.recall),
        "F1": lambda score: float(score.f1),
        "F1 of adjacencies": lambda score: float(score.adjacency.f1),
        "right direction": lambda score: float(score.direction_accuracy),
        "found": lambda score: score.n_directed + score.n_undirected,
        "of these undirected": lambda score: score.n_undirected,
        "of these reversed": lambda score: score.n_reversed,
        "true": lambda score: score.n_true,
    }
    for name, value in rows.items():
        table.add_row(name, *(cell(value(score)) for score in parts.values()))
    lags = Table(title="Recall by lag in ticks (time stamps)", title_justify="left")
    for name in ("lag", "recall", "true edges"):
        lags.add_column(name, justify="right")
    for lag, (recall, n_true) in found.recall_by_lag.items():
        lags.add_row(str(lag), f"{recall:.3f}", f"{n_true:,}")
    console = Console(highlight=False)
    console.print(table)
    console.print(lags)


def print_scores(
    scores: dict[str, Scores], *, title: str = "Edges against the world's exact truth, in cases never trained on"
) -> None:
    """Print agreement with a truth, one method a row."""
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    for name in ("precision", "recall", "F1", "found", "true"):
        table.add_column(name, justify="right")
    for method, score in scores.items():
        table.add_row(
            method,
            f"{score.precision:.3f}",
            f"{score.recall:.3f}",
            f"{score.f1:.3f}",
            f"{score.n_predicted:,}",
            f"{score.n_true:,}",
        )
    Console(highlight=False).print(table)


def print_frame(frame: pl.DataFrame, *, title: str) -> None:
    """Print any table of numbers."""
    _console().print(rich_table(title, frame))


def _console() -> Console:
    """Return a console that does not squeeze columns to 80 characters where the output goes to a file."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH
    return console


def _name(text: str) -> Text:
    """Names come from logs: no markup, no control characters."""
    return Text(visible(text))


def print_run(result: RunResult, *, limit: int = 8) -> None:
    """Print what a run found: the root causes, how far to trust them, and what to open."""
    from sequela.graphs.explanation import sure_text

    record = result.record
    console = Console(highlight=False)
    n_roots = record.counts.get("n_roots", len(record.roots))
    table = Table(title=f"Root causes ({min(limit, len(record.roots))} of {n_roots})", title_justify="left")
    table.add_column("typical chain", overflow="fold")
    for name in ("cases", "explains", "confidence"):
        table.add_column(name, justify="right", no_wrap=True)
    for root in record.roots[:limit]:
        chain = " → ".join(visible(name) for name in root.chain or [root.event])
        sure = "–" if root.confidence is None else sure_text(root.confidence)
        table.add_row(Text(chain), f"{root.n_cases:,}", f"{root.n_explained:,.0f} events", sure)
    if record.roots:
        console.print(table)
    else:
        console.print("no root cause found: no link between event types has enough evidence", soft_wrap=True)
    for line in run_lines(result):
        console.print(Text(line), soft_wrap=True)


def run_lines(result: RunResult) -> list[str]:
    """Return what stands below the root causes of a run; the last line says what to open."""
    record, counts = result.record, result.record.counts
    evidence = "with evidence over cases" if counts["has_evidence"] else "without evidence over cases"
    rarer = result.n_inhibiting
    beside = f"; {rarer:,} edges that make an event less likely are left aside" if rarer else ""
    lines = [
        f"{counts['n_links']:,} links {evidence} among {counts['n_types']:,} event types, in {counts['n_cases']:,} "
        f"cases{beside}",
        f"trust: {record.trust['grade']} ({record.trust['reason']})",
    ]
    lines += [f"left out: {stage} ({why})" for stage, why in record.skipped.items() if stage in ("population",)]
    bad = [each for each in record.findings if each.verdict == "bad" and each.topic not in _OF_POWER]
    lines += [f"{finding.topic}: {finding.sentence}" for finding in bad]
    seconds = ", ".join(f"{stage} {value:.0f} s" for stage, value in record.seconds.items() if value is not None)
    return [
        *lines,
        f"took {result.seconds:.0f} s ({seconds})",
        f"why did one event happen?  sequela explain {result.folder} --case NAME",
        f"open {result.report_path}",
    ]


def print_known(known: pl.DataFrame | None) -> None:
    """Say which pairs knowledge excluded, and what was found of those it requires."""
    from sequela.reports.words import known_pairs

    for sentence in [] if known is None else known_pairs(known):
        _console().print(Text(sentence.text))
