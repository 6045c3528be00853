"""How much memory discovery may use, and the sizes that follow from it.

What is counted is memory above the loaded density and log. A *cell* is one tail step of one branch: the largest arrays
of discovery have one number a cell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import psutil

from sequela.errors import ConfigError, OutOfMemoryBudgetError
from sequela.text import quoted

SHARE_OF_FREE = 0.25
MOST_BY_DEFAULT = 2 * 2**30
_CELL_BYTES = 130
"""Bytes a cell takes in the designs, with all temporaries (measured; `tests/execution/test_memory.py` holds it)."""
_TYPE_BYTES = 64
"""Bytes an event type takes for each cause whose replacements are drawn by weight."""
_PAIR_BYTES = 64
"""Bytes a pair of positions takes in results."""
_OVERHEAD_BYTES = 24 * 2**20
"""Edges waiting to be written, and what Python and the libraries take."""
_GOOD_CELLS = 250_000
"""More cells a call gain nothing."""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


@dataclass(frozen=True)
class Allotment:
    """What a memory budget allows.

    Attributes:
        budget_bytes: The budget.
        peak_bytes: What the run is expected to need at most.
        model_bytes: What the density's batches may hold.
        n_cells: Particle cells a call.
        n_band_cells: Pairs of positions held at once.
    """

    budget_bytes: int
    peak_bytes: int
    model_bytes: int
    n_cells: int
    n_band_cells: int


def parse_bytes(value: str | float) -> int:
    """Return a number of bytes from a number or text like ``"500MB"`` or ``"2 GiB"``.

    Example:
        >>> parse_bytes("1.5 GB"), parse_bytes("512MiB"), parse_bytes(1000)
        (1500000000, 536870912, 1000)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", str(value).lower())
    n_bytes = int(float(found[1]) * _UNITS[found[2]]) if found and found[2] in _UNITS else 0
    if n_bytes < 1 or isinstance(value, bool):
        raise ConfigError(f"memory_budget must be bytes, or text like '500MB' or '2GiB'; got {quoted(repr(value), 80)}")
    return n_bytes


def format_bytes(n_bytes: float) -> str:
    """Return a size for people.

    Example:
        >>> format_bytes(1_234_567), format_bytes(2.5e9)
        ('2 MB', '2.5 GB')
    """
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{max(1, -(-n_bytes // 10**6)):.0f} MB"


def default_budget() -> int:
    """Return a quarter of the memory that is free, at most 2 GiB."""
    return min(MOST_BY_DEFAULT, int(SHARE_OF_FREE * psutil.virtual_memory().available))


def allot(
    *,
    n_types: int,
    step_bytes: int,
    least_bytes: int,
    most_bytes: int,
    budget: str | float | None,
    particles: int,
    horizon: int,
    longest: int,
    draws_by_weight: bool,
) -> Allotment:
    """Choose sizes within a budget.

    Args:
        n_types: Event types.
        step_bytes: Bytes the density holds for each tail step of the branches of one call.
        least_bytes: Bytes its smallest batches hold.
        most_bytes: Bytes its fastest batches hold.
        budget: Bytes, text like ``"2GB"``, or None for `default_budget`.
        particles: Branches a cause.
        horizon: Largest lag.
        longest: Events of the longest case.
        draws_by_weight: Whether each cause needs the mass of every event type.

    Raises:
        OutOfMemoryBudgetError: The smallest sizes do not fit; says what would.
    """
    total = default_budget() if budget is None else parse_bytes(budget)
    cell = _CELL_BYTES + step_bytes
    a_cause = particles * horizon * cell + (n_types * _TYPE_BYTES if draws_by_weight else 0)
    bands = longest * horizon * _PAIR_BYTES
    least = _OVERHEAD_BYTES + a_cause + bands + least_bytes
    if least > total:
        parts = (
            f"{format_bytes(_OVERHEAD_BYTES)} overhead + {format_bytes(least_bytes)} for the model's smallest batch + "
            f"{format_bytes(bands)} for results ({longest:,} events x {horizon:,} lags x {_PAIR_BYTES} B) + "
            f"{format_bytes(a_cause)} for one cause ({particles:,} particles x {horizon:,} lags x {cell:,} B"
            + (f" + {n_types:,} types x {_TYPE_BYTES} B)" if draws_by_weight else ")")
        )
        shorter = _fitting_horizon(total - _OVERHEAD_BYTES - least_bytes, a_cause, bands, horizon)
        other = f", or horizon {shorter}" if shorter else ""
        raise OutOfMemoryBudgetError(
            f"discovery needs at least {format_bytes(least)} ({parts}); memory_budget allows {format_bytes(total)}: "
            f"set memory_budget to '{format_bytes(least).replace(' ', '')}'{other}"
        )
    model = min(max(least_bytes, most_bytes), least_bytes + (total - least) // 3)
    left = total - _OVERHEAD_BYTES - model
    n_cells = int(min(_GOOD_CELLS, max(0, left - bands - (a_cause - particles * horizon * cell)) // 2 // cell))
    n_cells = max(n_cells, particles * horizon)
    n_band_cells = max(longest * horizon, int(min(4 * _GOOD_CELLS, (left - n_cells * cell) // 2 // _PAIR_BYTES)))
    type_bytes = n_types * _TYPE_BYTES * max(1, n_cells // (particles * horizon)) if draws_by_weight else 0
    if type_bytes:
        n_causes = max(1, int((left - bands) // 2 // (n_types * _TYPE_BYTES + particles * horizon * cell)))
        n_cells = min(n_cells, max(n_causes, 1) * particles * horizon)
        type_bytes = n_types * _TYPE_BYTES * (n_cells // (particles * horizon))
    peak = _OVERHEAD_BYTES + model + n_cells * cell + type_bytes + n_band_cells * _PAIR_BYTES
    return Allotment(total, min(peak, total), model, n_cells, n_band_cells)


def _fitting_horizon(left: float, a_cause: float, bands: float, horizon: int) -> int:
    """Return the largest horizon that would fit (each part grows with it), or 0."""
    return max(0, int(horizon * left / (a_cause + bands))) if left > 0 else 0
