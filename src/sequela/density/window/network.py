"""The fast default: a residual network over the last few events.

Deep part: each past event is embedded, the embeddings of the window are laid side by side and projected (so every lag
has its own weights), residual gated blocks mix them, and one linear layer gives the logits of the event types.
Wide part: each past event also adds a row of a table straight to the logits, scaled by a learnt weight of its lag. Most
causes act alone; with it a pair of types is one number to learn, shared by all lags, and the deep part is left with
what events do together.
Lags: in training the projection is the sum of weights that all lags share, scaled by a learnt number for each, and of
the lag's own, which start small and move slowly. What events do wherever they stand is then learnt once.
Repeats, where they are chosen: the second last occurrence of a type in the window, if there is one, is described by,
and adds, further numbers of its type. What an event does from its second time on, or no longer does, is then no matter
of the deep part.
Times, where the density uses them: how long ago an event was is read on a log scale as weights of a few knots; they
scale and shift what describes the event, and scale its row of the table by a curve of its own type.
Components, where event types of several columns share some: in training each type's embedding, its row of the last
layer and
its direct effects are a sum over its components and what is its own, so that rare types borrow strength from those they
share components with. The sums are the same for every window, so they are taken once, after training (`folded`): a
network that scores knows of no components and costs nothing more.
Sources: the neural probabilistic language model (Bengio et al. 2003) for the window and its direct connections;
pre-norm residual blocks with SwiGLU units (Shazeer 2020) for the body; Cheng et al. (2016) for wide and deep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from sequela.density.component_sums import component_rows
from sequela.density.output_head import target_and_others
from sequela.density.sampled_types import TypeSample
from sequela.density.window.rate_rows import RateRows, RateTable, scaled_rows

_DECAY = 0.3
_DECAY_MEMORY = 8
"""Direct effects start as ones that fade by `_DECAY` an event; slower in a long memory, or late ones are not found."""
_LEAST_RATE = 1e-30
_OWN_LAG = 0.1
"""First weights of a lag's own, as a share of those that all lags share."""


@dataclass(frozen=True)
class WindowConfig:
    """Sizes of a `WindowNetwork`.

    Attributes:
        n_types: Event types it predicts.
        n_inputs: Ids it accepts.
        memory: Events it looks back.
        embedding: Numbers that describe one event.
        width: Numbers that describe a window.
        n_blocks: Residual blocks.
        dropout: Share of numbers dropped in training.
        wide: Whether there is a table of direct effects (``n_inputs * n_types`` numbers).
        n_knots: Knots of the time scale; 0 uses no times.
        shortest_seconds: Gap from which on gaps are told apart.
        longest_seconds: Gap up to which they are.
        n_component_values: Components that types share, see `SharedComponents.n_values`; 0 for a network without
            components.
        additive: Whether past events also add to the rates of events.
        shared_lags: Whether weights that all lags share stand beside those of each lag, in training.
        repeats: Whether the second last occurrence of a type in a window has weights of its own.
        n_rates: Rates that are kept one by one; 0 for a table of ``n_inputs * n_types`` of them.
    """

    n_types: int
    n_inputs: int
    memory: int
    embedding: int
    width: int
    n_blocks: int = 2
    dropout: float = 0.1
    wide: bool = False
    n_knots: int = 0
    shortest_seconds: float = 1.0
    longest_seconds: float = 2.0
    n_component_values: int = 0
    additive: bool = False
    shared_lags: bool = False
    repeats: bool = False
    n_rates: int = 0


class _GatedBlock(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.up = nn.Linear(width, 2 * 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # [B, width] -> [B, width]
        # The residual stream may be half as wide as the weights (mixed precision) or, for bfloat16 weights, twice.
        gate, value = self.up(self.norm(x.to(self.norm.weight.dtype))).chunk(2, dim=-1)  # [B, 2 * width] each
        update: Tensor = self.dropout(self.down(F.silu(gate) * value))
        return x + update


class WindowNetwork(nn.Module):
    """Windows of event ids to logits.

    Args:
        config: Sizes.
        components: Components of each input id (int64, ``[n_inputs, n_columns]``, 0 is none), for
            ``n_component_values`` above 0.
    """

    components: Tensor
    holds: Tensor
    rates: Tensor
    rate_starts: Tensor
    rate_types: Tensor
    rate_values: Tensor

    def __init__(self, config: WindowConfig, components: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.n_inputs, config.embedding)
        self.mix = nn.Linear(config.memory * config.embedding, config.width)
        if config.shared_lags:
            self.mix_shared = nn.Linear(config.embedding, config.width, bias=False)
            self.mix_lag = nn.Parameter(torch.ones(config.memory))
            with torch.no_grad():
                self.mix_shared.weight.mul_(config.memory**-0.5)
                self.mix.weight.mul_(_OWN_LAG)
        self.blocks = nn.ModuleList(_GatedBlock(config.width, config.dropout) for _ in range(config.n_blocks))
        self.norm = nn.RMSNorm(config.width)
        self.head = nn.Linear(config.width, config.n_types)
        self.dropout = nn.Dropout(config.dropout)
        if config.wide:
            self.table = nn.Embedding(config.n_inputs, config.n_types)
            nn.init.zeros_(self.table.weight)
            lag = torch.arange(config.memory, 0, -1.0)  # the oldest event stands first
            decay = _DECAY * min(1.0, _DECAY_MEMORY / config.memory)
            self.lag_scale = nn.Parameter(torch.exp(-decay * (lag - 1)))
        if config.repeats:
            self.repeat = nn.Embedding(config.n_inputs, config.embedding)
            nn.init.zeros_(self.repeat.weight)
            if config.wide:
                self.table_repeat = nn.Embedding(config.n_inputs, config.n_types)
                nn.init.zeros_(self.table_repeat.weight)
        if config.n_knots:
            self.timing = nn.Linear(config.n_knots, 2 * config.embedding, bias=False)
            nn.init.normal_(self.timing.weight, std=0.3)
            if config.wide:
                self.table_timing = nn.Embedding(config.n_inputs, config.n_knots)
                nn.init.zeros_(self.table_timing.weight)
        if config.additive:
            # Counted before training and not trained: a table of so many numbers would learn the noise by heart.
            if config.n_rates:
                self.register_buffer("rate_starts", torch.zeros(config.n_inputs + 1, dtype=torch.int64))
                self.register_buffer("rate_types", torch.zeros(config.n_rates, dtype=torch.int64))
                self.register_buffer("rate_values", torch.zeros(config.n_rates))
            else:
                self.register_buffer("rates", torch.zeros(config.n_inputs, config.n_types))
            self.rate_lag = nn.Parameter(torch.zeros(config.memory))
            self.rate_source = nn.Parameter(torch.zeros(config.n_inputs))
            if config.n_knots:
                self.rate_curve = nn.Parameter(torch.zeros(config.n_knots))
                self.rate_timing = nn.Embedding(config.n_inputs, config.n_knots)
                nn.init.zeros_(self.rate_timing.weight)
        if config.n_component_values:
            assert components is not None
            self._add_components(config, components)

    def _add_components(self, config: WindowConfig, components: Tensor) -> None:
        # Derived from the vocabulary's names, so not among the weights.
        self.register_buffer("components", components, persistent=False)
        self.component_embedding = nn.Embedding(config.n_component_values, config.embedding)
        self.component_head = nn.Embedding(config.n_component_values, config.width)
        nn.init.zeros_(self.component_head.weight)
        nn.init.zeros_(self.head.weight)  # what is a type's own comes after what it shares
        if config.wide:
            holds = torch.zeros(config.n_types, config.n_component_values).scatter_(
                1, components[: config.n_types], 1.0
            )
            holds[:, 0] = 0.0
            self.register_buffer("holds", holds.T.contiguous(), persistent=False)  # [n_component_values, n_types]
            self.table_components = nn.Embedding(config.n_component_values, config.n_component_values)
            nn.init.zeros_(self.table_components.weight)

    def _sum_components(self, weight: Tensor, n: int) -> Tensor:
        """Add up the rows of the components of each of the first n ids: ``[n_component_values, k] -> [n, k]``."""
        return component_rows(self.components[:n], weight)

    @torch.no_grad()
    def folded(self) -> WindowNetwork:
        """Return the same function as a network in which types and lags share nothing."""
        config = self.config
        if not config.n_component_values and not config.shared_lags:
            return self
        weights = {name: value for name, value in self.state_dict().items() if not is_shared(name)}
        weights["mix.weight"] = self._mix()
        weights["embedding.weight"] = self._embedding()
        weights["head.weight"] = self._head()
        if config.wide and config.n_component_values:
            weights["table.weight"] = self.table.weight + self._table_components() @ self.holds
        with torch.random.fork_rng(devices=[]):
            plain = WindowNetwork(replace(config, n_component_values=0, shared_lags=False))
        plain.load_state_dict(weights)
        return plain.to(self.head.weight.device).train(self.training)

    @torch.no_grad()
    def share_lags(self) -> None:
        """Move what the weights of all lags have in common to the shared ones; the function stays the same."""
        own = self.mix.weight.view(-1, self.config.memory, self.config.embedding)
        self.mix_shared.weight.copy_(own.mean(dim=1))
        self.mix_lag.fill_(1.0)
        own -= own.mean(dim=1, keepdim=True)

    def _mix(self) -> Tensor:
        own: Tensor = self.mix.weight
        if not self.config.shared_lags:
            return own
        return own + (self.mix_lag[:, None] * self.mix_shared.weight[:, None]).flatten(1)

    def _embedding(self) -> Tensor:
        own: Tensor = self.embedding.weight
        return (
            own + self._sum_components(self.component_embedding.weight, len(own))
            if self.config.n_component_values
            else own
        )

    def _head(self, types: Tensor | None = None) -> Tensor:
        """Return the rows of the last layer, of all types or of some (``[n, width]``)."""
        own: Tensor = self.head.weight if types is None else F.embedding(types, self.head.weight)
        if not self.config.n_component_values:
            return own
        of = self.components[: self.config.n_types] if types is None else self.components[types]
        return own + component_rows(of, self.component_head.weight)

    def _table_components(self) -> Tensor:
        """Return the direct effects of each input id on each component: ``[n_inputs, n_component_values]``."""
        return self._sum_components(self.table_components.weight, self.config.n_inputs)

    def knots(self, gaps: Tensor | None) -> Tensor | None:
        """Return the weight of each knot (``[B, memory, n_knots]``, sums to 1) for gaps in seconds ``[B, memory]``."""
        if not self.config.n_knots:
            return None
        assert gaps is not None
        return knot_weights(gaps, self.config.n_knots, self.config.shortest_seconds, self.config.longest_seconds)

    def hidden(self, windows: Tensor, knots: Tensor | None = None) -> Tensor:
        """Return the last hidden layer, ``[B, width]``, for windows ``[B, memory]`` and what `knots` gave."""
        events = F.embedding(windows, self._embedding())  # [B, memory, embedding]
        if self.config.repeats:
            repeats = second_last(windows, self.config.n_types)[:, :, None]
            events = events + F.embedding(windows, self.repeat.weight) * repeats.to(events.dtype)
        if knots is not None:
            scale, shift = self.timing(knots.to(events.dtype)).chunk(2, dim=-1)
            events = events * (1 + scale) + shift
        # [B, memory * embedding] -> [B, width]
        x = F.linear(self.dropout(events.flatten(1)), self._mix(), self.mix.bias)
        for block in self.blocks:
            x = block(x)
        hidden: Tensor = self.norm(x.to(self.norm.weight.dtype))
        return hidden

    @property
    def rate_rows(self) -> RateRows | RateTable | None:
        """What past events add to the rates, but for lag and time; None where they add nothing."""
        if self.config.n_rates:
            return RateRows(self.rate_starts, self.rate_types, self.rate_values)
        return RateTable(self.rates) if self.config.additive else None

    def set_rates(self, effects: sparse.csr_array) -> None:
        """Set what each input adds to the rate of each type (``[n_inputs, n_types]``).

        Where rates are kept one by one, there are ``n_rates`` of them; one of 0 stands for none at all.
        """
        if self.config.n_rates:
            if not effects.nnz:
                effects = sparse.csr_array(([0.0], ([0], [0])), shape=effects.shape)
            effects.sort_indices()
            self.rate_starts.copy_(torch.from_numpy(effects.indptr.astype(np.int64)))
            self.rate_types.copy_(torch.from_numpy(effects.indices.astype(np.int64)))
            self.rate_values.copy_(torch.from_numpy(effects.data))
        else:
            self.rates.copy_(torch.from_numpy(effects.toarray()))

    def forward(
        self,
        windows: Tensor,
        gaps: Tensor | None = None,
        targets: Tensor | None = None,
        sample: TypeSample | None = None,
    ) -> Tensor:
        """Return logits, or the log-probability of targets.

        Args:
            windows: Events (int64, ``[B, memory]``).
            gaps: Seconds, likewise.
            targets: What comes next (int64, ``[B]``).
            sample: Types that the targets are compared with, in place of all.

        Returns:
            Logits, ``[B, n_types]``; with targets their log-probabilities, ``[B]``, with a sample an estimate of them.
        """
        knots = self.knots(gaps)
        hidden = self.hidden(windows, knots)
        if targets is None:
            return self.with_rates(self.logits(hidden, windows, knots), windows, knots)
        if sample is None:
            logits, place, log_weights = self.logits(hidden, windows, knots).float(), targets, None
        else:
            assert not self.config.wide
            logits = F.linear(hidden, self._head(sample.types), self.head.bias[sample.types]).float()
            place, log_weights = sample.targets, sample.log_weights
        chosen = logits.gather(1, place[:, None])[:, 0]
        every = (logits if log_weights is None else logits + log_weights).logsumexp(1)
        if rates := self.rate_rows:
            of_target, of_all = self._added(rates, windows, knots, targets)
            chosen, every = log_add(chosen, of_target), log_add(every, of_all)
        return chosen - every

    def logits(self, hidden: Tensor, windows: Tensor, knots: Tensor | None = None) -> Tensor:
        """Return logits for windows whose last hidden layer is known, without what past events add to the rates."""
        logits = F.linear(hidden, self._head(), self.head.bias)
        if self.config.wide:
            scale = self.lag_scale.expand_as(windows).contiguous()
            if knots is not None:
                scale = scale * (1 + (self.table_timing(windows) * knots).sum(-1))
            direct = scaled_rows(windows, self.table.weight, scale)
            if self.config.repeats:
                repeats = second_last(windows, self.config.n_types).to(scale.dtype)
                direct = direct + scaled_rows(windows, self.table_repeat.weight, scale * repeats)
            if self.config.n_component_values:
                to_components = scaled_rows(windows, self._table_components(), scale)
                direct = direct + to_components @ self.holds  # [B, n_component_values] -> [B, n_types]
            logits = logits + direct
        return logits

    def with_rates(self, logits: Tensor, windows: Tensor, knots: Tensor | None = None) -> Tensor:
        """Return logits with what past events add to the rates of all types."""
        rates = self.rate_rows
        if rates is None:
            return logits
        return log_add(logits, rates.added(windows, self._rate_scale(windows, knots), self.config.n_types))

    def target_log_prob(self, logits: Tensor, windows: Tensor, knots: Tensor | None, targets: Tensor) -> Tensor:
        """Return the log-probability of targets (``[B]``) for what `logits` gave, which is overwritten."""
        chosen, others = target_and_others(logits, targets)
        if rates := self.rate_rows:
            of_target, of_all = self._added(rates, windows, knots, targets)
            chosen, others = log_add(chosen, of_target), log_add(others, of_all - of_target)
        return F.logsigmoid(chosen - others)

    def _added(
        self, rates: RateRows | RateTable, windows: Tensor, knots: Tensor | None, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what past events add to the rate of the target and to all rates together (``[B]`` each)."""
        scale = self._rate_scale(windows, knots)
        of_target = (scale * rates.of(windows, targets, self.config.n_types)).sum(1)
        return of_target, (scale * rates.sums()[windows]).sum(1)

    def _rate_scale(self, windows: Tensor, knots: Tensor | None) -> Tensor:
        """Return what the rates of the events of windows are multiplied by (``[B, memory]``)."""
        scale: Tensor = (self.rate_lag + self.rate_source[windows]).exp()
        if knots is not None:
            scale = scale * ((self.rate_curve + self.rate_timing(windows)).exp() * knots).sum(-1)
        return scale


def log_add(logits: Tensor, rates: Tensor) -> Tensor:
    """Return logits with rates added to what they are logarithms of.

    Example:
        >>> round(float(log_add(torch.tensor(0.0), torch.tensor(2.0)).exp()), 6)
        3.0
    """
    return torch.logaddexp(logits, rates.clamp(min=_LEAST_RATE).log())


def is_shared(name: str) -> bool:
    """Return whether a weight is shared by several types or lags, and gone after training (`WindowNetwork.folded`)."""
    return "component" in name or name in ("mix_shared.weight", "mix_lag")


def second_last(windows: Tensor, n_types: int) -> Tensor:
    """Return which events are the second last of their type in their window (bool, as ``windows``).

    Example:
        >>> second_last(torch.tensor([[1, 0, 1, 0, 1], [3, 3, 2, 0, 2]]), 3).int().tolist()
        [[0, 1, 1, 0, 0], [0, 0, 1, 0, 0]]
    """
    later = (windows[:, :, None] == windows[:, None]).triu(1).sum(-1)  # how many of the type come after it
    return (later == 1) & (windows < n_types)


def knot_weights(gaps: Tensor, n_knots: int, shortest: float, longest: float) -> Tensor:
    """Return the weight of each knot of a log scale for some gaps.

    Args:
        gaps: Seconds (``[...]``).
        n_knots: Knots, the first at 0, the last at ``longest``.
        shortest: Seconds from which on gaps are told apart.
        longest: Seconds up to which they are.

    Returns:
        ``[..., n_knots]``, which sum to 1; two neighbours at most are not 0.

    Example:
        >>> knot_weights(torch.tensor([0.0, 3.0, 99.0]), 3, 1.0, 15.0).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    last = n_knots - 1
    place = torch.log1p(gaps.float() / shortest) * (last / math.log1p(longest / shortest))
    distance = (place.clamp(0, last)[..., None] - torch.arange(last + 1, device=gaps.device)).abs()
    return (1 - distance).clamp(min=0)
