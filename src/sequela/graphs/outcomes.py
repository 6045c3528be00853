"""What `discover_outcomes` hands back: which event types lead to which labels, alone and together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from sequela.arguments import PATH, checks, public
from sequela.display import TOP_ROWS, Shown
from sequela.errors import LogFormatError
from sequela.events.readers.parquet import read_table
from sequela.files import sound_folder, whole_folder, write_record
from sequela.graphs.schemas import OUTCOME_CAUSES, OUTCOME_PAIRS, OUTCOME_SETS
from sequela.text import quoted

MARKER = "what-leads-to.json"
_TABLES = {"causes": OUTCOME_CAUSES, "sets": OUTCOME_SETS, "pairs": OUTCOME_PAIRS}


class _Record(msgspec.Struct, kw_only=True):
    fdr: float
    delta: float
    n_cases: int
    source: str
    labels: dict[str, int]


@dataclass(frozen=True, repr=False)
class OutcomeGraph(Shown):
    """Event types that lead to labels.

    Attributes:
        causes: One row an event type and label, columns `sequela.graphs.schemas.OUTCOME_CAUSES`, the surest first.
        sets: Sets of causes that suffice, columns `OUTCOME_SETS`.
        pairs: Causes that act together, columns `OUTCOME_PAIRS`.
        labels: Cases with each label.
        fdr: Highest expected share of false causes.
        delta: Least mean effect of a cause, as a probability.
        n_cases: Cases of the log.
        source: Name of the log.
    """

    causes: pl.DataFrame
    sets: pl.DataFrame
    pairs: pl.DataFrame
    labels: dict[str, int]
    fdr: float
    delta: float
    n_cases: int
    source: str

    @property
    def links(self) -> pl.DataFrame:
        """The event types and labels that count as cause and effect."""
        return self.causes.filter("is_cause")

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the folder that `load_outcome_graph` opens."""
        with whole_folder(path, marker=MARKER, overwrite=overwrite) as folder:
            for name in _TABLES:
                getattr(self, name).write_parquet(folder / f"{name}.parquet")
            meta = _Record(fdr=self.fdr, delta=self.delta, n_cases=self.n_cases, source=self.source, labels=self.labels)
            write_record(folder, MARKER, msgspec.to_builtins(meta))
        return Path(path)

    def _top_rows(self) -> pl.DataFrame:
        return self.links.select("event", "label", "effect", "n_affected", "log10_e").head(TOP_ROWS)

    def __repr__(self) -> str:
        return (
            f"OutcomeGraph({self.links.height:,} of {self.causes.height:,} pairs of event type and label are cause and "
            f"effect, {len(self.labels):,} labels, {self.n_cases:,} cases)"
        )


@public(checks(path=PATH))
def load_outcome_graph(path: str | Path) -> OutcomeGraph:
    """Open a folder that `OutcomeGraph.save` (``sequela outcomes``) wrote.

    Args:
        path: The folder, or that of ``sequela outcomes``, which holds it as ``causes``.

    Raises:
        LogFormatError: It is not such a folder, or is damaged.
    """
    folder = Path(path)
    folder = folder / "causes" if (folder / "causes" / MARKER).is_file() else folder
    what = f"'{folder}' is not a folder of outcome results"
    try:
        with sound_folder(folder, MARKER) as values:
            record = msgspec.convert(values, _Record)
            tables = {
                name: table.check(read_table(folder / f"{name}.parquet"), f"'{name}.parquet'")
                for name, table in _TABLES.items()
            }
    except OSError as error:
        raise LogFormatError(f"{what}: {error.strerror or error}: {MARKER}") from None
    except (ValueError, TypeError, KeyError, msgspec.ValidationError, pl.exceptions.PolarsError) as error:
        raise LogFormatError(f"{what}: {quoted(error)}") from None
    return OutcomeGraph(
        tables["causes"], tables["sets"], tables["pairs"], record.labels, record.fdr, record.delta, record.n_cases,
        record.source,
    )  # fmt: skip
