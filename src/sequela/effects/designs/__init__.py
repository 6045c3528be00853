"""Intervention designs: which branches to score for some causes, and what (p, q) they give.

Formulas: `docs/method.md`, section 3.

``p`` is the probability of the observed effect with the cause as observed, ``q`` with the cause intervened on.

| design | what happens to the cause | what happens to the events between |
|---|---|---|
| atomic | replaced by a draw from the proposal | kept |
| leave-one-out | summed out under the density | kept, and taken as evidence about the cause |
| masked | hidden from a density trained with hidden events | kept |
| staircase | replaced by noise | replaced by noise, for p and q |

A design is a function: it takes a `Problem`, yields the branches it wants scored, is sent their `Scores`, and returns
`Cells`. To add one, write the function in a file here and add a line to `DESIGNS`.
"""

from sequela.effects.designs.problem import Cells, Design, DesignSettings, GivenWhat, Inquiry, Problem, Rough, Scores
from sequela.effects.designs.single_cause import atomic, leave_one_out, masked
from sequela.effects.designs.staircase import staircase
from sequela.errors import ConfigError

__all__ = [
    "DESIGNS",
    "PROPOSALS",
    "STATISTICS",
    "Cells",
    "Design",
    "DesignSettings",
    "GivenWhat",
    "Inquiry",
    "Problem",
    "Rough",
    "Scores",
    "default_proposal",
]

DESIGNS: dict[str, Design] = {
    "atomic": atomic,
    "leave-one-out": leave_one_out,
    "masked": masked,
    "staircase": staircase,
}
"""Name to function; all but the staircase change the cause alone."""
PROPOSALS = ("uniform", "unigram", "model", "siblings")
STATISTICS = ("kl_of_mean", "mean_of_kl", "both", "kl_of_median")


def default_proposal(design: str, proposal: str | None) -> str:
    """Return the proposal to use; raise `ConfigError` for one that the design has no use for.

    Example:
        >>> default_proposal("atomic", None), default_proposal("masked", None)
        ('uniform', 'model')
    """
    if design in ("leave-one-out", "masked"):
        if proposal not in (None, "model"):
            raise ConfigError(
                f"the design '{design}' sums the cause out under the density itself; proposal must be 'model' or left "
                f"out, got {proposal!r}"
            )
        return "model"
    if proposal == "siblings" and design != "atomic":
        raise ConfigError(f"the proposal 'siblings' goes with the design 'atomic' only; got '{design}'")
    return proposal or "uniform"
