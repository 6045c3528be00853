"""A world with something that is not in the log: hidden triggers drive two observed types with different delays.

A trigger ``c`` fires at a position by chance (``rate / C`` each). It makes ``first_c`` likelier at that position and
``second_c`` likelier ``delay`` positions later. Nobody sees it: in the log ``first_c`` predicts ``second_c`` without
causing it (open question 3 of the paper). What is observed is not Markov; its exact law is a forward filter over the
hidden triggers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sequela.density.base import Branches, Floats, Ids, Times, check_branches, check_sequence, n_targets
from sequela.density.window.finite_memory import observed_windows
from sequela.errors import ConfigError, check_range
from sequela.events.sequences import SequenceSet
from sequela.worlds.base import FiniteWorld, World, draw_cases
from sequela.worlds.divergence import divergence_from_mean
from sequela.worlds.softmax import SoftmaxWorld

_MAX_STATES = 4096


class ConfoundedWorld(World):
    """A finite world with hidden triggers on top.

    Args:
        base: The law without triggers; its links are real causes.
        pairs: ``(first, second)`` type of each trigger, two different ones.
        delay: Positions between the two effects of a trigger, at least 1.
        rate: Chance that any trigger fires at a position.
        strength: Nats a trigger adds to the logit of its type.

    Raises:
        ConfigError: An argument is out of range, or there are too many hidden states (``(C + 1)^(delay + 1)``).

    Example:
        >>> base = SoftmaxWorld(np.zeros(3), np.zeros((3, 3)), horizon=1)
        >>> world = ConfoundedWorld(base, [(0, 1)], delay=1, rate=0.5, strength=4.0)
        >>> world.association(np.array([0, 1], np.int32)).round(3).tolist()[0]  # 0 predicts 1 …
        [0.137]
        >>> world.truth(np.array([0, 1], np.int32)).tolist()[0]  # … and does not cause it
        [0.0]
    """

    def __init__(
        self,
        base: FiniteWorld,
        pairs: Sequence[tuple[int, int]],
        *,
        delay: int = 2,
        rate: float = 0.2,
        strength: float = 4.0,
    ) -> None:
        check_range("delay", delay, low=1, whole=True)
        check_range("rate", rate, low=0, high=1)
        check_range("strength", strength)
        self.base = base
        self.vocabulary = base.vocabulary
        self.memory = None
        self.pairs = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        n_types = self.vocabulary.n_types
        if not len(self.pairs) or (self.pairs[:, 0] == self.pairs[:, 1]).any():
            raise ConfigError(f"pairs must name two different types each; got {list(pairs)}")
        if self.pairs.min() < 0 or self.pairs.max() >= n_types:
            raise ConfigError(f"pairs must name types 0 … {n_types - 1}; got {list(pairs)}")
        self.delay, self.rate, self.strength = int(delay), float(rate), float(strength)
        self.horizon = max(base.memory, self.delay)
        n_values = len(self.pairs) + 1
        self._shape = (n_values,) * (self.delay + 1)
        n_states = n_values ** (self.delay + 1)
        if n_states > _MAX_STATES:
            raise ConfigError(f"delay and pairs give {n_states:,} hidden states, at most {_MAX_STATES:,} are possible")
        self._chance = np.array([1 - rate, *[rate / len(self.pairs)] * len(self.pairs)])
        # Newest trigger and the one whose delay is over, of each hidden state.
        state = np.unravel_index(np.arange(n_states), self._shape)
        self._new, self._old = state[0], state[-1]
        # Before the start no trigger fired.
        self._start = np.zeros(n_states)
        self._start[0] = 1.0

    @classmethod
    def random(
        cls,
        n_types: int,
        *,
        n_confounders: int = 3,
        delay: int = 2,
        rate: float = 0.3,
        strength: float = 4.0,
        horizon: int = 4,
        decay: float = 0.5,
        sparsity: float = 0.95,
        weight_scale: float = 3.0,
        seed: int,
        names: Sequence[str] | None = None,
    ) -> ConfoundedWorld:
        """Draw a world with real links (`SoftmaxWorld.random`) and hidden triggers over pairs without one.

        Example:
            >>> ConfoundedWorld.random(20, seed=0).horizon
            4
        """
        check_range("n_confounders", n_confounders, low=1, high=n_types // 2, whole=True)
        base = SoftmaxWorld.random(
            n_types,
            horizon=horizon,
            decay=decay,
            sparsity=sparsity,
            weight_scale=weight_scale,
            seed=seed,
            names=names,
        )
        order = np.random.default_rng([seed, 2]).permutation(n_types)[: 2 * n_confounders].reshape(-1, 2)
        return cls(base, [(int(a), int(b)) for a, b in order], delay=delay, rate=rate, strength=strength)

    def sample(self, n_cases: int, length: int | tuple[int, int], *, seed: int) -> SequenceSet:
        """See `World.sample`. The triggers that fired are not kept: nobody saw them."""
        high = length[1] if isinstance(length, tuple) else length
        check_range("n_cases", n_cases, low=1, whole=True)
        check_range("length", high, low=1, whole=True)
        generator = np.random.default_rng([seed, 1])
        fired = generator.choice(len(self._chance), size=(n_cases, high + self.delay), p=self._chance)
        fired[:, : self.delay] = 0

        def conditional(windows: Ids, rows: NDArray[np.int64], position: int) -> Floats:
            weight = np.exp(self.base.window_conditional(windows))
            everyone = np.arange(len(rows))
            for column, values in enumerate((fired[rows, position + self.delay], fired[rows, position])):
                hit = values > 0
                weight[everyone[hit], self.pairs[values[hit] - 1, column]] *= np.exp(self.strength)
            result: Floats = np.log(weight)
            return result

        return draw_cases(conditional, self.vocabulary, self.base.memory, n_cases, length, seed=seed)

    def score_many(self, sequences: Sequence[Ids], times: Times = None) -> list[Floats]:
        """See `Density.score_many`."""
        results = []
        for ids in sequences:
            check_sequence(ids, self.vocabulary)
            results.append(self._observed(ids)[0])
        return results

    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """See `Density.score_branches_many`."""
        return [self._branches(one) for one in branches]

    def conditional(self, ids: Ids, positions: NDArray[np.int64], times: Floats | None = None) -> Floats:
        """See `Density.conditional`."""
        _, beliefs = self._observed(ids)
        chosen = np.asarray(positions)
        windows = observed_windows(ids, chosen, self.base.memory, self.vocabulary.begin_id)
        weight, total = self._law(windows)
        pairs = self._pair_belief(beliefs[chosen]) / total  # [n, C + 1, C + 1]
        result = weight * pairs.sum(axis=(1, 2))[:, None]
        boost = np.expm1(self.strength)
        for c, (first, second) in enumerate(self.pairs, start=1):
            result[:, first] += weight[:, first] * boost * pairs[:, c, :].sum(axis=1)
            result[:, second] += weight[:, second] * boost * pairs[:, :, c].sum(axis=1)
        # A type that both a new and an old trigger speak for is boosted twice: the product, not the sum.
        for c, (first, _) in enumerate(self.pairs, start=1):
            for d, (_, second) in enumerate(self.pairs, start=1):
                if first == second:
                    result[:, first] += weight[:, first] * boost**2 * pairs[:, c, d]
        log_p: Floats = np.minimum(np.log(result), 0.0)
        return log_p

    def truth(self, ids: Ids) -> Floats:
        """Return the causal truth: what replacing the cause would do, whatever the hidden triggers did.

        The triggers are known as far as the *observed* past tells, and stay as they were when the cause is replaced
        (abduction, action, prediction). A pair that only shares a trigger has a truth of exactly 0.

        Returns:
            Nats (float64, ``[L, horizon]``); NaN where there is no effect.

        Source:
            Pearl (2009), Causality, 7.1, with `docs/method.md`, section 6.
        """
        check_sequence(ids, self.vocabulary)
        _, beliefs = self._observed(ids)
        n_types, memory = self.vocabulary.n_types, self.base.memory
        result = np.full((len(ids), self.horizon), np.nan)
        for lag in range(1, min(self.horizon, len(ids) - 1) + 1):
            effect = np.arange(lag, len(ids))
            if lag > memory:
                result[effect - lag, lag - 1] = 0.0
                continue
            windows = observed_windows(ids, effect, memory, self.vocabulary.begin_id)
            replaced = np.repeat(windows, n_types, axis=0)
            replaced[:, memory - lag] = np.tile(np.arange(n_types), len(effect))
            log_f = np.empty(len(replaced))
            rows = max(1, 2**22 // n_types)
            for low in range(0, len(replaced), rows):
                part = np.arange(low, min(low + rows, len(replaced)))
                cell = effect[part // n_types]
                log_f[part] = self._log_prob(replaced[part], ids[cell], beliefs[cell])
            result[effect - lag, lag - 1] = divergence_from_mean(log_f.reshape(-1, n_types), ids[effect - lag])
        return result

    def association(self, ids: Ids) -> Floats:
        """Return what a perfect density of the *log* sees: the same contrast, the past replaced as if it were true.

        Pairs above ``delta`` here and not in `truth` are spurious: their link is the hidden trigger.

        Returns:
            Nats (float64, ``[L, horizon]``); NaN where there is no effect.

        Source:
            `docs/method.md`, section 3, atomic, every replacement enumerated.
        """
        n_types = self.vocabulary.n_types
        result = np.full((len(ids), self.horizon), np.nan)
        for cause in range(len(ids) - 1):
            place = np.minimum(cause + np.arange(self.horizon), len(ids) - 1)
            tails = np.tile(ids[place].astype(np.int32), (n_types, 1))
            tails[:, 0] = np.arange(n_types)
            log_f = self.score_branches(ids, np.full(n_types, cause), tails)
            n = min(self.horizon, len(ids) - 1 - cause)
            result[cause, :n] = divergence_from_mean(log_f[:, :n].T, np.full(n, ids[cause], np.int32))
        return result

    def _law(self, windows: Ids) -> tuple[Floats, Floats]:
        """Return the law without triggers (``[n, V]``) and its normaliser under each pair (``[n, C + 1, C + 1]``)."""
        weight = np.exp(self.base.window_conditional(windows))
        boost = np.expm1(self.strength)
        first = np.pad(weight[:, self.pairs[:, 0]] * boost, ((0, 0), (1, 0)))
        second = np.pad(weight[:, self.pairs[:, 1]] * boost, ((0, 0), (1, 0)))
        total = 1.0 + first[:, :, None] + second[:, None, :]
        total[:, 1:, 1:] += np.where(self._same, first[:, 1:, None] * boost, 0.0)
        return weight, total

    @property
    def _same(self) -> NDArray[np.bool_]:
        """Whether the first type of one trigger is the second of another (``[C, C]``)."""
        result: NDArray[np.bool_] = self.pairs[:, :1] == self.pairs[None, :, 1]
        return result

    def _emission(self, windows: Ids, targets: Ids) -> Floats:
        """Return ``P(target | window, newest trigger, oldest trigger)`` (``[n, C + 1, C + 1]``)."""
        weight, total = self._law(windows)
        own = weight[np.arange(len(windows)), targets][:, None, None]
        is_first = np.pad(targets[:, None] == self.pairs[:, 0], ((0, 0), (1, 0)))[:, :, None]
        is_second = np.pad(targets[:, None] == self.pairs[:, 1], ((0, 0), (1, 0)))[:, None, :]
        result: Floats = own * np.exp(self.strength * (is_first.astype(float) + is_second)) / total
        return result

    def _pair_belief(self, belief: Floats) -> Floats:
        """Sum a belief over hidden states (``[n, states]``) to newest and oldest trigger (``[n, C + 1, C + 1]``)."""
        n_values = self._shape[0]
        table = belief.reshape(len(belief), n_values, n_values ** (self.delay - 1), n_values)
        result: Floats = table.sum(axis=2)
        return result

    def _log_prob(self, windows: Ids, targets: Ids, belief: Floats) -> Floats:
        p = (self._emission(windows, targets) * self._pair_belief(belief)).sum(axis=(1, 2))
        result: Floats = np.minimum(np.log(p), 0.0)
        return result

    def _step(self, belief: Floats, windows: Ids, targets: Ids) -> tuple[Floats, Floats]:
        """Return ``log P(target)`` (``[n]``) and the belief about the next position's triggers (``[n, states]``)."""
        emission = self._emission(windows, targets)[:, self._new, self._old]  # [n, states]
        joint = belief * emission
        p = joint.sum(axis=1)
        return np.minimum(np.log(p), 0.0), self._forward(joint / p[:, None])

    def _forward(self, belief: Floats) -> Floats:
        """Move a belief (``[n, states]``) to the next position: forget the oldest trigger; a new one fires or not."""
        kept = belief.reshape(len(belief), self._shape[0] ** self.delay, self._shape[0]).sum(axis=2)
        result: Floats = (self._chance[None, :, None] * kept[:, None, :]).reshape(belief.shape)
        return result

    def _observed(self, ids: Ids) -> tuple[Floats, Floats]:
        """Return the score of each event (``[L]``) and the belief before each position (``[L + 1, states]``)."""
        windows = observed_windows(ids, np.arange(len(ids)), self.base.memory, self.vocabulary.begin_id)
        scores = np.empty(len(ids))
        beliefs = np.empty((len(ids) + 1, len(self._start)))
        beliefs[0] = self._forward(self._start[None])[0]
        for t in range(len(ids)):
            if 0 <= ids[t] < self.vocabulary.n_types:
                step, following = self._step(beliefs[t : t + 1], windows[t : t + 1], ids[t : t + 1])
                scores[t], beliefs[t + 1] = step[0], following[0]
            else:  # a hidden event says nothing about the triggers
                scores[t], beliefs[t + 1] = np.nan, self._forward(beliefs[t : t + 1])[0]
        return scores, beliefs

    def _branches(self, branches: Branches) -> Floats:
        check_branches(branches, self.vocabulary)
        ids, starts, tails = branches.ids, branches.starts, branches.tails
        memory = self.base.memory
        _, beliefs = self._observed(ids)
        belief = beliefs[starts]
        history = np.concatenate([np.full(memory, self.vocabulary.begin_id, np.int32), ids])
        windows = history[starts[:, None] + np.arange(memory)]  # the events before each start
        result = np.full(tails.shape, np.nan)
        left = n_targets(branches)
        for step in range(tails.shape[1]):
            fed = tails[:, step].astype(np.int32)
            known = fed < self.vocabulary.n_types
            _, after = self._step(belief, windows, np.where(known, fed, 0).astype(np.int32))
            belief = np.where(known[:, None], after, self._forward(belief))
            windows = np.concatenate([windows[:, 1:], fed[:, None]], axis=1)
            active = np.flatnonzero(step < left)
            target = ids[starts[active] + step + 1].astype(np.int32)
            result[active, step] = self._log_prob(windows[active], target, belief[active])
        return result
