"""Links in words, for people who know no e-values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_NUMBERS = {2: "twice", 3: "three times", 4: "four times", 5: "five times", 6: "six times"}


def link_sentence(row: Mapping[str, Any]) -> str:
    """Return one sentence on a pair of event types.

    It says what the cause does to the effect, how often the pair was seen, what the evidence is worth (the e-value is
    what a bet on the link, fair if there is none, has made of its stake), which of the two comes first, and why the
    pair is in doubt, or no link, where it is.

    Args:
        row: A row of `PopulationGraph.pairs`, by column.

    Example:
        >>> row = {"cause": "oil low", "effect": "stop", "support_cases": 41, "log10_e": 3.36, "share_first": 0.75}
        >>> said = link_sentence(row | {"pointwise_nats": 1.1, "is_edge": True, "mark": None})
        >>> said.split(": ")[0]
        'oil low makes stop 3.0 times as likely'
        >>> said.split(": ")[1]
        'seen in 41 cases; a fair bet on the link grew 2,300-fold; three times as often before as after.'
    """
    cases = int(row["support_cases"])
    ratio = math.exp(min(abs(float(row["pointwise_nats"])), 10.0))  # above 100 times no number is said
    size = f"{ratio:.1f} times" if ratio < 99.95 else "more than 100 times"
    likely = "as likely" if float(row["pointwise_nats"]) >= 0 else "less likely"
    link = f"{row['cause']} makes {row['effect']} {size} {likely}"
    if not row["is_edge"]:
        link = f"{row['cause']} is not linked to {row['effect']} by this evidence"
    said = [f"seen in {cases:,} case{'s' if cases != 1 else ''}", _evidence(float(row["log10_e"]))]
    share = row.get("share_first")
    if share is not None and 0 <= share <= 1:  # in a forged result it may be anything
        said.append(_order(float(share)))
    if row.get("mark"):
        said.append(str(row["mark"]))
    return f"{link}: {'; '.join(said)}."


def _evidence(log10_e: float) -> str:
    """Say what an e-value is worth; below 2 it is worth nothing."""
    if log10_e < math.log10(2):
        return "a fair bet on the link won nothing"
    if log10_e >= 6:
        return "a fair bet on the link grew more than a million-fold"
    odds = 10**log10_e
    digits = max(0, math.floor(math.log10(odds)) - 1)
    return f"a fair bet on the link grew {round(odds, -digits):,.0f}-fold"


def _order(share: float) -> str:
    """Say how much more often the one comes before the other."""
    if share in (0.0, 1.0):
        return f"always {'before' if share else 'after'} it"
    more, less = ("before", "after") if share >= 0.5 else ("after", "before")
    times = max(share, 1 - share) / max(min(share, 1 - share), 1e-9)
    if times < 1.25:
        return "about as often before as after"
    whole = round(times)
    size = _NUMBERS.get(whole) if abs(times - whole) < 0.15 else None
    return f"{size or f'{times:.1f} times'} as often {more} as {less}"
