"""A world with a hidden common cause of everything: a state that nobody records, and which changes slowly.

``P(x_t | past, s_t) ∝ f(x_t | past) e^{tilt[s_t, x_t]}``, ``s_t`` a Markov chain that nothing in the log acts on. ``f``
holds the real causes. Where the state jumps to any other (*slow clock*), the order of two types that it favours is
symmetric in time: association without direction. Where it goes round (*rotating clock*), one of them comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sequela.density.base import Branches, Floats, Ids, Times, check_branches, check_sequence, n_targets
from sequela.density.window.finite_memory import observed_windows
from sequela.errors import ConfigError, check_range
from sequela.events.sequences import SequenceSet
from sequela.worlds.base import FiniteWorld, World, draw_cases
from sequela.worlds.divergence import divergence_from_mean
from sequela.worlds.softmax import SoftmaxWorld


class HiddenClockWorld(World):
    """A finite world whose frequencies drift with a hidden state.

    Args:
        base: The law of the real causes.
        tilt: What each hidden state adds to the logit of each type (``[states, V]``, at least two states).
        dwell: Events that a state lasts, on average; at least 1.
        rotating: The next state is the one after, in a circle; False: any other one.

    Raises:
        ConfigError: An argument is out of range or has the wrong shape.

    Example:
        >>> base = SoftmaxWorld(np.zeros(3), np.zeros((3, 3)), horizon=1)
        >>> world = HiddenClockWorld(base, [[3.0, 3.0, 0.0], [0.0, 0.0, 3.0]], dwell=10)
        >>> world.association(np.array([0, 1], np.int32)).round(3).tolist()[0]  # 0 predicts 1 …
        [0.025]
        >>> world.truth(np.array([0, 1], np.int32)).tolist()[0]  # … and does not cause it
        [0.0]
    """

    def __init__(self, base: FiniteWorld, tilt: ArrayLike, *, dwell: float = 20.0, rotating: bool = False) -> None:
        check_range("dwell", dwell, low=1)
        self.base, self.vocabulary, self.memory, self.horizon = base, base.vocabulary, None, base.memory
        self.tilt = np.asarray(tilt, dtype=np.float64)
        n_types = self.vocabulary.n_types
        if (
            self.tilt.ndim != 2
            or self.tilt.shape[1] != n_types
            or len(self.tilt) < 2
            or not np.isfinite(self.tilt).all()
        ):
            raise ConfigError(f"tilt must be finite numbers [states >= 2, {n_types}]; got shape {self.tilt.shape}")
        self.dwell, self.rotating = float(dwell), bool(rotating)
        n_states = len(self.tilt)
        leave = np.roll(np.eye(n_states), 1, axis=1) if rotating else (1.0 - np.eye(n_states)) / (n_states - 1)
        #: Probability of the next state given this one (``[states, states]``).
        self.transition: Floats = (1 - 1 / dwell) * np.eye(n_states) + leave / dwell
        self._start = np.full(n_states, 1.0 / n_states)

    @classmethod
    def random(
        cls,
        n_types: int,
        *,
        n_states: int | None = None,
        dwell: float | None = None,
        strength: float = 1.5,
        rotating: bool = False,
        horizon: int = 4,
        decay: float = 0.5,
        sparsity: float = 0.95,
        weight_scale: float = 3.0,
        seed: int,
        names: Sequence[str] | None = None,
    ) -> HiddenClockWorld:
        """Draw a world with real links (`SoftmaxWorld.random`) under a hidden clock.

        Args:
            n_types: Event types.
            n_states: Hidden states: by default 3, or 8 of a rotating clock.
            dwell: Events that a state lasts: by default 20, or 5 of a rotating clock.
            strength: Standard deviation of what a state adds to a type's logit; the amplitude of the wave of a
                rotating clock.
            rotating: Whether the states go round.
            horizon: As all that follow, of `SoftmaxWorld.random`.
            decay: How fast causes fade with the lag.
            sparsity: Share of ordered pairs of types without a link; 1 leaves no causes.
            weight_scale: Standard deviation of the links.
            seed: Same seed, same world.
            names: Event types.

        Example:
            >>> HiddenClockWorld.random(10, rotating=True, seed=0).tilt.shape
            (8, 10)
        """
        check_range("strength", strength, low=0)
        n_states = (8 if rotating else 3) if n_states is None else n_states
        check_range("n_states", n_states, low=2, whole=True)
        base = SoftmaxWorld.random(
            n_types, horizon=horizon, decay=decay, sparsity=sparsity, weight_scale=weight_scale, seed=seed, names=names
        )
        generator = np.random.default_rng([seed, 16])
        if rotating:
            turn = 2 * np.pi * np.arange(n_states) / n_states
            tilt = np.cos(turn[:, None] + generator.uniform(0, 2 * np.pi, n_types))
        else:
            tilt = generator.standard_normal((n_states, n_types))
        return cls(
            base, strength * tilt, dwell=(5.0 if rotating else 20.0) if dwell is None else dwell, rotating=rotating
        )

    def sample(self, n_cases: int, length: int | tuple[int, int], *, seed: int) -> SequenceSet:
        """See `World.sample`. The hidden states are not kept: nobody saw them."""
        high = length[1] if isinstance(length, tuple) else length
        check_range("n_cases", n_cases, low=1, whole=True)
        check_range("length", high, low=1, whole=True)
        uniform = np.random.default_rng([seed, 17]).random((n_cases, high))
        states = np.empty((n_cases, high), dtype=np.int64)
        law = np.broadcast_to(self._start, (n_cases, len(self._start)))
        for place in range(high):
            states[:, place] = (law.cumsum(axis=1)[:, :-1] <= uniform[:, place, None]).sum(axis=1)
            law = self.transition[states[:, place]]

        def conditional(windows: Ids, rows: NDArray[np.int64], position: int) -> Floats:
            result: Floats = self.base.window_conditional(windows) + self.tilt[states[rows, position]]
            return result  # not normalised: `draw_cases` scales

        return draw_cases(conditional, self.vocabulary, self.base.memory, n_cases, length, seed=seed)

    def score_many(self, sequences: Sequence[Ids], times: Times = None) -> list[Floats]:
        """See `Density.score_many`."""
        results = []
        for ids in sequences:
            check_sequence(ids, self.vocabulary)
            results.append(self._follow(ids)[0])
        return results

    def score_branches_many(self, branches: Sequence[Branches]) -> list[Floats]:
        """See `Density.score_branches_many`."""
        return [self._branches(one) for one in branches]

    def conditional(self, ids: Ids, positions: NDArray[np.int64], times: Floats | None = None) -> Floats:
        """See `Density.conditional`."""
        _, beliefs = self._follow(ids)
        chosen = np.asarray(positions)
        law = self._laws(observed_windows(ids, chosen, self.base.memory, self.vocabulary.begin_id))
        result: Floats = np.log(np.einsum("ns,nsv->nv", beliefs[chosen], law))
        return np.minimum(result, 0.0)

    def truth(self, ids: Ids) -> Floats:
        """Return the causal truth: what replacing the cause would do, whatever the hidden clock did.

        The state is known as far as the *observed* past tells, and stays as it was when the cause is replaced
        (abduction, action, prediction). A pair that only shares the clock has a truth of exactly 0.

        Returns:
            Nats (float64, ``[L, horizon]``); NaN where there is no effect.

        Source:
            Pearl (2009), Causality, 7.1, with `docs/method.md`, section 6.
        """
        check_sequence(ids, self.vocabulary)
        _, beliefs = self._follow(ids)
        n_types, memory = self.vocabulary.n_types, self.base.memory
        result = np.full((len(ids), self.horizon), np.nan)
        for lag in range(1, min(memory, len(ids) - 1) + 1):
            for effect in range(lag, len(ids)):
                window = observed_windows(ids, np.array([effect]), memory, self.vocabulary.begin_id)
                replaced = np.repeat(window, n_types, axis=0)
                replaced[:, memory - lag] = np.arange(n_types)
                chance = self._emission(replaced, np.full(n_types, ids[effect])) @ beliefs[effect]
                log_f = np.minimum(np.log(chance), 0.0)[None]
                result[effect - lag, lag - 1] = divergence_from_mean(log_f, ids[effect - lag : effect - lag + 1])[0]
        return result

    def association(self, ids: Ids) -> Floats:
        """Return what a perfect density of the *log* sees: the same contrast, the past replaced as if it were true.

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

    def _laws(self, windows: Ids) -> Floats:
        """Return the law of the next event in each hidden state (``[n, states, V]``)."""
        weight = np.exp(self.base.window_conditional(windows)[:, None] + self.tilt)
        result: Floats = weight / weight.sum(axis=2, keepdims=True)
        return result

    def _emission(self, windows: Ids, targets: NDArray[np.integer]) -> Floats:
        """Return the probability of each target in each hidden state (``[n, states]``)."""
        result: Floats = self._laws(windows)[np.arange(len(windows)), :, targets]
        return result

    def _follow(self, ids: Ids) -> tuple[Floats, Floats]:
        """Return the score of each event (``[L]``) and the belief before each position (``[L + 1, states]``)."""
        windows = observed_windows(ids, np.arange(len(ids)), self.base.memory, self.vocabulary.begin_id)
        known = (ids >= 0) & (ids < self.vocabulary.n_types)
        emission = self._emission(windows, np.where(known, ids, 0)) if len(ids) else np.ones((0, len(self._start)))
        scores, beliefs = np.full(len(ids), np.nan), np.empty((len(ids) + 1, len(self._start)))
        beliefs[0] = self._start
        for place in range(len(ids)):
            joint = beliefs[place] * (emission[place] if known[place] else 1.0)  # a hidden event tells nothing
            if known[place]:
                scores[place] = min(np.log(joint.sum()), 0.0)
            beliefs[place + 1] = joint / joint.sum() @ self.transition
        return scores, beliefs

    def _branches(self, branches: Branches) -> Floats:
        check_branches(branches, self.vocabulary)
        ids, starts, tails = branches.ids, branches.starts, branches.tails
        memory = self.base.memory
        belief = self._follow(ids)[1][starts]
        history = np.concatenate([np.full(memory, self.vocabulary.begin_id, np.int32), ids])
        windows = history[starts[:, None] + np.arange(memory)]
        result, left = np.full(tails.shape, np.nan), n_targets(branches)
        for step in range(tails.shape[1]):
            fed = tails[:, step].astype(np.int32)
            known = fed < self.vocabulary.n_types
            emission = self._emission(windows, np.where(known, fed, 0))
            joint = belief * np.where(known[:, None], emission, 1.0)
            belief = joint / joint.sum(axis=1, keepdims=True) @ self.transition
            windows = np.concatenate([windows[:, 1:], fed[:, None]], axis=1)
            active = np.flatnonzero(step < left)
            target = ids[starts[active] + step + 1]
            chance = (self._emission(windows[active], target) * belief[active]).sum(axis=1)
            result[active, step] = np.minimum(np.log(chance), 0.0)
        return result
