"""Tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from sequela.causal.graphs import SummaryGraph
    from sequela.evaluation.metrics import Scores


def print_links(summary: SummaryGraph, *, title: str, truth: SummaryGraph | None = None, limit: int = 15) -> None:
    """Print the strongest links between event types; with a truth, say which of them are real."""
    table = Table(title=f"{title} ({min(limit, len(summary))} of {len(summary):,})", title_justify="left")
    table.add_column("cause", overflow="fold")
    table.add_column("effect", overflow="fold")
    for name in ("edges", "cases", "lag", "nats", "makes it"):
        table.add_column(name, justify="right")
    real = None if truth is None else set(truth.edges.select("cause", "effect").iter_rows())
    if real is not None:
        table.add_column("true")
    for row in summary.edges.head(limit).iter_rows(named=True):
        cells = [
            escape(row["cause"]),
            escape(row["effect"]),
            f"{row['n_edges']:,}",
            f"{row['n_cases']:,}",
            f"{row['mean_lag']:.1f}",
            f"{row['cmi_nats']:.3f}",
            "likelier" if row["pointwise_nats"] >= 0 else "rarer",
        ]
        if real is not None:
            cells.append("yes" if (row["cause"], row["effect"]) in real else "no")
        table.add_row(*cells)
    Console(highlight=False).print(table)


def print_scores(scores: dict[str, Scores]) -> None:
    """Print agreement with the exact truth, one method a row."""
    table = Table(title="Edges against the world's exact truth, in cases never trained on", title_justify="left")
    table.add_column("method")
    for name in ("precision", "recall", "F1", "edges", "true edges"):
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
