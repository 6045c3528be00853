"""What a world is: a simulator that can also say exactly how likely its events are and what caused them."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sequela.density.base import Density, Floats, Ids, check_sequence
from sequela.density.window.finite_memory import FiniteMemoryDensity, observed_windows
from sequela.errors import ConfigError, check_range
from sequela.events.sequences import SequenceSet
from sequela.events.split import Split
from sequela.events.vocabulary import Vocabulary
from sequela.worlds.divergence import bernoulli_kl, log1mexp, log_mean_exp

_CHUNK_BYTES = 2**25
_EPOCH_MS = 1_704_067_200_000  # 2024-01-01


TRUTH_SCHEMA = {
    "case": pl.String,
    "cause_position": pl.Int64,
    "effect_position": pl.Int64,
    "cause": pl.String,
    "effect": pl.String,
    "lag": pl.Int64,
    "cmi_nats": pl.Float64,
}
"""Columns of a table of true edges."""


@dataclass(frozen=True)
class Simulation:
    """A log that a user could have, with what is true about it.

    Attributes:
        log: Event table, one row an event: at least ``case``, ``event`` and ``time``.
        sequences: The same events as ids of the world's vocabulary, in the order of the log.
        truth: True edges, with the columns of `TRUTH_SCHEMA`; positions count the rows of a case in the log.
    """

    log: pl.DataFrame
    sequences: SequenceSet
    truth: pl.DataFrame


class World(Density):
    """A generator of sequences whose conditional distributions, and so whose causal truth, are known exactly.

    `knows_hidden` is False: a world ignores a hidden event instead of averaging over what it may have been.

    Attributes:
        horizon: Largest lag at which an event can be a cause; columns of `truth`.
        info: Says that no case trained it, so that all are held out.
    """

    info: Mapping[str, Any] = MappingProxyType({"split": {"seen": Split.of([]).to_plain()}})

    horizon: int

    @abstractmethod
    def sample(self, n_cases: int, length: int | tuple[int, int], *, seed: int) -> SequenceSet:
        """Draw independent sequences, each from its start; see `FiniteWorld.sample`."""

    @abstractmethod
    def truth(self, ids: Ids) -> Floats:
        """Return the exact CMI of every pair (float64, ``[L, horizon]``, NaN where there is no effect)."""

    def simulate(
        self, n_cases: int, length: int | tuple[int, int], *, seed: int, delta: float = 0.05, with_truth: bool = True
    ) -> Simulation:
        """Draw a log, and the true edges of every case.

        Args:
            n_cases: How many.
            length: Events of each, or ``(low, high)``.
            seed: Same seed, same log.
            delta: Nats above which a pair is an edge.
            with_truth: False leaves the truth empty (it costs far more than the log).

        Raises:
            ConfigError: An argument is out of range.

        Example:
            >>> from sequela.worlds.softmax import SoftmaxWorld
            >>> found = SoftmaxWorld.random(5, seed=0).simulate(2, 6, seed=1)
            >>> found.log.height, found.truth.columns[:3]
            (12, ['case', 'cause_position', 'effect_position'])
        """
        sequences = self.sample(n_cases, length, seed=seed)
        truth = self.true_edges(sequences, delta=delta) if with_truth else pl.DataFrame(schema=TRUTH_SCHEMA)
        return Simulation(self.to_log(sequences, seed=seed), sequences, truth)

    def true_edges(self, sequences: SequenceSet, *, delta: float = 0.05) -> pl.DataFrame:
        """Return the true edges of some sequences as a table with the columns of `TRUTH_SCHEMA`.

        Raises:
            ConfigError: `delta` is negative, or the sequences are not of this world.
        """
        check_range("delta", delta, low=0)
        names = np.array(self.vocabulary.names)
        frames = [pl.DataFrame(schema=TRUTH_SCHEMA)]
        for case in sequences:
            cmi = self.truth(case.ids)
            cause, column = np.nonzero(np.nan_to_num(cmi) > delta)
            effect = cause + column + 1
            columns = {
                "case": [case.name] * len(cause),
                "cause_position": cause,
                "effect_position": effect,
                "cause": names[case.ids[cause]].tolist(),
                "effect": names[case.ids[effect]].tolist(),
                "lag": column + 1,
                "cmi_nats": cmi[cause, column],
            }
            frames.append(pl.DataFrame(columns, schema=TRUTH_SCHEMA))
        return pl.concat(frames)

    def to_log(self, sequences: SequenceSet, *, seed: int = 0, interval_seconds: float = 60.0) -> pl.DataFrame:
        """Return sequences as an event table, ready for a CSV file or for `read_log`.

        Args:
            sequences: Sequences of this world; times they may have are not used.
            seed: Same seed, same times.
            interval_seconds: Mean time between two events of a case; each gap is 0.5 to 1.5 times as long. At
                least 0.01, because times are whole milliseconds and must increase.

        Returns:
            Columns ``case`` (str), ``event`` (str) and ``time`` (Datetime, milliseconds), one row an event,
            case by case, strictly increasing in time within a case.

        Raises:
            ConfigError: An argument is out of range, or an id is not an event type of this world.

        Example:
            >>> from sequela.worlds.softmax import SoftmaxWorld
            >>> world = SoftmaxWorld.random(3, seed=0, names=["a", "b", "c"])
            >>> world.to_log(world.sample(2, 4, seed=1)).columns
            ['case', 'event', 'time']
        """
        check_range("interval_seconds", interval_seconds, low=0.01)
        check_range("seed", seed, low=0, whole=True)
        check_sequence(sequences.ids, self.vocabulary)
        lengths = sequences.lengths
        gaps = np.random.default_rng(seed).uniform(0.5, 1.5, sequences.n_events) * interval_seconds * 1000
        elapsed = np.concatenate([[0], np.cumsum(gaps.astype(np.int64))])
        case = np.repeat(np.arange(sequences.n_cases), lengths)
        start = _EPOCH_MS + np.arange(sequences.n_cases) * int(interval_seconds * 1000)
        milliseconds = (start - elapsed[sequences.offsets[:-1]])[case] + elapsed[1:]
        types = pl.Series(self.vocabulary.names, dtype=pl.String)
        return pl.DataFrame(
            {
                "case": sequences.case_names.gather(case),
                "event": types.gather(sequences.ids),
                "time": pl.Series(milliseconds, dtype=pl.Int64).cast(pl.Datetime("ms")),
            }
        )

    def entropy_rate(
        self, *, seed: int, n_cases: int = 200, length: int | tuple[int, int] = 64, burn_in: int = 0
    ) -> float:
        """Return the mean exact conditional entropy over sampled contexts, in nats per event.

        Args:
            seed: Of the sampled contexts.
            n_cases: Sampled cases.
            length: Their lengths, as in `sample`.
            burn_in: Leading positions left out. With 0 the result is what the cross-entropy of a perfect
                density over whole cases of that length tends to; large values give the stationary rate.

        Raises:
            ConfigError: An argument is out of range, or no position is left after `burn_in`.

        Source:
            `docs/method.md`, section 1 (``H`` of the oracle score).

        Example:
            >>> from sequela.worlds.softmax import SoftmaxWorld
            >>> coin = SoftmaxWorld(np.zeros(2), np.zeros((2, 2)), horizon=1)
            >>> round(coin.entropy_rate(seed=0, n_cases=2, length=3), 4)
            0.6931
        """
        check_range("burn_in", burn_in, low=0, whole=True)
        sequences = self.sample(n_cases, length, seed=seed)
        n_contexts = int(np.maximum(sequences.lengths - burn_in, 0).sum())
        if not n_contexts:
            raise ConfigError(f"burn_in must be below the length {length}; got {burn_in}")
        total = 0.0
        for case in sequences:
            for positions in _chunks(np.arange(burn_in, len(case.ids)), self._rows_a_chunk):
                log_p = self.conditional(case.ids, positions)
                finite = np.where(log_p > -np.inf, log_p, 0.0)
                total -= float((np.exp(log_p) * finite).sum())
        return total / n_contexts

    def redundancy(
        self, *, seed: int, n_cases: int = 200, length: int | tuple[int, int] = 64, burn_in: int = 0
    ) -> float:
        """Return ``1 - H / log n_types``: 0 for pure noise, 1 for a deterministic world; see `entropy_rate`.

        Source: `docs/method.md`, section 6.

        Example:
            >>> from sequela.worlds.softmax import SoftmaxWorld
            >>> coin = SoftmaxWorld(np.zeros(2), np.zeros((2, 2)), horizon=1)
            >>> abs(round(coin.redundancy(seed=0, n_cases=2, length=3), 4))
            0.0
        """
        rate = self.entropy_rate(seed=seed, n_cases=n_cases, length=length, burn_in=burn_in)
        return 1.0 - rate / float(np.log(self.vocabulary.n_types))

    @property
    def _rows_a_chunk(self) -> int:
        return max(1, _CHUNK_BYTES // (8 * self.vocabulary.n_types))


class FiniteWorld(World, FiniteMemoryDensity):
    """A world whose next event depends on the last `memory` events only.

    A subclass sets `vocabulary` and `memory` and answers `window_log_prob` and `window_conditional` exactly;
    nothing here approximates.
    """

    @property
    def horizon(self) -> int:  # type: ignore[override]
        """Largest lag at which an event can be a cause: the memory."""
        return self.memory

    def sample(self, n_cases: int, length: int | tuple[int, int], *, seed: int) -> SequenceSet:
        """Draw independent sequences, each from its start.

        Args:
            n_cases: How many.
            length: Events of each, or ``(low, high)``: lengths are drawn evenly from ``low … high``.
            seed: Same seed, same sequences. A case depends on the seed, its number and the largest length,
                not on `n_cases`.

        Returns:
            Sequences named ``case-00000``, ``case-00001`` …, without times.

        Raises:
            ConfigError: `n_cases` or a length is below 1, or ``low > high``.

        Source:
            Ancestral sampling; each event by inverting the cumulative conditional at one uniform number.

        Example:
            >>> from sequela.worlds.softmax import SoftmaxWorld
            >>> sequences = SoftmaxWorld.random(5, seed=0).sample(3, (4, 6), seed=1)
            >>> sequences.n_cases, set(sequences.lengths.tolist()) <= {4, 5, 6}
            (3, True)
        """
        return draw_cases(
            lambda windows, rows, position: self.window_conditional(windows),
            self.vocabulary,
            self.memory,
            n_cases,
            length,
            seed=seed,
        )

    def truth(self, ids: Ids) -> Floats:
        """Return the exact conditional mutual information of every pair, by its definition.

        Args:
            ids: Event ids (int32, ``[L]``).

        Returns:
            Nats (float64, ``[L, memory]``). Cell ``[i, k]`` is ``KL(Ber(p) || Ber(q))`` for cause ``i`` and
            effect ``j = i + k + 1``: ``p = P(x_j | x_<j)`` and ``q`` its mean over all event types ``u``
            (even weights, the observed one included) put in place of ``x_i``, everything between left as
            observed. NaN where ``j >= L``. An edge is a cell above ``delta``.
            It costs ``L * memory * n_types`` conditionals.

        Raises:
            ConfigError: `ids` is not a sequence of event types of this world.

        Source:
            `docs/method.md`, section 6 and the atomic design of section 3.

        Example:
            >>> from sequela.worlds.softmax import SoftmaxWorld
            >>> world = SoftmaxWorld(np.zeros(2), np.array([[3.0, 0.0], [0.0, 3.0]]), horizon=1)
            >>> world.truth(np.array([0, 0, 1], np.int32)).round(3).tolist()
            [[0.502], [0.502], [nan]]
        """
        every = np.arange(self.vocabulary.n_types, dtype=np.int32)
        return self._contrast(ids, np.broadcast_to(every, (len(ids), len(every))))

    def truth_sampled(self, ids: Ids, *, n_draws: int = 10, seed: int) -> Floats:
        """Return the paper's noisy truth: as `truth`, but ``q`` is a mean over a few random replacements.

        Args:
            ids: Event ids (int32, ``[L]``).
            n_draws: Replacements drawn evenly, with repetition, for each cause; its effects share them.
            seed: Draws are keyed by the seed and the sequence.

        Returns:
            Nats (float64, ``[L, memory]``), NaN as in `truth`.

        Raises:
            ConfigError: An argument is out of range.

        Source:
            `docs/method.md`, section 6 (an exact density scores an F1 of about 0.93, not 1, against it).

        Example:
            >>> from sequela.worlds.softmax import SoftmaxWorld
            >>> world = SoftmaxWorld.random(4, seed=0)
            >>> world.truth_sampled(np.array([0, 3, 1], np.int32), seed=5).shape
            (3, 6)
        """
        check_range("n_draws", n_draws, low=1, whole=True)
        check_range("seed", seed, low=0, whole=True)
        check_sequence(ids, self.vocabulary)
        # The sequence is part of the key: otherwise every sequence of an experiment would share its noise.
        generator = np.random.default_rng([seed, zlib.crc32(ids.astype(np.int32).tobytes())])
        return self._contrast(
            ids, generator.integers(self.vocabulary.n_types, size=(len(ids), n_draws), dtype=np.int32)
        )

    def _contrast(self, ids: Ids, replacements: Ids) -> Floats:
        """Score every pair against the mean over its cause's replacements (int32, ``[L, n]``)."""
        check_sequence(ids, self.vocabulary)
        n_events, n = replacements.shape
        result = np.full((n_events, self.memory), np.nan)
        lag = np.arange(1, self.memory + 1)
        cause, column = np.nonzero(np.arange(n_events)[:, None] + lag < n_events)
        effect = cause + lag[column]
        for part in _chunks(np.arange(len(cause)), max(1, _CHUNK_BYTES // (4 * self.memory * (n + 1)))):
            observed = observed_windows(ids, effect[part], self.memory, self.vocabulary.begin_id)
            windows = np.repeat(observed[:, None], n + 1, axis=1)  # [cells, 1 + n, memory]; the first as observed
            place = self.memory - lag[column[part]]
            cells = np.arange(len(part))
            windows[cells[:, None], np.arange(1, n + 1), place[:, None]] = replacements[cause[part]]
            targets = np.repeat(ids[effect[part]].astype(np.int32), n + 1)
            log_p = self.window_log_prob(windows.reshape(-1, self.memory), targets).reshape(len(part), n + 1)
            log_not_p = log1mexp(log_p)
            result[cause[part], column[part]] = bernoulli_kl(
                log_p[:, 0], log_not_p[:, 0], log_mean_exp(log_p[:, 1:]), log_mean_exp(log_not_p[:, 1:])
            )
        return result


def draw_cases(
    conditional: Callable[[Ids, NDArray[np.int64], int], Floats],
    vocabulary: Vocabulary,
    memory: int,
    n_cases: int,
    length: int | tuple[int, int],
    *,
    seed: int,
) -> SequenceSet:
    """Draw cases from ``conditional(windows [n, memory], cases [n], position)``, log-probabilities ``[n, n_types]``."""
    check_range("n_cases", n_cases, low=1, whole=True)
    check_range("seed", seed, low=0, whole=True)
    low, high = _length_range(length)
    # Column 0 decides the length, column t + 1 the event at position t.
    uniform = np.random.default_rng(seed).random((n_cases, high + 1))
    lengths = low + (uniform[:, 0] * (high - low + 1)).astype(np.int64)
    padded = np.full((n_cases, memory + high), vocabulary.begin_id, dtype=np.int32)
    for position in range(high):
        active = np.flatnonzero(lengths > position)
        for rows in _chunks(active, max(1, _CHUNK_BYTES // (8 * vocabulary.n_types))):
            log_p = conditional(padded[rows, position : position + memory], rows, position)
            cumulative = np.exp(log_p).cumsum(axis=1)
            # Scaled by the last sum, so that rounding can never fall off the end.
            level = uniform[rows, position + 1] * cumulative[:, -1]
            event = (cumulative <= level[:, None]).sum(axis=1)
            padded[rows, memory + position] = np.minimum(event, vocabulary.n_types - 1)
    ids = padded[:, memory:][np.arange(high) < lengths[:, None]]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    digits = max(5, len(str(n_cases - 1)))
    names = pl.Series([f"case-{i:0{digits}d}" for i in range(n_cases)], dtype=pl.String)
    return SequenceSet(ids, offsets, names)


def _chunks(values: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for low in range(0, len(values), size):
        yield values[low : low + size]


def _length_range(length: int | tuple[int, int]) -> tuple[int, int]:
    low, high = length if isinstance(length, tuple) else (length, length)
    check_range("length", low, low=1, whole=True)
    check_range("length", high, low=1, whole=True)
    if low > high:
        raise ConfigError(f"length must be a number or (low, high) with low <= high; got {length}")
    return int(low), int(high)
