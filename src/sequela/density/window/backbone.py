"""The backbone ``"window"``: how a `WindowDensity` is sized, trained, saved and loaded."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from sequela.density.base import Density
from sequela.density.network_files import load_network, save_network
from sequela.density.registry import Saved, Sizes, Steps, TrainedBackbone
from sequela.density.window.additive import AdditiveEffects
from sequela.density.window.density import WindowDensity
from sequela.density.window.finite_memory import observed_windows
from sequela.density.window.network import WindowConfig, WindowNetwork, is_shared, knot_weights
from sequela.density.window.objective import WindowTask
from sequela.density.window.rate_rows import RateRows
from sequela.density.window.time_features import observed_gaps, time_scale
from sequela.errors import ConfigError
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary

_KNOTS = 12
_MAX_WIDE_TYPES = 2000
"""Up to this many types the window network has tables of direct effects: 16 MB each."""
_MOST_COUNTED = 300_000
_MOST_COUNTED_A_TYPE = 500
_COUNTED = ("rates", "rate_starts", "rate_types", "rate_values")
_LEAST_SCALE = 1e-3


class WindowBackbone(TrainedBackbone):
    """See `sequela.density.window.network`."""

    name = "window"
    uses_times = True
    uses_components = True
    chooses_width = True
    adds_effects = True
    most_table_types = _MAX_WIDE_TYPES

    def default_memory(self, longest: int) -> int:
        """See `TrainedBackbone.default_memory`."""
        return min(8, longest)

    def default_width(self, n_events: int, n_types: int) -> int:
        """See `TrainedBackbone.default_width`: more types need a wider network."""
        return 128 if n_types < 500 else 256

    def steps(self, train_set: SequenceSet, n_types: int, memory: int, batch_size: int | None) -> Steps:
        """See `TrainedBackbone.steps`."""
        n_events = train_set.n_events
        size = batch_size or int(np.clip(2 ** round(np.log2(max(1, n_events / 50))), 32, 512))
        return Steps(size, n_events / size, learning_rate=2e-3, most=20_000)

    def network(self, sizes: Sizes, train_set: SequenceSet) -> WindowNetwork:
        """See `TrainedBackbone.network`."""
        vocabulary, width = sizes.vocabulary, sizes.width
        config = WindowConfig(
            vocabulary.n_types, vocabulary.n_inputs, sizes.memory, min(width // 2, 128), width, sizes.n_blocks,
            sizes.dropout, wide=vocabulary.n_types <= _MAX_WIDE_TYPES, additive=sizes.additive, shared_lags=True,
            repeats=sizes.repeats,
        )  # fmt: skip
        if sizes.times:
            shortest, longest = time_scale(train_set, sizes.memory)
            config = replace(config, n_knots=_KNOTS, shortest_seconds=shortest, longest_seconds=longest)
        found = None
        if sizes.additive:
            found = _count(train_set, config, vocabulary, sizes)
            if not config.wide:
                config = replace(config, n_rates=max(1, found.effects.nnz))  # 0 would be a table
        shared = None
        if sizes.components is not None:
            config = replace(config, n_component_values=sizes.components.n_values)
            shared = torch.from_numpy(sizes.components.of)
        network = WindowNetwork(config, shared)
        # Starts as the frequencies of the types: no training goes into unlearning what the first weights say.
        log_counts = np.log(np.bincount(train_set.ids, minlength=vocabulary.n_types) + 0.5)
        bias = log_counts - log_counts.mean()
        with torch.no_grad():
            if found is not None:
                bias = np.log(found.spontaneous)
                network.set_rates(found.effects)
                network.rate_lag.copy_(torch.from_numpy(np.log(np.maximum(found.lag_scale, _LEAST_SCALE))))
                if sizes.times:
                    network.rate_curve.copy_(torch.from_numpy(np.log(np.maximum(found.curve, _LEAST_SCALE))))
            network.head.weight.zero_()
            network.head.bias.copy_(torch.from_numpy(bias.astype(np.float32)))
        return network

    @torch.no_grad()
    def go_on(self, network: WindowNetwork, density: Density) -> None:
        """See `TrainedBackbone.go_on`.

        A density holds the sums of what types and lags share and of their own. What types share starts anew at 0, what
        lags share at their mean: the function is the same. The scale of times stays that of the density. Counted
        effects stay those of the network: they were counted on its own cases.
        """
        own = network.state_dict()
        shared = [name for name in own if is_shared(name)]
        weights = density.network.state_dict() if isinstance(density, WindowDensity) else {}
        trained = {name: w for name, w in weights.items() if name not in _COUNTED}
        if {name: w.shape for name, w in own.items() if name not in {*shared, *_COUNTED}} != {
            name: w.shape for name, w in trained.items()
        }:
            raise ConfigError("training can go on only from a window density of the same sizes and event types")
        network.load_state_dict(trained, strict=False)
        for name in shared:
            own[name].zero_()
        network.share_lags()
        assert isinstance(density, WindowDensity)
        old = density.network.config
        network.config = replace(
            network.config, shortest_seconds=old.shortest_seconds, longest_seconds=old.longest_seconds
        )

    def task(self, cases: SequenceSet, sizes: Sizes) -> WindowTask:
        """See `TrainedBackbone.task`."""
        return WindowTask(cases, sizes.vocabulary, memory=sizes.memory, hide=sizes.hide, times=sizes.times)

    def density(self, network: Any, sizes: Sizes) -> WindowDensity:
        """See `TrainedBackbone.density`."""
        return WindowDensity(network, sizes.vocabulary, knows_hidden=sizes.hide > 0, device=sizes.device)

    def save(self, density: WindowDensity, folder: Path) -> dict[str, Any]:
        """See `Backbone.save`."""
        save_network(density.network, folder)
        return asdict(density.network.config)

    def load(self, folder: Path, saved: Saved) -> WindowDensity:
        """See `Backbone.load`."""
        config = msgspec.convert(dict(saved.settings), WindowConfig)
        sizes = (config.memory, config.embedding, config.width)
        counts = (config.n_blocks, config.n_knots, config.n_rates)
        if min(sizes) < 1 or min(counts) < 0 or config.n_component_values or config.shared_lags:
            raise ValueError("the settings are not those of a trained window network")
        network = load_network(
            lambda: WindowNetwork(config), folder, saved.vocabulary,
            n_layers=config.n_blocks, n_types=config.n_types, n_inputs=config.n_inputs,
        )  # fmt: skip
        rates = network.rate_rows
        if isinstance(rates, RateRows) and not rates.fit(config.n_types):
            raise ValueError("its rates are not those of its event types")
        return WindowDensity(network, saved.vocabulary, knows_hidden=saved.knows_hidden, device=saved.device)


def _count(train_set: SequenceSet, config: WindowConfig, vocabulary: Vocabulary, sizes: Sizes) -> AdditiveEffects:
    """Return the additive effects of the cases, of the first 300,000 events of them, or of 500 a type, at most."""
    windows, targets, places, n = [], [], [], 0
    for case in train_set:
        if n >= max(_MOST_COUNTED, _MOST_COUNTED_A_TYPE * vocabulary.n_types):
            break
        n += len(case.ids)
        where = np.arange(len(case.ids))
        windows.append(observed_windows(case.ids, where, sizes.memory, vocabulary.begin_id))
        targets.append(case.ids)
        if sizes.times:
            assert case.times is not None
            gaps = torch.from_numpy(observed_gaps(case.times, where, sizes.memory))
            knots = knot_weights(gaps, config.n_knots, config.shortest_seconds, config.longest_seconds)
            places.append((knots @ torch.arange(_KNOTS, dtype=torch.float32)).numpy())
    return AdditiveEffects.count(
        np.concatenate(windows), np.concatenate(targets), vocabulary,
        places=np.concatenate(places).astype(np.float64) if places else None, n_knots=_KNOTS,
    )  # fmt: skip
