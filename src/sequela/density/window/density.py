"""A trained `WindowNetwork` as a density: windows run in chunks of one size."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sequela.density.base import Branches, Floats, Ids
from sequela.density.runtime.compiled import compile_or_warn
from sequela.density.runtime.devices import fingerprint_of
from sequela.density.runtime.network_density import Cost, NetworkDensity, Runtime, window_bytes
from sequela.density.window.finite_memory import FiniteMemoryDensity, in_place
from sequela.density.window.network import WindowNetwork
from sequela.density.window.time_features import Gaps
from sequela.errors import ConfigError
from sequela.events.vocabulary import Vocabulary

_ROWS = {"cpu": 1024}
_ROWS_ACCELERATOR = 16_384
_LOGIT_BYTES = 16 * 2**20


def _chunk_logits(network: WindowNetwork, body: WindowNetwork, windows: Tensor, gaps: Tensor | None) -> Tensor:
    """Return logits in float32 (``[B, n_types]``), the hidden layers computed by ``body``; `torch.compile` takes it."""
    knots = network.knots(gaps)
    return network.logits(body.hidden(windows, knots).float(), windows, knots).float()


class WindowDensity(FiniteMemoryDensity, NetworkDensity):
    """A trained `WindowNetwork` as a density.

    Rows run in chunks of one fixed, padded size: the same window then gets the same bits whatever it is batched with.
    """

    backbone = "window"
    can_compile = True

    def __init__(
        self,
        network: WindowNetwork,
        vocabulary: Vocabulary,
        *,
        knows_hidden: bool = False,
        device: str = "cpu",
    ) -> None:
        self.network = network.folded().to(device).eval().requires_grad_(False)
        self._body = self.network
        self._run: Callable[..., Tensor] = _chunk_logits
        self.vocabulary = vocabulary
        self.memory = network.config.memory
        self.knows_hidden = knows_hidden
        self.uses_times = network.config.n_knots > 0
        self.runtime = Runtime(device=device)
        rows = _ROWS.get(torch.device(device).type, _ROWS_ACCELERATOR)
        body = sum(weight.numel() for weight in (self.network.mix.weight, *self.network.blocks.parameters()))
        # Logits are formed in float32 whatever the body computes in (measured: `docs/engine.md`).
        self.gains_by_half = network.config.width >= 64 and body >= 2 * self.network.head.weight.numel()
        # Logits of one chunk stay below a fixed size, which depends on the vocabulary only.
        self._rows = max(16, min(rows, _LOGIT_BYTES // (4 * vocabulary.n_types) // 16 * 16))

    @property
    def fingerprint(self) -> str:
        """See `Density.fingerprint`."""
        settings = f"{self.network.config} {self._body.head.weight.dtype}" + " compiled" * self.runtime.compiled
        return fingerprint_of(self.network.state_dict(), self.vocabulary.fingerprint, settings)

    def cost(self, longest: int = 1, horizon: int = 1) -> Cost:
        """See `NetworkDensity.cost`: one chunk of windows, whose size is fixed, so that results are.

        Operations are two for each weight but those of the tables that are looked up.
        """
        config = self.network.config
        a_window = config.memory * (config.embedding + 4)
        if self.uses_times:
            a_window += config.memory * (6 * config.n_knots + 4 * config.embedding)
        chunk = self._rows * 4 * (4 * config.n_types + a_window + 12 * config.width)
        looked_up = (
            "embedding.weight", "table.weight", "table_timing.weight", "rate_timing.weight", "repeat.weight",
            "table_repeat.weight",
        )  # fmt: skip
        flops = 2.0 * sum(w.numel() for name, w in self.network.named_parameters() if name not in looked_up)
        step = window_bytes(self) + (32 * self.memory if self.uses_times else 0)
        return Cost(step_bytes=step, least_bytes=chunk, most_bytes=chunk, step_flops=flops)

    def state(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        return self.network.state_dict()

    def score_both(self, branches: Sequence[Branches]) -> tuple[list[Floats], list[Floats]]:
        """See `Density.score_both`: windows of both fill the same chunks, which have a fixed size."""
        events = self.windows_of_events([one.ids for one in branches], [one.times for one in branches])
        observed, found = self.score_windows([events, self.windows_of_steps(branches)])
        return observed, in_place(branches, found)

    def window_log_prob(self, windows: Ids, targets: Ids) -> Floats:
        """See `FiniteMemoryDensity.window_log_prob`."""
        return self.timed_log_prob(windows, None, targets)

    def window_conditional(self, windows: Ids) -> Floats:
        """See `FiniteMemoryDensity.window_conditional`."""
        return self.timed_conditional(windows, None)

    @torch.inference_mode()
    def timed_log_prob(self, windows: Ids, gaps: Gaps | None, targets: Ids) -> Floats:
        """See `FiniteMemoryDensity.timed_log_prob`."""
        result = np.empty(len(windows))
        for low in range(0, len(windows), self._rows):
            part = slice(low, low + self._rows)
            given, ago = self._given(windows, gaps, part)
            chosen = np.zeros(self._rows, dtype=np.int64)
            chosen[: len(targets[part])] = targets[part]
            logits = self._run(self.network, self._body, given, ago)
            found = self.network.target_log_prob(
                logits, given, self.network.knots(ago), torch.from_numpy(chosen).to(self.runtime.device)
            )
            result[part] = found[: len(targets[part])].cpu().numpy()
        return result

    @torch.inference_mode()
    def timed_conditional(self, windows: Ids, gaps: Gaps | None) -> Floats:
        """See `FiniteMemoryDensity.timed_conditional`."""
        result = np.empty((len(windows), self.vocabulary.n_types))
        for low in range(0, len(windows), self._rows):
            part = slice(low, low + self._rows)
            given, ago = self._given(windows, gaps, part)
            logits = self._run(self.network, self._body, given, ago)
            found = self.network.with_rates(logits, given, self.network.knots(ago)).log_softmax(1)
            result[part] = found[: len(windows[part])].cpu().numpy()
        return result

    def _given(self, windows: Ids, gaps: Gaps | None, part: slice) -> tuple[Tensor, Tensor | None]:
        """Return a part of some windows and gaps, filled up to the size of a chunk."""
        some = windows[part]
        padded = np.full((self._rows, self.memory), self.vocabulary.begin_id, dtype=np.int64)
        padded[: len(some)] = some
        given = torch.from_numpy(padded).to(self.runtime.device)
        ago = None
        if self.uses_times:
            if gaps is None:
                raise ConfigError("this density was trained with times: its windows need gaps")
            seconds = np.zeros((self._rows, self.memory), dtype=np.float32)
            seconds[: len(some)] = gaps[part]
            ago = torch.from_numpy(seconds).to(self.runtime.device)
        return given, ago

    @torch.inference_mode()
    def _prepare(self, before: Runtime) -> None:
        """See `NetworkDensity`; chunks have one shape, so one piece of compiled code does for all."""
        now = self.runtime
        if now.precision != before.precision:
            plain = now.precision == "float32"
            self._body = self.network if plain else copy.deepcopy(self.network).to(getattr(torch, now.precision))
        if replace(now, batches=None) == replace(before, batches=None):
            return
        self._run = _chunk_logits
        if now.compiled:
            run = compile_or_warn(
                _chunk_logits,
                self._random_chunk(),
                device=now.device,
                precision=now.precision,
                compiler=now.compiler,
            )
            self._run, self.runtime = (_chunk_logits, replace(now, compiled=False)) if run is None else (run, now)

    def _random_chunk(self) -> tuple[Any, ...]:
        """Return arguments of `_chunk_logits` to compare compiled code on."""
        rng, config = np.random.default_rng(0), self.network.config
        size = (self._rows, self.memory)
        windows = torch.from_numpy(rng.integers(0, config.n_types, size)).to(self.runtime.device)
        gaps = torch.from_numpy(rng.uniform(0, config.longest_seconds, size).astype(np.float32))
        return self.network, self._body, windows, gaps.to(self.runtime.device) if self.uses_times else None
