"""The backbones ``"llama"`` (a small Llama that `fit` trains) and ``"huggingface"`` (how any decoder is saved)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from sequela.density.base import Density
from sequela.density.component_sums import keep_sums, share_components, take_weights
from sequela.density.decoder.event_tokens import EventTokensDensity
from sequela.density.decoder.huggingface import HuggingFaceDensity
from sequela.density.decoder.model import DecoderDensity
from sequela.density.decoder.objective import DecoderTask, block_steps
from sequela.density.decoder.timing import TimedModel, Timing
from sequela.density.decoder.wrap import decoder_density, event_tokens_density, load_causal_lm, quiet_transformers
from sequela.density.registry import Backbone, Saved, Sizes, Steps, TrainedBackbone
from sequela.density.window.time_features import time_scale
from sequela.errors import ConfigError
from sequela.events.sequences import SequenceSet

_MAX_CONTEXT = 256
_TIMING = "timing.safetensors"
_OPTIONAL = ("event_tokens", "timed")


@dataclass(frozen=True)
class DecoderSettings:
    """What a checkpoint says of a decoder; see `DecoderDensity` and, with ``event_tokens``, `EventTokensDensity`.

    With ``timed`` there is a file of weights for the gaps between events; see `Timing`.
    """

    tokens: list[int]
    begin_token: int
    hidden_token: int | None
    context: int
    event_tokens: list[list[int]] | None = None
    timed: bool = False


class HuggingFaceBackbone(Backbone):
    """A Hugging Face causal decoder, as its own library saves it, and which tokens are event types."""

    name = "huggingface"

    def save(self, density: DecoderDensity | EventTokensDensity, folder: Path) -> dict[str, Any]:
        """See `Backbone.save`."""
        with quiet_transformers():
            density.model.save_pretrained(folder / "model")
        timing = density.timing if isinstance(density, HuggingFaceDensity) else None
        if timing is not None:
            save_file(
                {name: weight.contiguous().cpu() for name, weight in timing.state_dict().items()}, folder / _TIMING
            )
        strings = density.event_tokens if isinstance(density, EventTokensDensity) else None
        tokens = [] if isinstance(density, EventTokensDensity) else density.tokens.tolist()
        settings = DecoderSettings(
            tokens, density.begin_token, density.hidden_token, density.context, strings, timing is not None
        )
        return {key: value for key, value in asdict(settings).items() if key not in _OPTIONAL or value}

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
        model = load_causal_lm(folder / "model")
        timed = {"timing": _load_timing(folder / _TIMING, model)} if settings.timed else {}
        make = HuggingFaceDensity if settings.timed else decoder_density
        return make(
            model,
            saved.vocabulary,
            **timed,
            tokens=np.array(settings.tokens, dtype=np.int64),
            begin_token=settings.begin_token,
            hidden_token=settings.hidden_token,
            context=settings.context,
            device=saved.device,
        )


class LlamaBackbone(HuggingFaceBackbone, TrainedBackbone):
    """A small ``LlamaForCausalLM``, with times or without; its densities are saved as ``"huggingface"``."""

    name = "llama"
    unit = "blocks"
    uses_times = True
    uses_components = True

    def default_memory(self, longest: int) -> int:
        """See `TrainedBackbone.default_memory`."""
        return min(_MAX_CONTEXT, longest)

    def default_width(self, n_events: int, n_types: int) -> int:
        """See `TrainedBackbone.default_width`: a wide decoder needs the data for it."""
        return 256 if n_events >= 50_000 else 64

    def steps(self, train_set: SequenceSet, n_types: int, memory: int, batch_size: int | None) -> Steps:
        """See `TrainedBackbone.steps`."""
        return block_steps(train_set, n_types, memory, batch_size, learning_rate=1e-3)

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
        model: Any = LlamaForCausalLM(config)
        if sizes.components is not None:
            share_components(model.get_input_embeddings(), model.get_output_embeddings(), sizes.components)
        return TimedModel(model, Timing(width, *time_scale(train_set, 1))) if sizes.times else model

    def go_on(self, network: Any, density: Density) -> None:
        """See `TrainedBackbone.go_on`."""
        weights: dict[str, torch.Tensor] = {}
        if isinstance(density, HuggingFaceDensity):
            old = density.model if density.timing is None else TimedModel(density.model, density.timing)
            weights = old.state_dict()
        if not take_weights(network, weights):
            raise ConfigError("training can go on only from a decoder of the same sizes and event types")

    def task(self, cases: SequenceSet, sizes: Sizes) -> DecoderTask:
        """See `TrainedBackbone.task`."""
        return DecoderTask(cases, sizes.vocabulary, context=sizes.memory, hide=sizes.hide, times=sizes.times)

    def density(self, network: Any, sizes: Sizes) -> HuggingFaceDensity:
        """See `TrainedBackbone.density`."""
        vocabulary = sizes.vocabulary
        keep_sums(network)
        timed = isinstance(network, TimedModel)
        return HuggingFaceDensity(
            network.model if timed else network,
            vocabulary,
            timing=network.timing if timed else None,
            tokens=np.arange(vocabulary.n_types),
            begin_token=vocabulary.begin_id,
            hidden_token=vocabulary.hidden_id if sizes.hide > 0 else None,
            context=sizes.memory,
            device=sizes.device,
        )


def _load_timing(file: Path, model: Any) -> Timing:
    weights = load_file(file)
    width, n_knots = weights["knots.weight"].shape
    shortest, longest = weights["scale"].tolist()
    if n_knots < 2 or width != model.get_input_embeddings().weight.shape[1] or not 0 < shortest < longest:
        raise ValueError(f"{file.name} does not fit the model")
    timing = Timing(width, n_knots=n_knots)
    timing.load_state_dict(weights)
    return timing
