"""The verb ``fit``: an event log in, a frozen density out, with sizes chosen from the data and said aloud."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sequela import __version__
from sequela.arguments import public
from sequela.density import checkpoint
from sequela.density.base import Density
from sequela.density.decoder.huggingface import HuggingFaceDensity
from sequela.density.quality.report import diagnose
from sequela.density.runtime.devices import choose_device, has_fast_bfloat16, is_first_process
from sequela.density.runtime.threads import right_threads
from sequela.density.training.arguments import FIT
from sequela.density.training.loop import (
    TrainingConfig,
    TrainingResult,
    forget_state,
    settings_text,
    train,
)
from sequela.density.training.objectives import DecoderTask, Task, WindowTask
from sequela.density.window.network import WindowConfig, WindowDensity, WindowNetwork
from sequela.density.window.time_features import time_gain, time_scale
from sequela.errors import ConfigError, check_choice
from sequela.events.hierarchy import SharedComponents, shared_components
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary
from sequela.files import check_writable_folder
from sequela.progress import Reporter, reporter

BACKBONES = ("window", "llama")
SHARES = (0.8, 0.1, 0.1)
_MAX_CONTEXT = 256
_KNOTS = 12
_LEAST_TOLD_NATS = 0.02
_MAX_WIDE_TYPES = 2000
"""Up to this many types the window network has a table of direct effects: 16 MB."""


@public(FIT)
def fit(
    log: EventLog,
    *,
    backbone: str = "window",
    out: str | Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
    min_count: int = 2,
    memory: int | None = None,
    width: int | None = None,
    n_blocks: int = 2,
    dropout: float = 0.1,
    hide: float = 0.5,
    times: bool | str = "auto",
    components: bool | str = "auto",
    max_steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    patience: int = 10,
    precision: str = "float32",
    device: str | None = None,
    progress: bool | Reporter = True,
) -> Density:
    """Train a next-event model on a log and freeze it.

    Cases are split by a hash of their name: 80 % train, 10 % choose the best weights, 10 % judge the result.

    Args:
        log: Event log.

    Returns:
        The density; ``density.info["report"]`` compares it with n-grams on held-out cases.

    Raises:
        VocabularyError: The log has fewer than two event types.
        ConfigError: An argument is out of range, or `out` may not be written.
    """
    tell = reporter(progress)
    device = device or choose_device()
    if out is not None:
        check_writable_folder(out, marker=checkpoint.MARKER, overwrite=overwrite)
    vocabulary = Vocabulary.build(log, min_count=min_count)
    sequences = SequenceSet.from_log(log, vocabulary)
    train_set, validation_set, test_set = sequences.split(SHARES, seed=seed)
    longest = int(sequences.lengths.max())
    memory = memory or (min(8, longest) if backbone == "window" else min(_MAX_CONTEXT, longest))
    memory = max(memory, 2)
    width = width or _width(train_set.n_events, vocabulary.n_types, backbone)
    if precision == "auto":
        precision = "bfloat16" if has_fast_bfloat16(device) else "float32"
    config = _training_config(
        backbone, train_set, memory, max_steps, batch_size, learning_rate, patience, seed, vocabulary.n_types
    )
    config = replace(config, precision=precision)
    use_times = _use_times(times, backbone, log, train_set, vocabulary.n_types, tell)
    shared = _use_components(components, backbone, vocabulary, tell)
    _say_choices(tell, log, vocabulary, (train_set, validation_set, test_set), backbone, memory, width, config, device)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: torch.nn.Module = (
            _window(vocabulary, train_set, memory, width, n_blocks, dropout, use_times, shared)
            if backbone == "window"
            else _llama(vocabulary, memory, width, n_blocks)
        )
    tasks: list[Task] = [
        WindowTask(part, vocabulary, memory=memory, hide=hide, times=use_times)
        if backbone == "window"
        else DecoderTask(part, vocabulary, context=memory, hide=hide)
        for part in (train_set, validation_set)
    ]
    arguments = {
        "backbone": backbone, "seed": seed, "min_count": min_count, "memory": memory, "width": width,
        "n_blocks": n_blocks, "dropout": dropout, "hide": hide, "times": use_times,
        "components": shared is not None,
    }  # fmt: skip
    state_folder = None if out is None else Path(out).with_name(f".{Path(out).name}.training")
    result = train(
        network,
        tasks[0],
        tasks[1],
        config,
        device=device,
        report=tell,
        state_folder=state_folder,
        fingerprint=_fingerprint(sequences, vocabulary, arguments, config),
    )
    network.load_state_dict(result.weights)
    density: Density
    if isinstance(network, WindowNetwork):
        density = WindowDensity(network, vocabulary, knows_hidden=hide > 0, device=device)
    else:
        density = HuggingFaceDensity(
            network,
            vocabulary,
            tokens=np.arange(vocabulary.n_types),
            begin_token=vocabulary.begin_id,
            hidden_token=vocabulary.hidden_id if hide > 0 else None,
            context=memory,
            device=device,
        )
    with right_threads():
        report = diagnose(density, train=train_set, held_out=test_set)
    tell.say(report.sentence())
    density.info = _info(log, sequences, (train_set, validation_set, test_set), arguments, config, result) | {
        "report": report.to_dict()
    }
    if out is not None and is_first_process():
        checkpoint.save_density(density, out, overwrite=overwrite)
        forget_state(state_folder)
        tell.say(f"saved to '{out}'")
    return density


def _window(
    vocabulary: Vocabulary,
    train_set: SequenceSet,
    memory: int,
    width: int,
    n_blocks: int,
    dropout: float,
    times: bool,
    shared: SharedComponents | None,
) -> WindowNetwork:
    sizes = WindowConfig(
        vocabulary.n_types, vocabulary.n_inputs, memory, min(width // 2, 128), width, n_blocks, dropout,
        wide=vocabulary.n_types <= _MAX_WIDE_TYPES,
    )  # fmt: skip
    if times:
        shortest, longest = time_scale(train_set, memory)
        sizes = replace(sizes, n_knots=_KNOTS, shortest_seconds=shortest, longest_seconds=longest)
    if shared is None:
        return WindowNetwork(sizes)
    return WindowNetwork(replace(sizes, n_component_values=shared.n_values), torch.from_numpy(shared.of))


def _use_times(
    times: bool | str,
    backbone: str,
    log: EventLog,
    train_set: SequenceSet,
    n_types: int,
    tell: Reporter,
) -> bool:
    """Decide whether the density gets times."""
    if not isinstance(times, bool):
        check_choice("times", times, ["auto"])
    if times is True and (backbone != "window" or not log.has_times):
        lack = "a time column" if backbone == "window" else "the window backbone (llama does not use times)"
        raise ConfigError(f"times=True needs {lack}: leave times out, or set it to False")
    if not times or not log.has_times:
        return False
    if backbone != "window":
        tell.say("times: not used by this backbone (the window backbone uses them)")
        return False
    if times is True:
        return True
    told, chance = time_gain(train_set, n_types)
    helps = told > max(_LEAST_TOLD_NATS, 3 * chance)
    tell.say(
        f"times: {'used' if helps else 'not used'}; the time since the last event tells {told:.3f} nats of the next "
        f"beyond the last event ({chance:.3f} by chance)"
    )
    return helps


def _use_components(
    components: bool | str, backbone: str, vocabulary: Vocabulary, tell: Reporter
) -> SharedComponents | None:
    """Return the components that the density learns from, or None."""
    if not isinstance(components, bool):
        check_choice("components", components, ["auto"])
    if not components:
        return None
    shared = shared_components(vocabulary)
    if components is True and (shared is None or backbone != "window"):
        lack = "the window backbone (llama does not use components)"
        if backbone == "window":
            lack = "event types of several columns (event=[...], --event repeated) of which some share a component"
        raise ConfigError(f"components=True needs {lack}: leave components out, or set it to False")
    if shared is None:
        return None
    if backbone != "window":
        tell.say("components: not used by this backbone (the window backbone uses them)")
        return None
    tell.say(
        f"components: used; the {vocabulary.n_types - vocabulary.has_rare:,} event types share {shared.n_shared:,} "
        "components, "
        "and rare types borrow strength from those they share components with"
    )
    return shared


def _width(n_events: int, n_types: int, backbone: str) -> int:
    """More types need a wider window network; a decoder also needs the data for it."""
    if backbone == "window":
        return 128 if n_types < 500 else 256
    return 256 if n_events >= 50_000 else 64


def _training_config(
    backbone: str,
    train_set: SequenceSet,
    memory: int,
    max_steps: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    patience: int,
    seed: int,
    n_types: int,
) -> TrainingConfig:
    if backbone == "window":
        size = batch_size or int(np.clip(2 ** round(np.log2(max(1, train_set.n_events / 50))), 32, 512))
        per_epoch = train_set.n_events / size
        rate = learning_rate or 2e-3
    else:
        typical = float(np.minimum(train_set.lengths, memory).mean())
        # Logits of a step stay below a quarter of a gibibyte.
        events = min(2048, 2**26 // n_types, max(64, train_set.n_events // 20))
        size = batch_size or max(1, round(events / max(typical, 1)))
        per_epoch = train_set.n_events / (typical * size)
        rate = learning_rate or 1e-3
    # About 30 passes over a small log, fewer over a large one; early stopping ends it sooner.
    steps = max_steps or int(np.clip(30 * per_epoch, 300, 20_000 if backbone == "window" else 6000))
    every = max(10, min(steps // 30, round(per_epoch)) if per_epoch >= 10 else steps // 30)
    return TrainingConfig(
        max_steps=steps, batch_size=size, learning_rate=rate, check_every=every, patience=patience, seed=seed
    )


def _llama(vocabulary: Vocabulary, context: int, width: int, n_layers: int) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = max(1, width // 32)
    config = LlamaConfig(
        vocab_size=vocabulary.n_inputs,
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=n_layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=2 * context + 2,  # a block and the longest tail after it
        bos_token_id=vocabulary.begin_id,
        eos_token_id=None,
        pad_token_id=vocabulary.pad_id,
        tie_word_embeddings=False,
    )
    model: torch.nn.Module = LlamaForCausalLM(config)
    return model


def _say_choices(
    tell: Reporter,
    log: EventLog,
    vocabulary: Vocabulary,
    parts: tuple[SequenceSet, SequenceSet, SequenceSet],
    backbone: str,
    memory: int,
    width: int,
    config: TrainingConfig,
    device: str,
) -> None:
    folded = vocabulary.counts[-1]
    tell.say(
        f"{log.n_events:,} events of {vocabulary.n_types - 1:,} types in {log.n_cases:,} cases"
        + (f"; {folded:,} events of rarer types folded into <rare>" if folded else "")
        + (f"; {log.n_ties:,} events share their time with the one before (kept in file order)" if log.n_ties else "")
    )
    by = "case" if parts[0].n_cases < log.n_cases else "time (too few cases to split by case)"
    tell.say("split by " + by + ": " + ", ".join(
        f"{part.n_events:,} events {role}" for part, role in zip(parts, ("train", "choose", "judge"), strict=True)
    ))  # fmt: skip
    tell.say(
        f"{backbone} backbone, memory {memory} events, width {width}; at most {config.max_steps:,} steps of "
        f"{config.batch_size:,} {'events' if backbone == 'window' else 'blocks'} at rate {config.learning_rate:g} "
        f"on {device}"
    )


def _fingerprint(
    sequences: SequenceSet, vocabulary: Vocabulary, arguments: dict[str, Any], config: TrainingConfig
) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(sequences.ids.tobytes())
    digest.update(sequences.offsets.tobytes())
    if arguments["times"]:
        assert sequences.times is not None
        digest.update(sequences.times.tobytes())
    digest.update((vocabulary.fingerprint + json.dumps(arguments) + settings_text(config)).encode())
    return digest.hexdigest()


def _info(
    log: EventLog,
    sequences: SequenceSet,
    parts: tuple[SequenceSet, ...],
    arguments: dict[str, Any],
    config: TrainingConfig,
    result: TrainingResult,
) -> dict[str, Any]:
    import transformers

    return {
        "log": {
            "source": Path(log.source.strip("'")).name,
            "n_events": sequences.n_events,
            "n_cases": sequences.n_cases,
            "n_ties": log.n_ties,
            "columns": dict(log.columns),
        },
        "split": {
            "seed": arguments["seed"],
            "shares": SHARES,
            "n_cases": [part.n_cases for part in parts],
            "n_events": [part.n_events for part in parts],
        },
        "arguments": arguments,
        "training": asdict(config) | {"best_step": result.best_step, "validation_loss": result.best_loss},
        "history": result.history,
        "versions": {
            "sequela": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
