"""The backbones ``"llama"`` (a small Llama that `fit` trains) and ``"huggingface"`` (how any decoder is saved)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from sequela.density.base import Density
from sequela.density.decoder.event_tokens import EventTokensDensity
from sequela.density.decoder.huggingface import HuggingFaceDensity
from sequela.density.decoder.model import DecoderDensity
from sequela.density.decoder.objective import DecoderTask
from sequela.density.decoder.wrap import decoder_density, event_tokens_density, load_causal_lm, quiet_transformers
from sequela.density.registry import Backbone, Saved, Sizes, Steps, TrainedBackbone
from sequela.errors import ConfigError
from sequela.events.sequences import SequenceSet

_MAX_CONTEXT = 256


@dataclass(frozen=True)
class DecoderSettings:
    """What a checkpoint says of a decoder; see `DecoderDensity` and, with ``event_tokens``, `EventTokensDensity`."""

    tokens: list[int]
    begin_token: int
    hidden_token: int | None
    context: int
    event_tokens: list[list[int]] | None = None


class HuggingFaceBackbone(Backbone):
    """A Hugging Face causal decoder, as its own library saves it, and which tokens are event types."""

    name = "huggingface"

    def save(self, density: DecoderDensity | EventTokensDensity, folder: Path) -> dict[str, Any]:
        """See `Backbone.save`."""
        with quiet_transformers():
            density.model.save_pretrained(folder / "model")
        strings = density.event_tokens if isinstance(density, EventTokensDensity) else None
        tokens = [] if isinstance(density, EventTokensDensity) else density.tokens.tolist()
        settings = DecoderSettings(tokens, density.begin_token, density.hidden_token, density.context, strings)
        return {key: value for key, value in asdict(settings).items() if key != "event_tokens" or value is not None}

    def load(self, folder: Path, saved: Saved) -> DecoderDensity | EventTokensDensity:
        """See `Backbone.load`."""
        settings = msgspec.convert(dict(saved.settings), DecoderSettings)
        if saved.knows_hidden != (settings.hidden_token is not None):
            raise ValueError("knows_hidden must say whether there is a hidden_token")
        if settings.event_tokens is not None:
            return event_tokens_density(
                load_causal_lm(folder / "model"),
                saved.vocabulary,
                event_tokens=settings.event_tokens,
                begin_token=settings.begin_token,
                hidden_token=settings.hidden_token,
                context=settings.context,
                device=saved.device,
            )
        return decoder_density(
            load_causal_lm(folder / "model"),
            saved.vocabulary,
            tokens=np.array(settings.tokens, dtype=np.int64),
            begin_token=settings.begin_token,
            hidden_token=settings.hidden_token,
            context=settings.context,
            device=saved.device,
        )


class LlamaBackbone(HuggingFaceBackbone, TrainedBackbone):
    """A small ``LlamaForCausalLM``; its densities are saved as ``"huggingface"``."""

    name = "llama"
    unit = "blocks"

    def default_memory(self, longest: int) -> int:
        """See `TrainedBackbone.default_memory`."""
        return min(_MAX_CONTEXT, longest)

    def default_width(self, n_events: int, n_types: int) -> int:
        """See `TrainedBackbone.default_width`: a wide decoder needs the data for it."""
        return 256 if n_events >= 50_000 else 64

    def steps(self, train_set: SequenceSet, n_types: int, memory: int, batch_size: int | None) -> Steps:
        """See `TrainedBackbone.steps`."""
        typical = float(np.minimum(train_set.lengths, memory).mean())
        # Logits of a step stay below a quarter of a gibibyte.
        events = min(2048, 2**26 // n_types, max(64, train_set.n_events // 20))
        size = batch_size or max(1, round(events / max(typical, 1)))
        return Steps(size, train_set.n_events / (typical * size), learning_rate=1e-3, most=6000)

    def network(self, sizes: Sizes, train_set: SequenceSet) -> torch.nn.Module:
        """See `TrainedBackbone.network`."""
        from transformers import LlamaConfig, LlamaForCausalLM

        vocabulary, width, heads = sizes.vocabulary, sizes.width, max(1, sizes.width // 32)
        config = LlamaConfig(
            vocab_size=vocabulary.n_inputs,
            hidden_size=width,
            intermediate_size=width * 8 // 3,
            num_hidden_layers=sizes.n_blocks,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=2 * sizes.memory + 2,  # a block and the longest tail after it
            bos_token_id=vocabulary.begin_id,
            eos_token_id=None,
            pad_token_id=vocabulary.pad_id,
            tie_word_embeddings=False,
        )
        model: torch.nn.Module = LlamaForCausalLM(config)
        return model

    def go_on(self, network: Any, density: Density) -> None:
        """See `TrainedBackbone.go_on`."""
        weights = density.model.state_dict() if isinstance(density, HuggingFaceDensity) else {}
        if {name: w.shape for name, w in network.state_dict().items()} != {n: w.shape for n, w in weights.items()}:
            raise ConfigError("training can go on only from a decoder of the same sizes and event types")
        network.load_state_dict(weights)

    def task(self, cases: SequenceSet, sizes: Sizes) -> DecoderTask:
        """See `TrainedBackbone.task`."""
        return DecoderTask(cases, sizes.vocabulary, context=sizes.memory, hide=sizes.hide)

    def density(self, network: Any, sizes: Sizes) -> HuggingFaceDensity:
        """See `TrainedBackbone.density`."""
        vocabulary = sizes.vocabulary
        return HuggingFaceDensity(
            network,
            vocabulary,
            tokens=np.arange(vocabulary.n_types),
            begin_token=vocabulary.begin_id,
            hidden_token=vocabulary.hidden_id if sizes.hide > 0 else None,
            context=sizes.memory,
            device=sizes.device,
        )
