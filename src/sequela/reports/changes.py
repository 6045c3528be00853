"""The page of a comparison: tables only, no script, readable on paper."""

from __future__ import annotations

import html
from importlib.resources import files

import polars as pl

from sequela.display import html_table
from sequela.graphs.changes import Changes
from sequela.version import __version__

MOST_ROWS = 1_000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"
_STYLE = (
    "table { border-collapse: collapse; margin: 8px 0 20px; } "
    "th, td { border-bottom: 1px solid var(--line); padding: 3px 12px; }"
)
_LINKS = ("change", "cause", "effect", "gain_a_nats", "gain_b_nats", "q_value", "n_cases_a", "n_cases_b")
_TYPES = (
    "event", "change", "per_case_a", "per_case_b", "q_value", "root_change", "roots_per_case_a", "roots_per_case_b",
    "root_q_value", "n_cases_a", "n_cases_b",
)  # fmt: skip
_GAIN = (
    "Gain: what a cause adds to the log-odds of its effect, on average, all other links known; 0.69 doubles the odds. "
    "q: the share of false changes expected among all rows with at most this q."
)
_ROOTS = "Roots: events before which no linked cause stands within the horizon."


def changes_page(found: Changes, title: str | None = None) -> str:
    """Return a comparison as one HTML file.

    Args:
        found: What `compare` gave.
        title: Heading.
    """
    heading = html.escape(title or "What changed")
    a, b = (html.escape(f"{name} ({n:,} cases)") for name, n in zip(found.sources, found.n_cases, strict=True))
    changed, types = found.changed, found.changed_types
    parts = [
        f"<h1>{heading}</h1><p class='lead'>a: {a} · b: {b} · false discovery rate {found.fdr:g}</p>",
        "".join(f"<p class='notice'>{html.escape(note)}</p>" for note in found.notes),
        _section("Links that changed", changed.select(_LINKS), _GAIN),
        _section("Event types whose rate changed", types.select(_TYPES), _ROOTS),
        _section("Links without a change that was shown", found.links.filter(change="none").select(_LINKS[1:]), ""),
    ]
    style = (files("sequela.reports") / "assets" / "page.css").read_text(encoding="utf-8") + _STYLE
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{heading}</title>'
        f"<style>{style}</style></head><body>{''.join(parts)}"
        f"<p class='quiet'>Made by Sequela {__version__}.</p></body></html>\n"
    )


def _section(title: str, rows: pl.DataFrame, said: str) -> str:
    shown = rows.head(MOST_ROWS)
    left = f" The first {MOST_ROWS:,} are shown." if rows.height > MOST_ROWS else ""
    table = html_table(f"{title}: {rows.height:,}", shown)
    return f"<section>{table}<p class='quiet'>{html.escape(said + left)}</p></section>"
