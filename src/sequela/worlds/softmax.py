"""The synthetic world of the paper: past events add to the logits of the next one, nearer ones more.

``P(x_t | past) = softmax(b + Σ_{k=1..h} e^{-r (k-1)} W[x_{t-k}] + a ReLU([E x_{t-h} … E x_{t-1}] W1) W2)``
(`docs/method.md`, section 6). `W` is kept sparse: memory grows with its nonzero weights, not with the square of the
vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from sequela.density.base import Floats, Ids, check_sequence
from sequela.density.window.finite_memory import observed_windows
from sequela.errors import ConfigError, check_range
from sequela.events.vocabulary import Vocabulary
from sequela.worlds.base import FiniteWorld
from sequela.worlds.divergence import divergence_from_mean

_EMBEDDING = 16
_HIDDEN = 64
_CHUNK_LOGITS = 2**17
_BLOCK = 64
_DENSE_TYPES = 2048
"""Up to this many event types `W` is also kept as a table, which is faster."""
_LINKS_A_TYPE = 100
_SCALES = (0.05, 50.0)


class SoftmaxWorld(FiniteWorld):
    """A softmax over events whose logits are sums of what each of the last `horizon` events contributes.

    Ids that are no event type (begin, hidden, padding) contribute nothing.

    Args:
        bias: ``b``, logits without a past (``[V]``).
        weights: ``W``, what a past event adds (``[V, V]``, ``[past event, next event]``; dense or scipy sparse).
        horizon: ``h``, how many past events count; also `memory`.
        decay: ``r``; an event at lag ``k`` counts ``e^{-r (k-1)}``.
        lag_scale: What an event at each lag counts instead (``[horizon]``, lag 1 first); 0 leaves a lag out.
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
        weights: ArrayLike | sparse.sparray,
        *,
        horizon: int,
        decay: float = 1.0,
        lag_scale: ArrayLike | None = None,
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
        self.vocabulary = named_vocabulary(n_types, names)
        self.memory = int(horizon)
        self.nonlinear = float(nonlinear)
        scale = np.exp(-decay * np.arange(horizon)) if lag_scale is None else lag_scale
        self.lag_scale = _matrix("lag_scale", scale, (self.memory,))
        # Rows of zeros for the ids that are no event type.
        self.weights = _sparse_weights(weights, n_types)
        rows = self.vocabulary.n_inputs
        self._rows = sparse.csr_array(
            (self.weights.data, self.weights.indices, np.pad(self.weights.indptr, (0, rows - n_types), mode="edge")),
            shape=(rows, n_types),
        )
        self._table = self._rows.toarray() if n_types <= _DENSE_TYPES else None
        if self.nonlinear:
            self._set_nonlinear(embedding, hidden_weights, output_weights)

    @classmethod
    def random(
        cls,
        n_types: int,
        *,
        horizon: int = 6,
        decay: float = 1.0,
        lag_scale: ArrayLike | None = None,
        sparsity: float | None = None,
        weight_scale: float = 3.2,
        redundancy: float | None = None,
        nonlinear: float = 0.0,
        n_causes: int | None = None,
        seed: int,
        names: Sequence[str] | None = None,
    ) -> SoftmaxWorld:
        """Draw a world; the defaults are the paper-like setting (with ``n_types=1000``).

        Args:
            n_types: Event types.
            horizon: Past events that count.
            decay: How fast their influence fades; 0 is flat.
            lag_scale: What each lag counts, instead of `decay`.
            sparsity: Share of weights that are 0; 0.9 by default, and above 1,000 types as much as leaves 100
                weights a type, so that memory grows with the number of types only.
            weight_scale: Standard deviation of the others.
            redundancy: Solve `weight_scale` so that the world has this redundancy (over cases of 64 events).
            nonlinear: Strength of the nonlinear part; the linear part does not depend on it.
            n_causes: Only the first so many types have any effect, the others are fillers; all by default.
            seed: Same seed, same world.
            names: Event types.

        Raises:
            ConfigError: An argument is out of range, or no weight scale gives the redundancy.

        Source:
            `docs/method.md`, section 6.

        Example:
            >>> world = SoftmaxWorld.random(50, seed=0)
            >>> world.memory, 0.05 < world.weights.nnz / 50**2 < 0.15
            (6, True)
        """
        check_range("n_types", n_types, low=2, whole=True)
        if sparsity is None:
            sparsity = max(0.9, 1 - _LINKS_A_TYPE / n_types)
        check_range("sparsity", sparsity, low=0, high=1)
        check_range("weight_scale", weight_scale, low=0)
        check_range("nonlinear", nonlinear, low=0)
        check_range("seed", seed, low=0, whole=True)
        check_range("horizon", horizon, low=1, whole=True)
        generator = np.random.default_rng(seed)
        bias = generator.standard_normal(n_types)
        weights = _random_weights(n_types, sparsity, generator)
        if n_causes is not None:
            check_range("n_causes", n_causes, low=1, high=n_types, whole=True)
            # Scattered over the frequencies: the biases were drawn at random.
            weights.data[weights.indptr[n_causes] :] = 0.0
            weights.eliminate_zeros()
        fan_in = horizon * _EMBEDDING
        embedding, hidden_weights, output_weights = None, None, None
        if nonlinear:
            embedding = generator.standard_normal((n_types, _EMBEDDING))
            hidden_weights = generator.standard_normal((fan_in, _HIDDEN)) / np.sqrt(fan_in)
            output_weights = generator.standard_normal((_HIDDEN, n_types)) / np.sqrt(_HIDDEN)

        def build(scale: float) -> SoftmaxWorld:
            return cls(
                bias,
                weights * scale,
                horizon=horizon,
                decay=decay,
                lag_scale=lag_scale,
                nonlinear=nonlinear,
                embedding=embedding,
                hidden_weights=hidden_weights,
                output_weights=output_weights,
                names=names,
            )

        return build(weight_scale) if redundancy is None else _solve(build, redundancy, seed)

    def window_log_prob(self, windows: Ids, targets: Ids) -> Floats:
        """See `FiniteMemoryDensity.window_log_prob`."""
        result = np.empty(len(windows))
        # Chunks that stay in the processor's cache: twice as fast, and memory does not grow with the rows.
        narrow = self._table is None and not self.nonlinear
        rows = max(1, _CHUNK_LOGITS // (_LINKS_A_TYPE * self.memory if narrow else self.vocabulary.n_types))
        for low in range(0, len(windows), rows):
            part = slice(low, low + rows)
            if narrow:
                result[part] = self._narrow_log_prob(windows[part], targets[part])
            else:
                log_p = log_softmax(self._logits(windows[part]))
                result[part] = log_p[np.arange(len(log_p)), targets[part]]
        return result

    def _narrow_log_prob(self, windows: Ids, targets: Ids) -> Floats:
        """Touch only the logits that the past changes; the rest of the normaliser is the same for every window."""
        added = self._added(windows)
        counts = np.diff(added.indptr)
        row = np.repeat(np.arange(len(windows)), counts)
        bias = self.bias[added.indices]
        logits = bias + added.data
        top = np.maximum(self.bias.max(), np.maximum.reduceat(np.append(logits, -np.inf), added.indptr[:-1]))
        top = np.where(counts > 0, top, self.bias.max())
        changed = np.exp(logits - top[row]) - np.exp(bias - top[row])
        total = np.exp(self.bias[None, :] - self.bias.max()).sum() * np.exp(self.bias.max() - top)
        total += np.bincount(row, weights=changed, minlength=len(windows))
        is_target = added.indices == targets[row]
        own = np.bincount(row[is_target], weights=added.data[is_target], minlength=len(windows))
        log_p: Floats = np.minimum(self.bias[targets] + own - top - np.log(total), 0.0)
        return log_p

    def _added(self, windows: Ids, leave_out: int | None = None) -> sparse.csr_array:
        """Return what the past adds to the logits (``[n, V]``, sparse), without one lag when asked."""
        lags = np.array([lag for lag in self._lags if lag != leave_out], dtype=np.int64)
        n = len(windows)
        place = windows[:, self.memory - lags]
        pick = sparse.csr_array(
            (np.tile(self.lag_scale[lags - 1], n), place.ravel(), np.arange(n + 1) * len(lags)),
            shape=(n, self.vocabulary.n_inputs),
        )
        added: sparse.csr_array = pick @ self._rows
        return added

    @property
    def _lags(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.lag_scale) + 1

    def window_conditional(self, windows: Ids) -> Floats:
        """See `FiniteMemoryDensity.window_conditional`."""
        return log_softmax(self._logits(windows))

    def _logits(self, windows: Ids) -> Floats:
        """Return logits (float64, ``[n, V]``). Sums run in a fixed order: rows are independent."""
        if self._table is None:
            logits: Floats = self._added(windows).toarray() + self.bias
        else:
            logits = np.tile(self.bias, (len(windows), 1))
            for lag in self._lags:
                added = self._table[windows[:, self.memory - lag]]  # [n, V]
                added *= self.lag_scale[lag - 1]
                logits += added
        if self.nonlinear:
            logits += self.nonlinear * self._nonlinear_logits(windows)
        return logits

    def truth(self, ids: Ids) -> Floats:
        """Return the exact CMI of every pair; see `FiniteWorld.truth`.

        Without a nonlinear part it costs one sparse product a lag instead of a conditional a replacement: replacing
        an event multiplies the weight ``e^logit`` of the types it touches, whatever the rest of the past is.
        """
        if self.nonlinear:
            return super().truth(ids)
        check_sequence(ids, self.vocabulary)
        n_types = self.vocabulary.n_types
        result = np.full((len(ids), self.memory), np.nan)
        columns = self.weights.tocsc()
        for lag in range(1, min(self.memory, len(ids) - 1) + 1):
            scale = self.lag_scale[lag - 1]
            if not scale:
                result[: len(ids) - lag, lag - 1] = 0.0
                continue
            factor = self.weights.copy()
            factor.data = np.expm1(scale * factor.data)
            rows = max(1, _CHUNK_LOGITS * 8 // n_types)
            for low in range(lag, len(ids), rows):
                effect = np.arange(low, min(low + rows, len(ids)))
                windows = observed_windows(ids, effect, self.memory, self.vocabulary.begin_id)
                target = ids[effect]
                others = self._added(windows, leave_out=lag).toarray() + self.bias
                top = others.max(axis=1, keepdims=True)
                mass = np.exp(others - top)  # [n, V]
                total = mass.sum(axis=1)[:, None] + (factor @ mass.T).T  # [n, V]: one normaliser a replacement
                own = others[np.arange(len(effect)), target][:, None] + scale * columns[:, target].toarray().T
                log_f = np.minimum(own - top - np.log(np.maximum(total, 1e-300)), 0.0)
                cause = effect - lag
                result[cause, lag - 1] = divergence_from_mean(log_f, ids[cause])
        return result

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


def log_softmax(logits: Floats) -> Floats:
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


def _sparse_weights(weights: ArrayLike | sparse.sparray, n_types: int) -> sparse.csr_array:
    if not isinstance(weights, sparse.sparray):
        return sparse.csr_array(_matrix("weights", weights, (n_types, n_types)))
    matrix = sparse.csr_array(weights, dtype=np.float64)
    if matrix.shape != (n_types, n_types) or not np.isfinite(matrix.data).all():
        raise ConfigError(f"weights must be finite numbers of shape [{n_types}, {n_types}]; got {list(matrix.shape)}")
    return matrix


def _random_weights(n_types: int, sparsity: float, generator: np.random.Generator) -> sparse.csr_array:
    """Draw standard normal weights, each kept with the chance ``1 - sparsity``."""
    if n_types <= _DENSE_TYPES:
        weights = generator.standard_normal((n_types, n_types))
        weights[generator.random((n_types, n_types)) < sparsity] = 0.0
        return sparse.csr_array(weights)
    counts = generator.binomial(n_types, 1 - sparsity, n_types)
    columns = [np.sort(generator.choice(n_types, count, replace=False)) for count in counts]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    data = generator.standard_normal(int(indptr[-1]))
    return sparse.csr_array((data, np.concatenate(columns), indptr), shape=(n_types, n_types))


def _solve(build: Callable[[float], SoftmaxWorld], redundancy: float, seed: int) -> SoftmaxWorld:
    """Return the world whose weight scale gives a redundancy, by bisection on a logarithmic scale."""
    check_range("redundancy", redundancy, low=0, high=1)

    def excess(log_scale: float) -> float:
        return build(float(np.exp(log_scale))).redundancy(seed=seed, n_cases=20) - redundancy

    low, high = np.log(_SCALES)
    least, most = excess(low) + redundancy, excess(high) + redundancy
    if not least <= redundancy <= most:
        raise ConfigError(
            f"redundancy must lie in {least:.3f} … {most:.3f} for such a world (change sparsity, decay or nonlinear); "
            f"got {redundancy}"
        )
    from scipy.optimize import brentq

    return build(float(np.exp(brentq(excess, low, high, xtol=0.01))))


def named_vocabulary(n_types: int, names: Sequence[str] | None) -> Vocabulary:
    """Return a vocabulary of some names, or of ``e0``, ``e1`` and so on."""
    chosen = tuple(f"e{i}" for i in range(n_types)) if names is None else tuple(map(str, names))
    if len(chosen) != n_types:
        raise ConfigError(f"names must hold {n_types} event types; got {len(chosen)}")
    return Vocabulary(chosen, (0,) * n_types)
