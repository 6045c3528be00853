"""How sure an edge between two events is, given what a population of cases says of their types.

Two things must hold for an edge: its types are linked at all, and the cause made a difference of at least ``delta``
*here*.

*Linked*: the population's e-value of a pair is a likelihood ratio (how much better held-out forecasts are with the
cause than without), so with the share of linked pairs as prior it gives the probability of a link. The share is
estimated from all e-values (empirical Bayes): what pairs that are not linked cannot explain.

*Here*: the CMI that a trained density shows at one place is partly the density's own error, which the mean over all
places of the same pair and lag has much less of. The effect here is therefore taken halfway between the two (a pair
and lag that the population never met counts as 0), with the standard errors of both. A weak effect then needs a pair
that is strong elsewhere; a strong one stands by itself, as where a cause acts only together with another.

The confidence is the product of both probabilities. An edge is kept when it is at least ``1 - fdr``: then the expected
share of false ones among the kept is at most ``fdr``, as far as both are right. Where each link was decided by itself
(``control="each"``), that decision stands: on a link only the second probability has to be at least ``1 - fdr``, and
the cause must have made the effect likelier here as the link does (or rarer), by `_LEAST_GAIN`. Sources: e-values as
Bayes factors, Grünwald, de Heide and Koolen (2024); local false discovery rates, Efron (2010).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from sequela.density.base import Floats
from sequela.effects.cmi import CMIEstimate
from sequela.effects.ties import Precedence
from sequela.errors import ConfigError
from sequela.events.sequences import Case
from sequela.events.vocabulary import Vocabulary

OWN_WEIGHT = 0.5
"""Share of what the case itself shows in the effect of an edge; the rest is the mean of its pair and lag."""
_LEAST_GAIN = 0.2
"""Log ratio from which a place goes with its link: one in six such effects would not have come without the cause.
Chosen on simulated fleets (`fault_codes`, seeds 2 and 3), where 0.1 to 0.3 do as well."""
_TELLING = 10.0
"""Smallest e-value that counts for the share of linked pairs: strong evidence on the scale of Jeffreys (1961)."""


class Population(Protocol):
    """What is asked of a population graph: its tables (`sequela.graphs.schemas`)."""

    @property
    def pairs(self) -> pl.DataFrame:
        """Pairs of event types with their evidence."""
        ...

    @property
    def edges(self) -> pl.DataFrame:
        """The pairs that are links."""
        ...

    @property
    def lags(self) -> pl.DataFrame:
        """Strength of each pair by lag."""
        ...

    @property
    def run(self) -> Any:
        """How it was made (`sequela.graphs.records.RunRecord`)."""
        ...


@dataclass(frozen=True)
class Beliefs:
    """What a population says of pairs of event types.

    Attributes:
        pairs: ``cause``, ``effect``, ``probability`` of a link and ``decided`` (where it is one, decided by itself: 1
            if it makes the effect likelier, -1 if rarer; else 0), of the pairs that the population tested.
        lags: ``cause``, ``effect``, ``lag``, ``cmi_nats`` and ``std_error`` of each pair at each lag.
        share: Probability of a link for all other pairs: the estimated share of linked pairs.
        links: ``cause`` and ``effect`` of the links that make the effect more likely: they tell what precedes what
            among events at the same time.
    """

    pairs: pl.DataFrame
    lags: pl.DataFrame
    share: float
    links: pl.DataFrame

    @classmethod
    def of(cls, population: Population) -> Beliefs:
        """Read them from a population graph.

        Raises:
            ConfigError: It holds no pair, or no strengths by lag.
        """
        if not population.pairs.height or not population.lags.height:
            raise ConfigError("the population has no pair of event types: it says nothing of any edge")
        log_e = population.pairs["log10_e"].to_numpy() * np.log(10)
        probability, share = linked(log_e)
        is_decided = pl.col("is_edge") & (population.run.arguments.control == "each")
        sign = pl.when(is_decided).then(pl.when(pl.col("pointwise_nats") < 0).then(-1).otherwise(1)).otherwise(0)
        table = population.pairs.select("cause", "effect", pl.Series("probability", probability), decided=sign)
        lags = population.lags.select("cause", "effect", "lag", "cmi_nats", "std_error")
        links = population.pairs.filter(pl.col("is_edge") & (pl.col("pointwise_nats") > 0)).select("cause", "effect")
        return cls(
            table.sort("cause", "effect"), lags.sort("cause", "effect", "lag"), share, links.sort("cause", "effect")
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all beliefs."""
        digest = hashlib.blake2b(np.float64(self.share).tobytes(), digest_size=8)
        for table in (self.pairs, self.lags, self.links):
            for column in table.iter_columns():
                text = column.round(9).cast(pl.String) if column.dtype.is_float() else column.cast(pl.String)
                digest.update("\0".join(text).encode())
        return digest.hexdigest()

    def for_types(self, vocabulary: Vocabulary) -> TypeBeliefs:
        """Return the beliefs by the ids of a vocabulary."""
        n = vocabulary.n_types
        codes, known = _coded(self.pairs, vocabulary)
        lag_codes, lags = _coded(self.lags, vocabulary)
        lag = lags["lag"].to_numpy().astype(np.int64)
        n_lags = int(lag.max(initial=1))
        lag_codes = lag_codes * n_lags + lag - 1
        order = np.argsort(lag_codes)
        return TypeBeliefs(
            n, n_lags, self.share, codes, known["probability"].to_numpy(), known["decided"].to_numpy(),
            lag_codes[order],
            lags["cmi_nats"].to_numpy()[order], lags["std_error"].to_numpy()[order],
            precedence(self.links, vocabulary),
        )  # fmt: skip


def precedence(links: pl.DataFrame, vocabulary: Vocabulary) -> Precedence:
    """Return the links (``cause``, ``effect``) between types that a vocabulary has, as what precedes what in a tick."""
    codes, _ = _coded(links, vocabulary)
    return Precedence.of(*np.divmod(codes, vocabulary.n_types), vocabulary.n_types)


def linked(log_e: Floats, share: float | None = None) -> tuple[Floats, float]:
    """Return the probability that each pair is linked, and the share of linked pairs, from log e-values.

    An e-value is taken for a likelihood ratio, and the share of linked pairs for the odds beforehand.

    The share, where it is not given, is estimated. An e-value of a pair that is not linked is at least ``t`` with
    probability ``1 / t`` at most (Markov), so of a share ``r`` of pairs with at least ``t`` a share
    ``(r - 1 / t) / (1 - 1 / t)`` of all must be linked. The largest of these over ``t`` of 10 or more is taken, with
    half a linked and half an unlinked pair added, so that it is never 0 or 1. E-values near 1 play no part: where a
    density is slightly wrong most of them may be above it, and the share that maximises their likelihood is then
    anything up to 1. Sources: e-values as likelihood ratios, Grünwald, de Heide and Koolen (2024); lower bounds for the
    share of false null hypotheses, Meinshausen and Rice (2006).

    Example:
        >>> probability, share = linked(np.log([1e9, 1e-9]))
        >>> probability.round(3).tolist(), round(share, 2)
        ([1.0, 0.0], 0.5)
        >>> round(linked(np.full(1000, np.log(1.05)))[1], 3)
        0.0
    """
    if share is None:
        n = len(log_e)
        chance = np.exp(-np.maximum(np.sort(log_e)[::-1], 0.0))  # of an unlinked pair, at most
        bound = (np.arange(1, n + 1) / max(n, 1) - chance) / np.maximum(1 - chance, 1e-12)
        share = float((n * bound[chance <= 1 / _TELLING].max(initial=0.0) + 0.5) / (n + 1))
    return expit(log_e + np.log(share) - np.log1p(-share)), share


def _coded(table: pl.DataFrame, vocabulary: Vocabulary) -> tuple[NDArray[np.int64], pl.DataFrame]:
    """Return the codes ``cause * n_types + effect``, sorted, and the rows of the types that a vocabulary has."""
    ids = pl.DataFrame({"name": vocabulary.names, "id": np.arange(vocabulary.n_types)})
    known = table.join(ids.rename({"name": "cause", "id": "u"}), on="cause")
    known = known.join(ids.rename({"name": "effect", "id": "v"}), on="effect")
    known = known.with_columns(code=pl.col("u") * vocabulary.n_types + pl.col("v")).sort("code")
    return known["code"].to_numpy().astype(np.int64), known


@dataclass(frozen=True)
class TypeBeliefs:
    """`Beliefs` by id.

    Attributes:
        n_types: Event types.
        n_lags: Largest lag of the population.
        share: As in `Beliefs`.
        codes: Sorted ``cause * n_types + effect`` (int64, ``[P]``).
        probabilities: Of a link (float64, ``[P]``).
        decided: As in `Beliefs` (int32, ``[P]``).
        lag_codes: Sorted ``code * n_lags + lag - 1`` (int64, ``[Q]``).
        strengths: Mean CMI there (float64, ``[Q]``).
        errors: Its standard error (float64, ``[Q]``).
        precedence: What precedes what among events at the same time.
    """

    n_types: int
    n_lags: int
    share: float
    codes: NDArray[np.int64]
    probabilities: Floats
    decided: NDArray[np.int32]
    lag_codes: NDArray[np.int64]
    strengths: Floats
    errors: Floats
    precedence: Precedence

    def edges(
        self, case: Case, estimate: CMIEstimate, delta: float, error_rate: float
    ) -> tuple[NDArray[np.bool_], Floats]:
        """Return which pairs of positions are edges (bool, ``[L, m]``), and the confidence of each.

        The confidence is float64, ``[L, m]``, NaN where not tested.

        Args:
            case: The case that was estimated.
            estimate: Its estimate.
            delta: Least effect of an edge, in nats.
            error_rate: Highest expected share of false ones among the edges.
        """
        codes, reverse = self._codes(case, estimate)
        probability = _looked_up(self.codes, self.probabilities, codes, self.share)
        lag: NDArray[np.int64] = np.arange(1, estimate.cmi.shape[1] + 1)
        if estimate.lags is not None:
            # Within a tick the known direction counts, or else the likelier one; with its strength a tick later.
            back = _looked_up(self.codes, self.probabilities, reverse, self.share)
            known_back = back > probability if estimate.directions is None else estimate.directions < 0
            turned = (estimate.lags == 0) & known_back
            codes, probability = np.where(turned, reverse, codes), np.where(turned, back, probability)
            lag = np.maximum(estimate.lags, 1)
        lag_codes = np.where(lag <= self.n_lags, codes * self.n_lags + lag - 1, -1)
        # One case does not say how cases differ: such a pair counts as not met.
        known = np.isfinite(self.errors)
        mean = _looked_up(self.lag_codes, np.where(known, self.strengths, 0.0), lag_codes, 0.0)
        mean_error = _looked_up(self.lag_codes, np.where(known, self.errors, 0.0), lag_codes, 0.0)
        above = OWN_WEIGHT * estimate.cmi + (1 - OWN_WEIGHT) * mean - delta
        error = np.hypot(OWN_WEIGHT * estimate.std_error, (1 - OWN_WEIGHT) * mean_error)
        with np.errstate(divide="ignore", invalid="ignore"):
            large = np.where(error > 0, ndtr(above / error), above > 0)
        tested = np.isfinite(estimate.cmi)
        confidence: Floats = np.where(tested, probability * large, np.nan)
        sign = _looked_up(self.codes, self.decided.astype(np.float64), codes, 0.0)
        with np.errstate(invalid="ignore"):
            on_link = np.where(sign * estimate.pointwise >= _LEAST_GAIN, large, 0.0)
        return tested & (np.where(sign != 0, on_link, confidence) >= 1 - error_rate), confidence

    def _codes(self, case: Case, estimate: CMIEstimate) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the code of the types of every pair of positions (int64, ``[L, m]``), and of the pair reversed."""
        n, width = estimate.cmi.shape
        effect = np.minimum(np.arange(n)[:, None] + np.arange(1, width + 1), max(n - 1, 0))
        one, other = np.broadcast_arrays(case.ids[:, None].astype(np.int64), case.ids[effect].astype(np.int64))
        return one * self.n_types + other, other * self.n_types + one


def _looked_up(keys: NDArray[np.int64], values: Floats, wanted: NDArray[np.int64], otherwise: float) -> Floats:
    if not len(keys):
        return np.full(wanted.shape, otherwise)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: Floats = np.where(keys[place] == wanted, values[place], otherwise)
    return found
