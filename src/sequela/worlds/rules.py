"""Worlds where events act together: a rule fires when the past holds enough of what it asks for.

``P(x_t | past) = softmax(b + Σ_r w_r 1[n(u_r) >= c_r and n(v_r) >= d_r] at e_r)``, ``n(u)`` how often ``u`` occurs
among the last ``h`` events. With ``c = d = 1`` two different events act only together (*multiplicative*); with
``u = v`` and
``c = k`` an event acts from its k-th occurrence on (*threshold*). Both are open question 1 of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from sequela.density.base import Floats, Ids
from sequela.errors import ConfigError, check_range
from sequela.worlds.base import FiniteWorld
from sequela.worlds.softmax import log_softmax, named_vocabulary

_CHUNK_CELLS = 2**21
_RULES_A_TYPE = 50


class RuleWorld(FiniteWorld):
    """A softmax over events whose logits are sums of the rules that fire.

    Args:
        bias: Logits when no rule fires (``[V]``).
        needs: What each rule asks for: ``(first type, how many, second type, how many)`` (int, ``[R, 4]``).
        effects: The event type each rule speaks about (int, ``[R]``).
        weights: What it adds to that type's logit (``[R]``).
        horizon: How many past events are counted; also `memory`.
        names: Event types; ``e0``, ``e1`` and so on by default.

    Raises:
        ConfigError: The arrays do not fit together, or a rule names a type that does not exist.

    Example:
        >>> world = RuleWorld([0.0, 0.0, 0.0], [[0, 1, 1, 1]], [2], [5.0], horizon=2)  # 0 and 1 together bring 2
        >>> np.exp(world.conditional(np.array([0, 1, 0, 0], np.int32), np.array([2, 4])))[:, 2].round(2).tolist()
        [0.99, 0.33]
    """

    def __init__(
        self,
        bias: ArrayLike,
        needs: ArrayLike,
        effects: ArrayLike,
        weights: ArrayLike,
        *,
        horizon: int,
        names: Sequence[str] | None = None,
    ) -> None:
        check_range("horizon", horizon, low=1, whole=True)
        self.bias = np.asarray(bias, dtype=np.float64)
        n_types = len(self.bias)
        self.vocabulary = named_vocabulary(n_types, names)
        self.memory = int(horizon)
        self.needs = np.asarray(needs, dtype=np.int64).reshape(-1, 4)
        self.effects = np.asarray(effects, dtype=np.int64)
        self.weights = np.asarray(weights, dtype=np.float64)
        n_rules = len(self.needs)
        if not len(self.effects) == len(self.weights) == n_rules:
            raise ConfigError(
                f"needs, effects and weights must be as many; got {n_rules}, {len(self.effects)}, {len(self.weights)}"
            )
        named = np.concatenate([self.needs[:, 0], self.needs[:, 2], self.effects])
        if len(named) and not 0 <= named.min() <= named.max() < n_types:
            raise ConfigError(f"rules must name types 0 … {n_types - 1}; got {named.min()} … {named.max()}")
        if n_rules and self.needs[:, [1, 3]].min() < 1:
            raise ConfigError("rules must ask for at least 1 occurrence of each type")
        self._spread = sparse.csr_array((self.weights, (np.arange(n_rules), self.effects)), shape=(n_rules, n_types))

    @classmethod
    def multiplicative(
        cls,
        n_types: int,
        *,
        horizon: int = 6,
        n_rules: int | None = None,
        weight_scale: float = 3.2,
        seed: int,
        names: Sequence[str] | None = None,
    ) -> RuleWorld:
        """Draw a world where two different past events act only together.

        Args:
            n_types: Event types, at least 3.
            horizon: Past events that count.
            n_rules: Rules; by default one in 20 of all pairs and effects, 4 to 50 a type.
            weight_scale: Standard deviation of what a rule adds.
            seed: Same seed, same world.
            names: Event types.

        Example:
            >>> RuleWorld.multiplicative(20, seed=0).needs.shape
            (200, 4)
        """
        check_range("n_types", n_types, low=3, whole=True)
        n_rules = n_rules or max(4 * n_types, min(n_types**3 // 40, _RULES_A_TYPE * n_types))
        generator = np.random.default_rng(seed)
        bias = generator.standard_normal(n_types)
        first = generator.integers(n_types, size=n_rules)
        second = (first + generator.integers(1, n_types, size=n_rules)) % n_types
        once = np.ones(n_rules, dtype=np.int64)
        effects = generator.integers(n_types, size=n_rules)
        weights = generator.standard_normal(n_rules) * weight_scale
        return cls(bias, np.stack([first, once, second, once], 1), effects, weights, horizon=horizon, names=names)

    @classmethod
    def threshold(
        cls,
        n_types: int,
        *,
        k: int = 2,
        horizon: int = 8,
        sparsity: float = 0.8,
        weight_scale: float = 3.2,
        repeat: float = 1.5,
        seed: int,
        names: Sequence[str] | None = None,
    ) -> RuleWorld:
        """Draw a world where an event acts from its k-th occurrence in the window on.

        Args:
            n_types: Event types.
            k: Occurrences it takes.
            horizon: Past events that count, at least `k`.
            sparsity: Share of ordered pairs of types without a rule.
            weight_scale: Standard deviation of what a rule adds.
            repeat: What one occurrence adds to the type's own logit, so that events do come several times.
            seed: Same seed, same world.
            names: Event types.

        Example:
            >>> RuleWorld.threshold(10, k=3, seed=0).memory
            8
        """
        check_range("n_types", n_types, low=2, whole=True)
        check_range("k", k, low=1, high=horizon, whole=True)
        check_range("sparsity", sparsity, low=0, high=1)
        generator = np.random.default_rng(seed)
        bias = generator.standard_normal(n_types)
        cause, effect = np.nonzero(generator.random((n_types, n_types)) >= sparsity)
        weights = generator.standard_normal(len(cause)) * weight_scale
        own = np.arange(n_types)
        cause, effect = np.append(cause, own), np.append(effect, own)
        count = np.append(np.full(len(weights), k), np.ones(n_types, dtype=np.int64))
        weights = np.append(weights, np.full(n_types, repeat))
        return cls(bias, np.stack([cause, count, cause, count], 1), effect, weights, horizon=horizon, names=names)

    def window_log_prob(self, windows: Ids, targets: Ids) -> Floats:
        """See `FiniteMemoryDensity.window_log_prob`."""
        result = np.empty(len(windows))
        for low in range(0, len(windows), self._chunk):
            part = slice(low, low + self._chunk)
            log_p = log_softmax(self._logits(windows[part]))
            result[part] = log_p[np.arange(len(log_p)), targets[part]]
        return result

    def window_conditional(self, windows: Ids) -> Floats:
        """See `FiniteMemoryDensity.window_conditional`."""
        result = np.empty((len(windows), self.vocabulary.n_types))
        for low in range(0, len(windows), self._chunk):
            result[low : low + self._chunk] = log_softmax(self._logits(windows[low : low + self._chunk]))
        return result

    @property
    def _chunk(self) -> int:
        return max(1, _CHUNK_CELLS // (len(self.needs) + self.vocabulary.n_inputs))

    def _logits(self, windows: Ids) -> Floats:
        fires = sparse.csr_array(self.fires(windows), dtype=np.float64)
        logits: Floats = (fires @ self._spread).toarray() + self.bias
        return logits

    def fires(self, windows: Ids) -> NDArray[np.bool_]:
        """Return which rules fire (bool, ``[n, R]``) for windows (int32, ``[n, memory]``)."""
        width = self.vocabulary.n_inputs
        cell = windows + np.arange(len(windows))[:, None] * width
        counts = np.bincount(cell.ravel(), minlength=len(windows) * width).reshape(len(windows), width)
        first, n_first, second, n_second = self.needs.T
        result: NDArray[np.bool_] = (counts[:, first] >= n_first) & (counts[:, second] >= n_second)
        return result
