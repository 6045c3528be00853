"""Every error a user can meet. Each names what was given, what is allowed and how to mend it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable

from sequela.text import quoted, visible

_LONGEST = 200
"""Longest name that is looked for among others, and suggested."""


class SequelaError(Exception):
    """Base of all errors that Sequela raises on purpose; the command line prints it as one line, exit 1."""


class LogFormatError(SequelaError):
    """An event log cannot be read or does not hold what is needed."""


class VocabularyError(SequelaError):
    """Event types do not fit the vocabulary in use."""


class ConfigError(SequelaError, ValueError):
    """An argument has a value that is not allowed."""


class DensityError(SequelaError):
    """A density gives numbers that nothing can be built on."""


class CheckpointError(SequelaError):
    """A saved density is missing, damaged, from another version or for another vocabulary."""


class OutOfMemoryBudgetError(SequelaError):
    """A job would need more memory than it may use; raised before it starts."""


class MissingExtraError(SequelaError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': install it with  pip install 'sequela[{extra}]'")


def nearest(given: str, allowed: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the allowed name nearest to ``given``, or an empty string.

    Example:
        >>> nearest("device", ["device_id", "code"])
        " (did you mean 'device_id'?)"
    """
    if len(given) > _LONGEST:
        return ""
    names = {name.lower(): name for name in map(str, allowed) if len(name) <= _LONGEST}
    found = difflib.get_close_matches(given.lower(), names, n=1, cutoff=0.6)
    return f" (did you mean '{visible(names[found[0]])}'?)" if found else ""


def nearest_spelling(given: object, names: Iterable[str]) -> str:
    """Return what to say of a case that is not there: the same name in another spelling, or a few that are.

    Names of cases are often numbers: the nearest of them is another device, and no help.

    Example:
        >>> nearest_spelling("Car7 ", ["car007", "car008"]), nearest_spelling("car9", ["car007", "car008"])
        (" (did you mean 'car007'?)", '; there are 2: car007, car008')
    """

    def plain(name: str) -> str:
        return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"\s+", " ", name.strip().casefold()))

    known = list(map(str, names))
    for name in known:
        if plain(name) == plain(str(given)):
            return f" (did you mean '{visible(name, longest=60)}'?)"
    some = ", ".join(visible(name, longest=40) for name in known[:3])
    return f"; there are {len(known):,}: {some}{', …' if len(known) > 3 else ''}" if known else ""


def check_choice(argument: str, value: object, allowed: Iterable[str]) -> None:
    """Raise `ConfigError` unless ``value`` is one of ``allowed``."""
    choices = list(allowed)
    if value not in choices:
        raise ConfigError(
            f"{argument} must be one of {', '.join(map(repr, choices))}; got {quoted(repr(value), 80)}"
            + (nearest(value, choices) if isinstance(value, str) else "")
        )


def check_range(
    argument: str,
    value: float,
    *,
    low: float | None = None,
    high: float | None = None,
    whole: bool = False,
    above: bool = False,
) -> None:
    """Raise `ConfigError` unless ``low <= value <= high`` (``low < value`` with ``above``)."""
    kind = "a whole number" if whole else "a number"
    good = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if good and whole:
        good = value == int(value)
    if good and low is not None:
        good = value > low if above else value >= low
    if good and high is not None:
        good = value <= high
    if not good:
        bounds = [f"{'above' if above else 'at least'} {low}"] if low is not None else []
        bounds += [f"at most {high}"] if high is not None else []
        raise ConfigError(
            f"{argument} must be {kind}, {' and '.join(bounds) or 'finite'}; got {quoted(repr(value), 80)}"
        )
