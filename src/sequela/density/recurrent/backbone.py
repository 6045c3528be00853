"""The backbone ``"gru"``: how a `RecurrentDensity` is sized, trained, saved and loaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from sequela.density.base import Density
from sequela.density.component_sums import keep_sums, share_components, take_weights
from sequela.density.decoder.objective import DecoderTask, block_steps
from sequela.density.network_files import load_network, save_network
from sequela.density.recurrent.density import RecurrentDensity
from sequela.density.recurrent.network import RecurrentConfig, RecurrentNetwork
from sequela.density.registry import Saved, Sizes, Steps, TrainedBackbone
from sequela.errors import ConfigError
from sequela.events.sequences import SequenceSet

_MAX_CONTEXT = 256


class RecurrentBackbone(TrainedBackbone):
    """See `sequela.density.recurrent.network`."""

    name = "gru"
    unit = "blocks"
    uses_components = True

    def default_memory(self, longest: int) -> int:
        """See `TrainedBackbone.default_memory`."""
        return max(2, min(_MAX_CONTEXT, longest))

    def default_width(self, n_events: int, n_types: int) -> int:
        """See `TrainedBackbone.default_width`."""
        return 256 if n_events >= 50_000 else 64

    def steps(self, train_set: SequenceSet, n_types: int, memory: int, batch_size: int | None) -> Steps:
        """See `TrainedBackbone.steps`."""
        return block_steps(train_set, n_types, memory, batch_size, learning_rate=3e-3)

    def network(self, sizes: Sizes, train_set: SequenceSet) -> RecurrentNetwork:
        """See `TrainedBackbone.network`; it starts as the frequencies of the types."""
        vocabulary = sizes.vocabulary
        network = RecurrentNetwork(
            RecurrentConfig(
                vocabulary.n_types, vocabulary.n_inputs, sizes.memory, sizes.width, sizes.n_blocks, sizes.dropout
            )
        )
        log_counts = np.log(np.bincount(train_set.ids, minlength=vocabulary.n_types) + 0.5)
        with torch.no_grad():
            network.head.weight.zero_()
            network.head.bias.copy_(torch.from_numpy((log_counts - log_counts.mean()).astype(np.float32)))
        if sizes.components is not None:
            share_components(network.embedding, network.head, sizes.components)
        return network

    def go_on(self, network: Any, density: Density) -> None:
        """See `TrainedBackbone.go_on`."""
        weights = density.network.state_dict() if isinstance(density, RecurrentDensity) else {}
        if not take_weights(network, weights):
            raise ConfigError("training can go on only from a recurrent density of the same sizes and event types")

    def task(self, cases: SequenceSet, sizes: Sizes) -> DecoderTask:
        """See `TrainedBackbone.task`."""
        return DecoderTask(cases, sizes.vocabulary, context=sizes.memory, hide=sizes.hide)

    def density(self, network: Any, sizes: Sizes) -> RecurrentDensity:
        """See `TrainedBackbone.density`."""
        keep_sums(network)
        return RecurrentDensity(network, sizes.vocabulary, knows_hidden=sizes.hide > 0, device=sizes.device)

    def save(self, density: RecurrentDensity, folder: Path) -> dict[str, Any]:
        """See `Backbone.save`."""
        save_network(density.network, folder)
        return asdict(density.network.config)

    def load(self, folder: Path, saved: Saved) -> RecurrentDensity:
        """See `Backbone.load`."""
        config = msgspec.convert(dict(saved.settings), RecurrentConfig)
        if min(config.width, config.n_layers) < 1 or config.context < 2:
            raise ValueError("the settings are not those of a trained recurrent network")
        network = load_network(
            lambda: RecurrentNetwork(config), folder, saved.vocabulary,
            n_layers=config.n_layers, n_types=config.n_types, n_inputs=config.n_inputs,
        )  # fmt: skip
        return RecurrentDensity(network, saved.vocabulary, knows_hidden=saved.knows_hidden, device=saved.device)
