"""What `compare` hands back: links and event types of two results, and how they changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from sequela.display import TOP_ROWS, Shown


@dataclass(frozen=True, repr=False)
class Changes(Shown):
    """How one log differs from another.

    Attributes:
        links: One row a pair of event types that was tested, and is a link of one of them or changed; columns
            `sequela.graphs.schemas.CHANGED_LINKS`, the surest change first.
        types: One row an event type, columns `sequela.graphs.schemas.CHANGED_TYPES`, the surest change first.
        fdr: Highest expected share of false changes among those of links, and among those of types.
        sources: Names of the two logs.
        n_cases: Their cases.
        notes: What is worth knowing.
    """

    links: pl.DataFrame
    types: pl.DataFrame
    fdr: float
    sources: tuple[str, str]
    n_cases: tuple[int, int]
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> pl.DataFrame:
        """The links that changed."""
        return self.links.filter(pl.col("change") != "none")

    @property
    def changed_types(self) -> pl.DataFrame:
        """The event types whose rate changed, of all their events or of those that no link explains."""
        return self.types.filter((pl.col("change") != "none") | (pl.col("root_change") != "none"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "sources": list(self.sources),
            "n_cases": list(self.n_cases),
            "fdr": self.fdr,
            "links": self.links.to_dicts(),
            "types": self.types.to_dicts(),
            "notes": list(self.notes),
        }

    def _top_rows(self) -> pl.DataFrame:
        columns = ["cause", "effect", "change", "gain_a_nats", "gain_b_nats", "q_value"]
        return self.links.select(columns).head(TOP_ROWS)

    def __repr__(self) -> str:
        return (
            f"Changes({self.sources[0]}, {self.sources[1]}: {self.changed.height:,} of {self.links.height:,} links "
            f"and {self.changed_types.height:,} of {self.types.height:,} event types changed)"
        )
