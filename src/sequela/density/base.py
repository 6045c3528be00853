"""The one question everything asks of a model: how likely is the observed event after this past?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sequela.density.runtime.devices import fast_half
from sequela.errors import ConfigError, check_choice
from sequela.events.vocabulary import Vocabulary

Ids = NDArray[np.int32]
Floats = NDArray[np.float64]
Times = Sequence[Floats | None] | None
"""Seconds of the events of several sequences."""

PRECISIONS = ("float32", "bfloat16", "float16", "auto")
PRECISION_TOLERANCE = 0.05
"""Nats by which "auto" lets 16-bit numbers move a log-probability of a random sequence."""
COMPILED_TOLERANCE = 1e-4
"""Nats by which compiled code may move a log-probability (with 16-bit numbers: `PRECISION_TOLERANCE`)."""


class Branches(NamedTuple):
    """Alternative continuations of one observed sequence.

    Attributes:
        ids: Observed events (int32, ``[L]``).
        starts: Where each branch leaves the observed sequence (int64, ``[K]``, ``0 <= start < L``).
        tails: What is fed from there on instead (int32, ``[K, S]``); any event type or the hidden id.
        times: Seconds of each observed event (float64, ``[L]``), needed by a density that uses times. A tail replaces
            what happened, not when.
    """

    ids: Ids
    starts: NDArray[np.int64]
    tails: Ids
    times: Floats | None = None


class Density(ABC):
    """A frozen model of ``P(x_t | x_<t)``.

    Attributes:
        backbone: What kind of model it is.
        device: Where it runs.
        precision: What the hidden layers are computed in; see `use_precision`.
        can_compile: Whether `use_compilation` can do anything.
        compiled: Whether it has.
        vocabulary: Its event types. Ids ``0 … n_types - 1`` are predicted; inputs may also hold `hidden_id`.
        memory: How many past events it looks at; None when it looks at all of them.
        knows_hidden: Whether it was trained with hidden events, so that `hidden_id` in the past means
            "something happened here that is not shown" (METHOD section 3, masked history).
        uses_times: Whether it predicts what comes from how long ago each past event was; it then needs the times of
            every sequence it scores. Densities that do not use times take and ignore them.
        info: How it was trained and judged, as plain JSON values; empty for a density that was not trained here.
    """

    backbone: str = "exact"
    device: str = "cpu"
    precision: str = "float32"
    can_compile: bool = False
    compiled: bool = False
    vocabulary: Vocabulary
    memory: int | None = None
    knows_hidden: bool = False
    uses_times: bool = False
    info: Mapping[str, Any] = MappingProxyType({})

    @property
    def max_tail(self) -> int | None:
        """The longest tail `score_branches` can take; None when there is no limit."""
        return None

    @property
    def fingerprint(self) -> str | None:
        """A hash that is equal only for densities that score alike; None for one that has none (a world)."""
        return None

    @property
    def step_bytes(self) -> int:
        """Bytes that scoring holds for each tail step of the branches of one call, beside `least_bytes`."""
        return 64 * (self.memory or 1) + 32

    @property
    def step_flops(self) -> float | None:
        """Floating-point operations of one model step (an event more or less of a past), or None when unknown."""
        return None

    def least_bytes(self, longest: int, horizon: int) -> int:
        """Return the least that scoring can hold whatever the number of branches, with the smallest batches.

        Args:
            longest: Events of the longest sequence.
            horizon: Longest tail.
        """
        return 0

    def reserve(self, limit: int, longest: int, horizon: int) -> int:
        """Choose batches that hold at most ``limit`` bytes (at least `least_bytes`); return what they hold."""
        return self.least_bytes(longest, horizon)

    @abstractmethod
    def score_many(self, sequences: Sequence[Ids], times: Times = None) -> list[Floats]:
        """Score observed sequences.

        Args:
            sequences: Event ids (int32, ``[L]`` each).
            times: Seconds of their events (float64, ``[L]`` each), needed by a density that uses times.

        Returns:
            ``log P(x_t | x_<t)`` in nats for each (float64, ``[L]`` each). The result of one sequence does not
            depend on the others.
        """

    @abstractmethod
    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """Score branches of several sequences (METHOD section 2).

        Returns:
            For each, ``log P(x_{s+k+1} | x_<s, y_0 … y_k)`` in nats (float64, ``[K, S]``): the observed next event
            after each tail step; NaN where the sequence has no such event. The result of one sequence does not
            depend on the others.
        """

    def use_precision(self, precision: str) -> str:
        """Choose the numbers that the hidden layers are computed in; log-probabilities are always formed in float32.

        Args:
            precision: ``"float32"``, ``"bfloat16"``, ``"float16"``, or ``"auto"``: the 16-bit numbers that the device
                has in hardware (`fast_half`), if no log-probability of a random sequence moves by more than
                `PRECISION_TOLERANCE`.

        Returns:
            What was chosen.

        Raises:
            ConfigError: The density is exact and has nothing to choose, or float16 is too small for its numbers.
        """
        check_choice("precision", precision, PRECISIONS)
        self.use_compilation(False)  # what was compiled belongs to the old precision
        if precision == "auto":
            precision, half = self.use_precision("float32"), fast_half(self.device)
            if half is not None:
                before = self._score_random()
                self._use_dtype(half)
                moved = np.abs(self._score_random() - before).max()
                precision = half if moved <= PRECISION_TOLERANCE else "float32"  # not where `moved` is NaN
        self._use_dtype(precision)
        if precision == "float16" and not np.isfinite(self._score_random()).all():
            self.use_precision("float32")
            raise ConfigError(
                "numbers of this model exceed what float16 can hold (65,504): set precision to 'bfloat16' or 'float32'"
            )
        self.precision = precision
        return precision

    def _use_dtype(self, name: str) -> None:
        """Compute the hidden layers in ``"float32"`` (the weights as they are), ``"bfloat16"`` or ``"float16"``."""
        raise ConfigError(f"precision cannot be chosen for a {type(self).__name__}: it is exact")

    def _score_random(self) -> Floats:
        """Return the scores of a fixed random sequence, by which a way of computing is judged."""
        ids = np.random.default_rng(0).integers(0, self.vocabulary.n_types, 64).astype(np.int32)
        return self.score(ids, np.arange(64.0))

    def use_compilation(self, on: bool = True, *, backend: str = "inductor") -> bool:
        """Compile what scores with ``torch.compile`` (on CUDA as CUDA graphs), or go back to running it as it is.

        Choose the precision first: `use_precision` undoes this. Takes some seconds to a minute. Where compiling fails
        (no C++ compiler, say), or moves a log-probability of a random chunk by more than `COMPILED_TOLERANCE`, a
        warning says so and everything runs as before.

        Args:
            on: Whether to compile.
            backend: Of ``torch.compile``.

        Returns:
            Whether it is compiled now.

        Raises:
            ConfigError: A density of this kind cannot be compiled.
        """
        if on:
            raise ConfigError(
                f"a {type(self).__name__} cannot be compiled, only the backbone 'window' can: leave compile as 'auto'"
            )
        return False

    def score_both(self, branches: Sequence[Branches]) -> tuple[list[Floats], list[Floats]]:
        """Return `score_many` of the sequences and `score_branches_many`, in one go where that is cheaper."""
        times = [one.times for one in branches]
        return self.score_many([one.ids for one in branches], times), self.score_branches_many(branches)

    @abstractmethod
    def conditional(self, ids: Ids, positions: NDArray[np.int64], times: Floats | None = None) -> Floats:
        """Return whole conditional distributions.

        Args:
            ids: Event ids (int32, ``[L]``), hidden ones allowed.
            positions: Where (int64, ``[n]``, ``0 <= position <= L``).
            times: Seconds of the events, that of the position asked for included (float64, ``[L]``, or ``[L + 1]``
                to ask for position ``L``), needed by a density that uses times.

        Returns:
            ``log P(. | x_<position)`` in nats (float64, ``[n, n_types]``). Memory grows with ``n * n_types``: ask in
            chunks when both are large.
        """

    def conditional_many(
        self, sequences: Sequence[Ids], positions: Sequence[NDArray[np.int64]], times: Times = None
    ) -> list[Floats]:
        """Return `conditional` of several sequences, together where that is cheaper."""
        own = times if times is not None else [None] * len(sequences)
        return [self.conditional(*one) for one in zip(sequences, positions, own, strict=True)]

    def score(self, ids: Ids, times: Floats | None = None) -> Floats:
        """Return ``log P(x_t | x_<t)`` in nats (float64, ``[L]``) of one sequence (int32, ``[L]``)."""
        return self.score_many([ids], [times])[0]

    def score_branches(self, ids: Ids, starts: NDArray[np.int64], tails: Ids, times: Floats | None = None) -> Floats:
        """Score the branches of one sequence; see `score_branches_many` and `Branches` for the shapes."""
        return self.score_branches_many([Branches(ids, starts, tails, times)])[0]


def n_targets(branches: Branches) -> NDArray[np.int64]:
    """Return how many tail steps of each branch have an observed next event (int64, ``[K]``)."""
    left = len(branches.ids) - 1 - branches.starts
    counts: NDArray[np.int64] = np.clip(left, 0, branches.tails.shape[1]).astype(np.int64)
    return counts


def check_sequence(ids: Ids, vocabulary: Vocabulary) -> None:
    """Raise `ConfigError` unless ``ids`` is a sequence a density can score."""
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ConfigError(f"ids must be one sequence of whole numbers; got shape {ids.shape}, type {ids.dtype}")
    if len(ids) and (ids.min() < 0 or ids.max() >= vocabulary.n_types):
        raise ConfigError(f"ids must lie in 0 … {vocabulary.n_types - 1} (event types); got {ids.min()} … {ids.max()}")


def check_branches(branches: Branches, vocabulary: Vocabulary, max_tail: int | None = None) -> None:
    """Raise `ConfigError` unless the branches fit their sequence and the density."""
    check_sequence(branches.ids, vocabulary)
    starts, tails = branches.starts, branches.tails
    if starts.ndim != 1 or tails.ndim != 2 or len(starts) != len(tails) or tails.shape[1] < 1:
        raise ConfigError(f"starts must be [K] and tails [K, S >= 1]; got {starts.shape} and {tails.shape}")
    if len(starts) and (starts.min() < 0 or starts.max() >= len(branches.ids)):
        raise ConfigError(f"starts must lie in 0 … {len(branches.ids) - 1}; got {starts.min()} … {starts.max()}")
    real = (tails >= 0) & (tails < vocabulary.n_types)
    if not (real | (tails == vocabulary.hidden_id)).all():
        raise ConfigError("tails must hold event types or the hidden id only")
    if max_tail is not None and tails.shape[1] > max_tail:
        raise ConfigError(f"tails of {tails.shape[1]} steps exceed the {max_tail} this density can take: lower horizon")
