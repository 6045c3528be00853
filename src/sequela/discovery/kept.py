"""Partial sums of the evidence of a log that grows: kept with a run, and added to when new cases come.

```
evidence/
    sums.json                the densities, and of each pass over its cases how many there were and what was counted
    cases.parquet            which density weighed each case (-1: none, all had seen it)
    PASS.parquet             the sums of one pass of one density, see `sequela.discovery.weigh` and `weigh_again`
    fixed-N.safetensors      calibration and pairs of density N
    asked.parquet            of logs with unordered ties: which pairs were weighed again without which third types
    density/                 the density of the last fold; where there are no folds a copy of the model
```
New cases are unseen by all densities and so belong to the last one (`CrossFit.held_out`): it alone has to be kept. Sums
are whole numbers, so that old and new ones together are those of the whole log, to the last bit.

What hangs on all cases stays as it was at first, because sums over earlier cases cannot be changed: the list of pairs,
and, where events share their time, the calibration and the questions about third types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from sequela.density import checkpoint
from sequela.density.base import Density, Floats
from sequela.density.training.crossfit import CrossFit
from sequela.errors import LogFormatError
from sequela.events.log import EventLog
from sequela.events.readers.parquet import read_table
from sequela.evidence.pairs import Codes
from sequela.execution.chunks import Chunks
from sequela.files import sound_folder, whole_folder, write_record

MARKER = "sums.json"
FORMAT = 1
DENSITY = "density"


@dataclass(frozen=True)
class Pass:
    """The sums of one pass over the cases of one density.

    Attributes:
        table: As the task of the pass joins them.
        n_cases: How many cases they are of.
        counts: What was counted.
    """

    table: pl.DataFrame
    n_cases: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Stored:
    """What an earlier weighing left.

    Attributes:
        owners: Number of the density that weighed each case, by its name; -1 for none.
        n_densities: How many densities there were.
        scheme: How they were cross-fitted.
        passes: Sums by the name of the pass.
        fixed: Calibration (float64, ``[n_types]``) and pairs of each density.
        bets_on_causes: Whether the bets are those on the causes, which logs with unordered ties do not have.
        asked: Of logs with unordered ties, ``cause``, ``effect``, ``absent`` (`triangles`).
    """

    owners: Mapping[str, int]
    n_densities: int
    scheme: str
    passes: Mapping[str, Pass]
    fixed: list[tuple[Floats, Codes]]
    bets_on_causes: bool
    asked: pl.DataFrame | None


@dataclass
class Sums:
    """The sums of a weighing, as they come in.

    Attributes:
        out: Folder that they are written to.
        stored: What an earlier weighing left, to be added to; None at first.
        passes: Sums by the name of the pass.
        bets_on_causes: See `Stored`.
        asked: See `Stored`.
    """

    out: Path
    stored: Stored | None = None
    passes: dict[str, Pass] = field(default_factory=dict)
    bets_on_causes: bool = False
    asked: pl.DataFrame | None = None

    def begin(self, job: Chunks) -> None:
        """Give a job the sums that are there, as if it had been interrupted after these cases."""
        for name, one in ({} if self.stored is None else self.stored.passes).items():
            chunks = job.within(name)
            if one.n_cases and not chunks.done():
                chunks.add(0, one.n_cases, one.table, one.counts)

    def fixed(self, number: int) -> tuple[Floats, Codes] | None:
        """Return calibration and pairs of a density where they must stay as they were."""
        if self.stored is None or number >= len(self.stored.fixed):
            return None
        return self.stored.fixed[number]


@dataclass(frozen=True)
class KeptFolds(CrossFit):
    """Cross-fitted densities whose sums are kept. After an update the last one stands in for the others.

    Attributes:
        sums: The sums.
    """

    sums: Sums | None = None

    def owners(self, names: list[str]) -> NDArray[np.int64]:
        """Return which density scores each case: the one that did so before, for a new case the last."""
        stored = None if self.sums is None else self.sums.stored
        if stored is None:
            return super().owners(names)
        last = len(self.densities) - 1
        return np.array([stored.owners.get(name, last) for name in names], np.int64)

    def keep(self, log: EventLog, fixed: list[tuple[Floats, Codes]]) -> None:
        """Write the sums.

        Args:
            log: All cases.
            fixed: See `Stored`.
        """
        assert self.sums is not None
        names, passes, asked = log.case_names, self.sums.passes, self.sums.asked
        with whole_folder(self.sums.out, marker=MARKER, overwrite=True) as folder:
            pl.DataFrame({"case": names, "density": self.owners(names)}).write_parquet(folder / "cases.parquet")
            for name, one in passes.items():
                one.table.write_parquet(folder / f"{name}.parquet", compression="zstd")
            for number, (shift, pairs) in enumerate(fixed):
                save_file({"shift": shift, "pairs": pairs}, folder / f"fixed-{number}.safetensors")
            if asked is not None:
                asked.write_parquet(folder / "asked.parquet")
            checkpoint.save_density(self.densities[-1], folder / DENSITY)
            counted = {name: _Counted(one.n_cases, dict(one.counts)) for name, one in passes.items()}
            record = _Record(FORMAT, self.scheme, len(self.densities), len(fixed), self.sums.bets_on_causes, counted)
            write_record(folder, MARKER, msgspec.to_builtins(record))


def kept_folds(given: Density | CrossFit, out: Path) -> KeptFolds:
    """Return densities whose sums are kept in a folder."""
    folds = given if isinstance(given, CrossFit) else CrossFit((given,))
    return KeptFolds(folds.densities, folds.scheme, folds.seed, Sums(out))


class _Counted(msgspec.Struct, frozen=True):
    n_cases: int
    counts: dict[str, int]


class _Record(msgspec.Struct, frozen=True):
    format: int
    scheme: str
    n_densities: int
    n_fixed: int
    bets_on_causes: bool
    passes: dict[str, _Counted]


def load_sums(path: Path) -> Stored:
    """Read what `KeptFolds.keep` wrote, and check every file against its checksum.

    Raises:
        LogFormatError: It is missing or damaged.
    """
    try:
        with sound_folder(path, MARKER) as values:
            record = msgspec.convert(values, _Record)
            if record.format != FORMAT:
                raise ValueError(f"format {record.format}, this version reads {FORMAT}")
            cases = read_table(path / "cases.parquet").select(pl.col("case").cast(pl.String), "density")
            fixed = [load_file(path / f"fixed-{number}.safetensors") for number in range(record.n_fixed)]
            passes = {
                name: Pass(read_table(path / f"{name}.parquet"), one.n_cases, one.counts)
                for name, one in record.passes.items()
            }
            asked = read_table(path / "asked.parquet") if (path / "asked.parquet").is_file() else None
        return Stored(
            owners=dict(cases.iter_rows()), n_densities=record.n_densities, scheme=record.scheme, passes=passes,
            fixed=[(one["shift"], one["pairs"]) for one in fixed], bets_on_causes=record.bets_on_causes, asked=asked,
        )  # fmt: skip
    except (
        OSError,
        ValueError,
        KeyError,
        msgspec.ValidationError,
        SafetensorError,
        pl.exceptions.PolarsError,
    ) as error:
        raise LogFormatError(f"'{path}' does not hold the sums of a run: {error}") from None
