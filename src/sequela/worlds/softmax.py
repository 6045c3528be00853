"""The synthetic world of the paper: past events add to the logits of the next one, nearer ones more.

``P(x_t | past) = softmax(b + Σ_{k=1..h} e^{-r (k-1)} W[x_{t-k}] + a ReLU([E x_{t-h} … E x_{t-1}] W1) W2)``
(METHOD section 6).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sequela.density.base import Floats, Ids
from sequela.errors import ConfigError, check_range
from sequela.events.vocabulary import Vocabulary
from sequela.worlds.base import World

_EMBEDDING = 16
_HIDDEN = 64
_CHUNK_LOGITS = 2**17
_BLOCK = 64


class SoftmaxWorld(World):
    """A softmax over events whose logits are sums of what each of the last `horizon` events contributes.

    Ids that are no event type (begin, hidden, padding) contribute nothing.

    Args:
        bias: ``b``, logits without a past (``[V]``).
        weights: ``W``, what a past event adds (``[V, V]``, ``[past event, next event]``).
        horizon: ``h``, how many past events count; also `memory`.
        decay: ``r``; an event at lag ``k`` counts ``e^{-r (k-1)}``.
        nonlinear: ``a``, strength of the nonlinear part; 0 leaves it out.
        embedding: ``E`` (``[V, d]``); needed, with the next two, when `nonlinear` is not 0.
        hidden_weights: ``W1`` (``[horizon * d, n]``, the oldest event's rows first).
        output_weights: ``W2`` (``[n, V]``).
        names: Event types; ``e0``, ``e1`` … by default.

    Raises:
        ConfigError: A number is out of range, or an array has the wrong shape or is not finite.
        VocabularyError: Fewer than two event types, or a name occurs twice.

    Example:
        >>> world = SoftmaxWorld([0.0, 0.0], np.log([[3, 1], [1, 3]]), horizon=1)
        >>> np.exp(world.conditional(np.array([0], np.int32), np.array([0, 1]))).round(2).tolist()
        [[0.5, 0.5], [0.75, 0.25]]
    """

    def __init__(
        self,
        bias: ArrayLike,
        weights: ArrayLike,
        *,
        horizon: int,
        decay: float = 1.0,
        nonlinear: float = 0.0,
        embedding: ArrayLike | None = None,
        hidden_weights: ArrayLike | None = None,
        output_weights: ArrayLike | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        check_range("horizon", horizon, low=1, whole=True)
        check_range("decay", decay, low=0)
        check_range("nonlinear", nonlinear, low=0)
        self.bias = _matrix("bias", bias, (None,))
        n_types = len(self.bias)
        self.weights = _matrix("weights", weights, (n_types, n_types))
        self.vocabulary = _vocabulary(n_types, names)
        self.memory = int(horizon)
        self.decay = float(decay)
        self.nonlinear = float(nonlinear)
        # Rows of zeros for the ids that are no event type.
        self._table = np.concatenate([self.weights, np.zeros((self.vocabulary.n_inputs - n_types, n_types))])
        if self.nonlinear:
            self._set_nonlinear(embedding, hidden_weights, output_weights)

    @classmethod
    def random(
        cls,
        n_types: int,
        *,
        horizon: int = 6,
        decay: float = 1.0,
        sparsity: float = 0.9,
        weight_scale: float = 3.2,
        nonlinear: float = 0.0,
        seed: int,
        names: Sequence[str] | None = None,
    ) -> SoftmaxWorld:
        """Draw a world; the defaults are the paper-like setting (with ``n_types=1000``).

        Args:
            n_types: Event types. Memory is ``8 * n_types**2`` bytes.
            horizon: Past events that count.
            decay: How fast their influence fades.
            sparsity: Share of weights that are 0.
            weight_scale: Standard deviation of the others.
            nonlinear: Strength of the nonlinear part; the linear part does not depend on it.
            seed: Same seed, same world.
            names: Event types.

        Raises:
            ConfigError: An argument is out of range.

        Source:
            METHOD section 6.

        Example:
            >>> world = SoftmaxWorld.random(50, seed=0)
            >>> world.memory, bool(0.85 < (world.weights == 0).mean() < 0.95)
            (6, True)
        """
        check_range("n_types", n_types, low=2, whole=True)
        check_range("sparsity", sparsity, low=0, high=1)
        check_range("weight_scale", weight_scale, low=0)
        check_range("nonlinear", nonlinear, low=0)
        check_range("seed", seed, low=0, whole=True)
        check_range("horizon", horizon, low=1, whole=True)
        generator = np.random.default_rng(seed)
        bias = generator.standard_normal(n_types)
        weights = generator.standard_normal((n_types, n_types)) * weight_scale
        weights[generator.random((n_types, n_types)) < sparsity] = 0.0
        fan_in = horizon * _EMBEDDING
        return cls(
            bias,
            weights,
            horizon=horizon,
            decay=decay,
            nonlinear=nonlinear,
            embedding=generator.standard_normal((n_types, _EMBEDDING)),
            hidden_weights=generator.standard_normal((fan_in, _HIDDEN)) / np.sqrt(fan_in),
            output_weights=generator.standard_normal((_HIDDEN, n_types)) / np.sqrt(_HIDDEN),
            names=names,
        )

    def window_log_prob(self, windows: Ids, targets: Ids) -> Floats:
        """See `FiniteMemoryDensity.window_log_prob`."""
        result = np.empty(len(windows))
        # Chunks that stay in the processor's cache: twice as fast, and memory does not grow with the rows.
        rows = max(1, _CHUNK_LOGITS // self.vocabulary.n_types)
        for low in range(0, len(windows), rows):
            part = slice(low, low + rows)
            log_p = _log_softmax(self._logits(windows[part]))
            result[part] = log_p[np.arange(len(log_p)), targets[part]]
        return result

    def window_conditional(self, windows: Ids) -> Floats:
        """See `FiniteMemoryDensity.window_conditional`."""
        return _log_softmax(self._logits(windows))

    def _logits(self, windows: Ids) -> Floats:
        """Return logits (float64, ``[n, V]``). Sums run in a fixed order: rows are independent."""
        logits = np.tile(self.bias, (len(windows), 1))
        for lag in range(1, self.memory + 1):
            added = self._table[windows[:, self.memory - lag]]  # [n, V]
            added *= np.exp(-self.decay * (lag - 1))
            logits += added
        if self.nonlinear:
            logits += self.nonlinear * self._nonlinear_logits(windows)
        return logits

    def _nonlinear_logits(self, windows: Ids) -> Floats:
        hidden = self._projected[0][windows[:, 0]]  # [n, hidden]
        for place in range(1, self.memory):
            hidden += self._projected[place][windows[:, place]]
        # A matrix product may round a row differently by how many rows there are: blocks of one size do not.
        n_blocks = -(-len(hidden) // _BLOCK)
        blocks = np.zeros((n_blocks * _BLOCK, hidden.shape[1]))
        blocks[: len(hidden)] = np.maximum(hidden, 0.0)
        output = np.matmul(blocks.reshape(n_blocks, _BLOCK, -1), self.output_weights)
        result: Floats = output.reshape(n_blocks * _BLOCK, -1)[: len(hidden)]
        return result

    def _set_nonlinear(
        self, embedding: ArrayLike | None, hidden_weights: ArrayLike | None, output_weights: ArrayLike | None
    ) -> None:
        if embedding is None or hidden_weights is None or output_weights is None:
            raise ConfigError(
                "embedding, hidden_weights and output_weights must be given when nonlinear is not 0; "
                f"got nonlinear={self.nonlinear}"
            )
        n_types, memory = self.vocabulary.n_types, self.memory
        self.embedding = _matrix("embedding", embedding, (n_types, None))
        size = self.embedding.shape[1]
        self.hidden_weights = _matrix("hidden_weights", hidden_weights, (memory * size, None))
        self.output_weights = _matrix("output_weights", output_weights, (self.hidden_weights.shape[1], n_types))
        # [E x_{t-h} … E x_{t-1}] W1 is a sum of one row per place: those rows are computed once.
        per_place = self.hidden_weights.reshape(memory, size, -1)
        projected = np.matmul(self.embedding, per_place)  # [memory, V, hidden]
        rest = np.zeros((memory, self.vocabulary.n_inputs - n_types, projected.shape[2]))
        self._projected = np.concatenate([projected, rest], axis=1)


def _log_softmax(logits: Floats) -> Floats:
    """Return log-probabilities (float64, ``[n, V]``), overwriting the logits.

    The largest term is left out of the sum and comes back inside `log1p`, so that a probability within
    rounding of 1 keeps its distance from 1.
    """
    rows, top = np.arange(len(logits)), logits.argmax(axis=1)
    logits -= logits[rows, top][:, None]
    terms = np.exp(logits)
    terms[rows, top] = 0.0
    logits -= np.log1p(terms.sum(axis=1))[:, None]
    return logits


def _matrix(argument: str, value: ArrayLike, shape: tuple[int | None, ...]) -> Floats:
    array = np.array(value, dtype=np.float64)
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits or not np.isfinite(array).all():
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ConfigError(f"{argument} must be finite numbers of shape [{wanted}]; got shape {list(array.shape)}")
    array.flags.writeable = False
    return array


def _vocabulary(n_types: int, names: Sequence[str] | None) -> Vocabulary:
    chosen = tuple(f"e{i}" for i in range(n_types)) if names is None else tuple(map(str, names))
    if len(chosen) != n_types:
        raise ConfigError(f"names must hold {n_types} event types; got {len(chosen)}")
    return Vocabulary(chosen, (0,) * n_types)
