"""Sums that do not depend on the order of the additions: whole numbers in place of floats.

A sum of floats depends on the order; a sum of integers does not. Each number is rounded once, to a multiple of a power
of two, and from then on all additions are exact. Two forms:

- *Units*: one int64 in units of 2^-32 (2.3e-10). For bets and calibration: millions of small numbers. A sum may reach
  2^30 (1.07e9). Bets are rounded **down**, so that an e-value is never larger than the product of its bets.
- *Limbs*: two int64, ``high * 2^-12 + low * 2^-52`` with ``0 <= low < 2^40``. For strengths and their squares, of which
  standard errors are small differences. A number is rounded to the nearest multiple of 2^-52 (2.2e-16); a sum may reach
  2^48 (2.8e14).

What is larger, and what is not finite, is an error: nothing wraps around.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sequela.errors import SequelaError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

UNIT_BITS = 32
LOW_BITS = 40
HIGH_BITS = 12
_LIMIT = 2.0**61
"""Largest absolute value of a sum held in an int64: two of them still add up without wrapping around."""
_MOST_LOW = 2**22
"""So many low limbs add up without wrapping around."""


def to_units(values: Floats, *, down: bool = False) -> Integers:
    """Round numbers to units of 2^-32.

    Args:
        values: Any shape; below 2^29 each.
        down: Towards minus infinity, for bets; else to the nearest.

    Returns:
        Units (int64, same shape).

    Example:
        >>> to_units(np.array([0.5, -2.0**-40]), down=True).tolist()
        [2147483648, -1]
    """
    scaled = values * 2.0**UNIT_BITS  # exact, as are all products with a power of two
    check_scaled(scaled)
    (np.floor if down else np.rint)(scaled, out=scaled)
    return scaled.astype(np.int64)


def from_units(units: Integers, *, down: bool = False) -> Floats:
    """Return units of 2^-32 as floats, rounded to nearest, or down.

    Example:
        >>> from_units(np.array([2**31, -1])).tolist()
        [0.5, -2.3283064365386963e-10]
    """
    values = units.astype(np.float64)
    if down:
        values = np.where(values.astype(np.int64) > units, np.nextafter(values, -np.inf), values)
    result: Floats = values * 2.0**-UNIT_BITS
    return result


def to_limbs(values: Floats) -> Integers:
    """Round numbers (float64, ``[n]``) to the nearest multiple of 2^-52; return high and low limbs (int64, ``[2, n]``).

    Example:
        >>> to_limbs(np.array([1.0, -2.0**-52])).tolist()
        [[4096, -1], [0, 1099511627775]]
    """
    scaled = values * 2.0**HIGH_BITS
    check_scaled(scaled)
    high = np.floor(scaled)
    low = np.rint((scaled - high) * 2.0**LOW_BITS)  # exact but for the last rounding
    return _carried(np.stack([high.astype(np.int64), low.astype(np.int64)]))


def from_limbs(limbs: Integers) -> Floats:
    """Return limbs (int64, ``[2, n]``) as floats (float64, ``[n]``)."""
    high, low = limbs.astype(np.float64)
    result: Floats = high * 2.0**-HIGH_BITS + low * 2.0 ** -(HIGH_BITS + LOW_BITS)
    return result


def add_units(values: Integers, starts: Integers) -> Integers:
    """Add up runs of columns.

    Args:
        values: One row a quantity (int64, ``[k, n]``).
        starts: First column of each run (int64, ``[m]``), the first 0.

    Returns:
        The sums (int64, ``[k, m]``).

    Raises:
        SequelaError: A sum is out of range.
    """
    if not len(starts):
        return values[:, :0]
    # The bound is a float sum of absolute values, far more exact than it needs to be.
    check_scaled(np.add.reduceat(np.abs(values.astype(np.float64)), starts, axis=1))
    return np.add.reduceat(values, starts, axis=1)


def add_limbs(limbs: Integers, starts: Integers) -> Integers:
    """Add up runs of columns of limbs (int64, ``[2, n]``), as `add_units` does; return limbs (int64, ``[2, m]``).

    Example:
        >>> total = add_limbs(to_limbs(np.array([0.1, 0.2, -0.3])), np.array([0]))
        >>> abs(float(from_limbs(total)[0])) <= 3 * 2.0**-53
        True
    """
    if not len(starts):
        return limbs[:, :0]
    if np.diff(starts, append=limbs.shape[1]).max() > _MOST_LOW:
        raise SequelaError(f"a fixed-point sum takes at most {_MOST_LOW:,} numbers at once")
    check_scaled(np.add.reduceat(np.abs(limbs[0].astype(np.float64)), starts))
    return _carried(np.add.reduceat(limbs, starts, axis=1))


def _carried(limbs: Integers) -> Integers:
    """Bring the low limbs back to ``0 … 2^40 - 1``."""
    carry = limbs[1] >> LOW_BITS
    return np.stack([limbs[0] + carry, limbs[1] - (carry << LOW_BITS)])


def check_scaled(scaled: Floats | Integers | float) -> None:
    """Raise `SequelaError` unless numbers in units of an int64 (any shape) are finite and below 2^61."""
    if np.size(scaled) and not (np.max(scaled) < _LIMIT and np.min(scaled) > -_LIMIT):
        raise SequelaError(
            "a sum over cases is not finite, or larger than fixed-point numbers hold (1.07e9 for evidence, 2.8e14 for "
            "strengths): the density gives values that no log-probability should have"
        )
