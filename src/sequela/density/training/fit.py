"""The verb ``fit``: an event log in, a frozen density out, with sizes chosen from the data and said aloud."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sequela.arguments import public
from sequela.density import checkpoint
from sequela.density.base import Density
from sequela.density.quality.report import diagnose
from sequela.density.registry import Sizes, TrainedBackbone, trained_backbone
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
from sequela.density.window.time_features import time_gain
from sequela.errors import ConfigError, DensityError, check_choice
from sequela.events.hierarchy import SharedComponents, shared_components
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet
from sequela.events.ties import shuffle_ticks
from sequela.events.vocabulary import Vocabulary
from sequela.files import check_writable_folder
from sequela.locks import locks_out
from sequela.progress import Reporter, reporter
from sequela.version import __version__

SHARES = (0.8, 0.1, 0.1)
_LEAST_TOLD_NATS = 0.02


@public(FIT)
@locks_out(is_first_process)
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
    kind = trained_backbone(backbone)
    tell = reporter(progress)
    device = choose_device(device)
    if out is not None:
        check_writable_folder(out, marker=checkpoint.MARKER, overwrite=overwrite)
    vocabulary = Vocabulary.build(log, min_count=min_count)
    sequences = SequenceSet.from_log(log, vocabulary)
    train_set, validation_set, test_set = (shuffle_ticks(part, seed) for part in sequences.split(SHARES, seed=seed))
    longest = int(sequences.lengths.max())
    memory = max(memory or kind.default_memory(longest), 2)
    width = width or kind.default_width(train_set.n_events, vocabulary.n_types)
    if precision == "auto":
        precision = "bfloat16" if has_fast_bfloat16(device) else "float32"
    config = _training_config(
        kind, train_set, memory, max_steps, batch_size, learning_rate, patience, seed, vocabulary.n_types
    )
    config = replace(config, precision=precision)
    use_times = _use_times(times, kind, log, train_set, vocabulary.n_types, tell)
    shared = _use_components(components, kind, vocabulary, tell)
    _say_choices(tell, log, vocabulary, (train_set, validation_set, test_set), kind, memory, width, config, device)

    sizes = Sizes(vocabulary, memory, width, n_blocks, dropout, hide, use_times, shared, device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = kind.network(sizes, train_set)
    arguments = {
        "backbone": backbone, "seed": seed, "min_count": min_count, "memory": memory, "width": width,
        "n_blocks": n_blocks, "dropout": dropout, "hide": hide, "times": use_times,
        "components": shared is not None,
    }  # fmt: skip
    state_folder = None if out is None else Path(out).with_name(f".{Path(out).name}.training")
    result = train(
        network,
        kind.task(train_set, sizes),
        kind.task(validation_set, sizes),
        config,
        device=device,
        report=tell,
        state_folder=state_folder,
        fingerprint=_fingerprint(sequences, vocabulary, arguments, config),
    )
    if not np.isfinite(result.best_loss):
        raise DensityError(
            "training gave no finite validation loss: set a lower learning_rate, or look for extreme values in the "
            "times of the log (times=False leaves them out)"
        )
    network.load_state_dict(result.weights)
    density = kind.density(network, sizes)
    with right_threads():
        report = diagnose(density, train=train_set, held_out=test_set)
    tell.say(report.sentence())
    parts = (train_set, validation_set, test_set)
    info = _info(log, sequences, parts, arguments, config, result) | {"report": report.to_dict()}
    density = density.with_info(info)
    if out is not None and is_first_process():
        checkpoint.save_density(density, out, overwrite=overwrite)
        forget_state(state_folder)
        tell.say(f"saved to '{out}'")
    return density


def _use_times(
    times: bool | str,
    backbone: TrainedBackbone,
    log: EventLog,
    train_set: SequenceSet,
    n_types: int,
    tell: Reporter,
) -> bool:
    """Decide whether the density gets times."""
    if not isinstance(times, bool):
        check_choice("times", times, ["auto"])
    if times is True and not (backbone.uses_times and log.has_times):
        lack = "a time column" if backbone.uses_times else f"a backbone that uses times ('{backbone.name}' does not)"
        raise ConfigError(f"times=True needs {lack}: leave times out, or set it to False")
    if not times or not log.has_times:
        return False
    if not backbone.uses_times:
        tell.say(f"times: not used by the backbone '{backbone.name}'")
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
    components: bool | str, backbone: TrainedBackbone, vocabulary: Vocabulary, tell: Reporter
) -> SharedComponents | None:
    """Return the components that the density learns from, or None."""
    if not isinstance(components, bool):
        check_choice("components", components, ["auto"])
    if not components:
        return None
    shared = shared_components(vocabulary)
    if components is True and (shared is None or not backbone.uses_components):
        lack = f"a backbone that uses components ('{backbone.name}' does not)"
        if backbone.uses_components:
            lack = "event types of several columns (event=[...], --event repeated) of which some share a component"
        raise ConfigError(f"components=True needs {lack}: leave components out, or set it to False")
    if shared is None:
        return None
    if not backbone.uses_components:
        tell.say(f"components: not used by the backbone '{backbone.name}'")
        return None
    tell.say(
        f"components: used; the {vocabulary.n_types - vocabulary.has_rare:,} event types share {shared.n_shared:,} "
        "components, "
        "and rare types borrow strength from those they share components with"
    )
    return shared


def _training_config(
    backbone: TrainedBackbone,
    train_set: SequenceSet,
    memory: int,
    max_steps: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    patience: int,
    seed: int,
    n_types: int,
) -> TrainingConfig:
    own = backbone.steps(train_set, n_types, memory, batch_size)
    # About 30 passes over a small log, fewer over a large one; early stopping ends it sooner.
    steps = max_steps or int(np.clip(30 * own.per_epoch, 300, own.most))
    every = max(10, min(steps // 30, round(own.per_epoch)) if own.per_epoch >= 10 else steps // 30)
    return TrainingConfig(
        max_steps=steps, batch_size=own.batch_size, learning_rate=learning_rate or own.learning_rate,
        check_every=every, patience=patience, seed=seed,
    )  # fmt: skip


def _say_choices(
    tell: Reporter,
    log: EventLog,
    vocabulary: Vocabulary,
    parts: tuple[SequenceSet, SequenceSet, SequenceSet],
    backbone: TrainedBackbone,
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
        f"{backbone.name} backbone, memory {memory} events, width {width}; at most {config.max_steps:,} steps of "
        f"{config.batch_size:,} {backbone.unit} at rate {config.learning_rate:g} "
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
