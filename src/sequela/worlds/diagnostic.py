"""A realistic log: fault codes of components, cascades, idle gaps, rare codes, times.

``P(x_t = v | past) = (β z_v + Σ_k g_k a_u T[u, v]) / (β + Σ_k g_k a_u)``, ``u = x_{t-k}``: the next code is either a
fresh fault, drawn from Zipf frequencies ``z``, or a consequence of one of the last ``h`` codes. A mixture transition
model (Raftery 1985), the discrete cousin of a Hawkes process; unlike in a softmax, its parts add up as probabilities,
as cascades of faults do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from scipy import sparse

from sequela.density.base import Floats, Ids, check_sequence
from sequela.density.window.finite_memory import observed_windows
from sequela.errors import ConfigError, check_range
from sequela.events.sequences import SequenceSet
from sequela.worlds.base import FiniteWorld
from sequela.worlds.divergence import divergence_from_mean
from sequela.worlds.softmax import named_vocabulary

_CHUNK_CELLS = 2**20
_ZIPF = 1.1
_SHARE_WITH_EFFECTS = 0.6
_SHARE_OWN_COMPONENT = 0.7
_SEVERITIES = ("info", "warning", "fault")
_PARTS = ("engine", "brake", "gateway", "battery", "steering", "door", "climate", "gearbox", "radar", "camera")
_EPOCH_MS = 1_704_067_200_000  # 2024-01-01


class DiagnosticWorld(FiniteWorld):
    """Fresh faults and their consequences.

    Args:
        fresh: Frequencies of fresh faults (``[V]``, normalised here).
        links: ``T``: how likely each consequence of a code is (``[V, V]``, dense or sparse; rows normalised here). A
            row of zeros is a code without consequences.
        horizon: ``h``, also `memory`.
        decay: ``g_k = e^{-decay (k-1)}``.
        strength: ``a``: how much more likely a consequence of the last code is than a fresh fault (``β = 1``).
        names: Event types, as ``component.code.severity`` for `to_log` to split.

    Raises:
        ConfigError: An array has the wrong shape or holds a negative number.

    Example:
        >>> world = DiagnosticWorld([1.0, 1.0], [[0.0, 1.0], [0.0, 0.0]], horizon=1, strength=3.0)
        >>> np.exp(world.conditional(np.array([0], np.int32), np.array([1]))).round(3).tolist()
        [[0.125, 0.875]]
    """

    def __init__(
        self,
        fresh: ArrayLike,
        links: ArrayLike | sparse.sparray,
        *,
        horizon: int,
        decay: float = 0.3,
        strength: float = 6.0,
        names: Sequence[str] | None = None,
    ) -> None:
        check_range("horizon", horizon, low=1, whole=True)
        check_range("decay", decay, low=0)
        check_range("strength", strength, low=0)
        weight = np.asarray(fresh, dtype=np.float64)
        matrix = sparse.csr_array(links, dtype=np.float64)
        n_types = len(weight)
        if matrix.shape != (n_types, n_types):
            raise ConfigError(f"links must have the shape [{n_types}, {n_types}]; got {list(matrix.shape)}")
        if not (weight > 0).all() or (matrix.data < 0).any():
            raise ConfigError("fresh must be above 0 and links at least 0")
        self.vocabulary = named_vocabulary(n_types, names)
        self.memory = int(horizon)
        self.fresh = weight / weight.sum()
        matrix.eliminate_zeros()
        matrix.sort_indices()
        sums = np.asarray(matrix.sum(axis=1)).ravel()
        matrix.data /= np.repeat(sums, np.diff(matrix.indptr))
        self.links = matrix
        self.lag_scale = np.exp(-decay * np.arange(horizon))
        #: What each input id excites in all; ids that are no event type excite nothing.
        self.strength = np.zeros(self.vocabulary.n_inputs)
        self.strength[:n_types] = np.where(sums > 0, strength, 0.0)
        self._keys = np.repeat(np.arange(n_types), np.diff(matrix.indptr)) * n_types + matrix.indices

    @classmethod
    def random(
        cls,
        n_types: int,
        *,
        horizon: int = 6,
        decay: float = 0.3,
        strength: float = 6.0,
        seed: int,
    ) -> DiagnosticWorld:
        """Draw a world of components with codes that bring each other about.

        Six codes in ten have one to three consequences, mostly in their own component. Fresh faults have Zipf
        frequencies: a few codes make most of the log, most are rare.

        Example:
            >>> DiagnosticWorld.random(30, seed=0).vocabulary.names[0].count(".")
            2
        """
        check_range("n_types", n_types, low=4, whole=True)
        check_range("seed", seed, low=0, whole=True)
        generator = np.random.default_rng(seed)
        n_components = max(2, min(n_types // 4, round(np.sqrt(n_types))))
        component = np.sort(np.arange(n_types) % n_components)
        severity = generator.integers(len(_SEVERITIES), size=n_types)
        names = [
            f"{_component_name(int(c))}.{0x1000 + i * 7:04X}.{_SEVERITIES[s]}"
            for i, (c, s) in enumerate(zip(component, severity, strict=True))
        ]
        fresh = np.arange(1, n_types + 1) ** -_ZIPF
        generator.shuffle(fresh)
        rows, columns, values = [], [], []
        for code in np.flatnonzero(generator.random(n_types) < _SHARE_WITH_EFFECTS):
            own = generator.random() < _SHARE_OWN_COMPONENT
            near = np.flatnonzero((component == component[code]) == own)
            near = near[near != code]
            chosen = generator.choice(near, min(len(near), int(generator.integers(1, 4))), replace=False)
            rows.append(np.full(len(chosen), code))
            columns.append(chosen)
            values.append(generator.uniform(0.3, 1.0, len(chosen)))
        nothing = [np.zeros(0, dtype=np.int64)]
        places = (np.concatenate(rows or nothing), np.concatenate(columns or nothing))
        links = sparse.csr_array((np.concatenate(values or nothing), places), shape=(n_types, n_types))
        return cls(fresh, links, horizon=horizon, decay=decay, strength=strength, names=names)

    def window_log_prob(self, windows: Ids, targets: Ids) -> Floats:
        """See `FiniteMemoryDensity.window_log_prob`; touches the links of the past only, not the vocabulary."""
        above, below = self._excitement(windows, targets)
        result: Floats = np.log(self.fresh[targets] + above.sum(axis=1)) - np.log1p(below.sum(axis=1))
        return np.minimum(result, 0.0)

    def window_conditional(self, windows: Ids) -> Floats:
        """See `FiniteMemoryDensity.window_conditional`."""
        weight = self.strength[windows] * self.lag_scale[::-1]  # [n, memory]
        n = len(windows)
        source = np.where(windows < self.vocabulary.n_types, windows, 0)  # weight 0 where it is no event type
        pick = sparse.csr_array(
            (weight.ravel(), source.ravel(), np.arange(n + 1) * self.memory), shape=(n, self.vocabulary.n_types)
        )
        mass: Floats = (pick @ self.links).toarray() + self.fresh
        result: Floats = np.log(mass) - np.log1p(weight.sum(axis=1))[:, None]
        return result

    def truth(self, ids: Ids) -> Floats:
        """Return the exact CMI of every pair; see `FiniteWorld.truth`. One sparse column an effect."""
        check_sequence(ids, self.vocabulary)
        n_types = self.vocabulary.n_types
        result = np.full((len(ids), self.memory), np.nan)
        columns = self.links.tocsc()
        rows = max(1, _CHUNK_CELLS // n_types)
        for low in range(1, len(ids), rows):
            effect = np.arange(low, min(low + rows, len(ids)))
            windows = observed_windows(ids, effect, self.memory, self.vocabulary.begin_id)
            above, below = self._excitement(windows, ids[effect])
            brings = columns[:, ids[effect]].toarray().T * self.strength[:n_types]  # [n, V]
            for lag in range(1, self.memory + 1):
                real = effect >= lag
                place, scale = self.memory - lag, self.lag_scale[lag - 1]
                others = np.arange(self.memory) != place
                top = self.fresh[ids[effect]] + above[:, others].sum(axis=1)
                bottom = 1.0 + below[:, others].sum(axis=1)
                f = (top[:, None] + scale * brings) / (bottom[:, None] + scale * self.strength[:n_types])
                cause = effect[real] - lag
                result[cause, lag - 1] = divergence_from_mean(np.minimum(np.log(f[real]), 0.0), ids[cause])
        return result

    def to_log(self, sequences: SequenceSet, *, seed: int = 0, interval_seconds: float = 14_400.0) -> pl.DataFrame:
        """Return sequences as an event table with the parts of each code and realistic times.

        A fresh fault comes after an idle gap (log-normal, median `interval_seconds`), a consequence within seconds to
        minutes; which of the two an event was is drawn from its exact posterior.

        Returns:
            Columns ``case``, ``event``, ``time``, ``component``, ``code``, ``severity``.
        """
        check_range("interval_seconds", interval_seconds, low=0.01)
        table = super().to_log(sequences, seed=seed)
        generator = np.random.default_rng([seed, 1])
        milliseconds = np.empty(sequences.n_events, dtype=np.int64)
        for index, case in enumerate(sequences):
            windows = observed_windows(case.ids, np.arange(len(case.ids)), self.memory, self.vocabulary.begin_id)
            above, _ = self._excitement(windows, case.ids)
            fresh = self.fresh[case.ids]
            idle = generator.random(len(case.ids)) < fresh / (fresh + above.sum(axis=1))
            gap = np.exp(generator.normal(0.0, 1.0, len(case.ids))) * np.where(idle, interval_seconds, 20.0)
            start = _EPOCH_MS + int(generator.integers(90 * 86_400)) * 1000
            low = int(sequences.offsets[index])
            milliseconds[low : low + len(gap)] = start + np.cumsum(np.maximum(gap * 1000, 1).astype(np.int64))
        parts = pl.col("event").str.split_exact(".", 2).struct.rename_fields(["component", "code", "severity"])
        times = pl.Series("time", milliseconds, dtype=pl.Int64).cast(pl.Datetime("ms"))
        return table.with_columns(times).with_columns(parts.alias("parts")).unnest("parts")

    def _excitement(self, windows: Ids, targets: Ids) -> tuple[Floats, Floats]:
        """Return what each past event adds to the target and to the normaliser (``[n, memory]`` each)."""
        weight = self.strength[windows] * self.lag_scale[::-1]
        n_types = self.vocabulary.n_types
        wanted = windows.astype(np.int64) * n_types + targets[:, None]
        place = np.minimum(np.searchsorted(self._keys, wanted), max(len(self._keys) - 1, 0))
        if not len(self._keys):
            return np.zeros(weight.shape), weight
        real = (self._keys[place] == wanted) & (windows < n_types)
        return np.where(real, weight * self.links.data[place], 0.0), weight


def _component_name(index: int) -> str:
    turn, part = divmod(index, len(_PARTS))
    return _PARTS[part] if not turn else f"{_PARTS[part]}{turn + 1}"
