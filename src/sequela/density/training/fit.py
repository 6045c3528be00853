"""The verb ``fit``: an event log in, a frozen density out, with sizes chosen from the data and said aloud."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sequela.arguments import public
from sequela.density import checkpoint
from sequela.density.base import Density
from sequela.density.quality.report import diagnose
from sequela.density.registry import trained_backbone
from sequela.density.runtime.devices import choose_device, is_first_process
from sequela.density.runtime.threads import right_threads
from sequela.density.training.arguments import FIT
from sequela.density.training.loop import (
    TrainingResult,
    forget_state,
    train,
)
from sequela.density.training.recipe import (
    SHARES,
    Parts,
    Recipe,
    check_additive,
    data_fingerprint,
    new_network,
    split_for_training,
    training_config,
    use_components,
    use_times,
)
from sequela.density.training.short_runs import ShortRuns, forget_records
from sequela.density.training.size import (
    AdditiveChoice,
    MemoryChoice,
    RepeatsChoice,
    WidthChoice,
    has_time,
    short_config,
)
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet
from sequela.events.split import Split
from sequela.events.vocabulary import Vocabulary
from sequela.files import check_writable_folder
from sequela.locks import locks_out
from sequela.progress import Reporter, reporter
from sequela.version import __version__

_FIRST_WIDTH = 64


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
    vocabulary: Vocabulary | None = None,
    memory: int | None = None,
    width: int | None = None,
    n_blocks: int = 2,
    dropout: float = 0.1,
    hide: float = 0.5,
    times: bool | str = "auto",
    components: bool | str = "auto",
    additive: bool | str = "auto",
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
    vocabulary = vocabulary or Vocabulary.build(log, min_count=min_count)
    sequences = SequenceSet.from_log(log, vocabulary)
    vocabulary = recounted(vocabulary, sequences)
    parts = split_for_training(sequences, seed)
    first_memory = max(memory or kind.default_memory(int(sequences.lengths.max())), 2)
    config = training_config(
        kind, parts[0], first_memory, vocabulary.n_types, max_steps=max_steps, batch_size=batch_size,
        learning_rate=learning_rate, patience=patience, seed=seed, precision=precision, device=device,
    )  # fmt: skip
    say_log(tell, log, vocabulary, parts)
    may_add = check_additive(additive, kind)
    recipe = Recipe(
        backbone=backbone, seed=seed, min_count=min_count, memory=first_memory,
        width=width or kind.default_width(parts[0].n_events, vocabulary.n_types), n_blocks=n_blocks, dropout=dropout,
        hide=hide, times=use_times(times, kind, log, parts[0], vocabulary, tell),
        components=use_components(components, kind, vocabulary, tell) is not None, config=config,
        additive=additive is True,
    )  # fmt: skip
    choice = added = repeated = remembered = None
    if width is None and kind.chooses_width and has_time(max_steps):
        short_runs = ShortRuns(vocabulary, sequences, parts, device, out, tell)
        if may_add and not recipe.additive and vocabulary.n_types > kind.most_table_types:
            # Short runs are dear here, and without a table of direct effects no width forecasts like counts that fit.
            added = short_runs.choose_additive(recipe, short_runs.one(replace(recipe, width=_FIRST_WIDTH)))
            recipe = replace(recipe, additive=added.additive)
        choice = short_runs.choose_width(recipe)
        if may_add and added is None and not recipe.additive:
            added = short_runs.choose_additive(recipe, choice.lowest)
            if added.additive:
                with_them = short_runs.choose_width(replace(recipe, additive=True))
                if with_them.lowest_loss < choice.lowest_loss:
                    recipe, choice = replace(recipe, additive=True), with_them
                else:
                    tell.say("effects multiply after all: training with those that add up forecasts worse")
        recipe = replace(recipe, width=choice.width)
        own = choice.own
        if vocabulary.n_types <= kind.most_table_types:
            repeated = short_runs.choose_repeats(recipe, choice)
            recipe, own = replace(recipe, repeats=repeated.repeats), repeated.own
        if memory is None and not log.n_ties:  # not tried where events of one time have no order
            remembered = short_runs.choose_memory(recipe, own)
            recipe = replace(recipe, memory=remembered.memory)
    return train_recipe(
        recipe, log, vocabulary, sequences, parts, device=device, out=out, overwrite=overwrite, tell=tell,
        choice=choice, added=added, repeated=repeated, remembered=remembered,
    )  # fmt: skip


def fit_further(
    density: Density,
    log: EventLog,
    *,
    out: str | Path | None = None,
    device: str | None = None,
    progress: bool | Reporter = True,
) -> Density:
    """Train a density of `fit` further, from its weights on, with its settings and its event types.

    Args:
        density: The density; it stays as it is.
        log: All cases, those that it was trained on and new ones. A case is trained on, or kept apart, as it was
            before, and new cases by the same hash.
        out: Folder to save to; what is there is replaced.
        device: As for `fit`.
        progress: As for `fit`.

    Raises:
        ConfigError: The density was not trained by `fit`.
    """
    recipe = Recipe.of_info(density.info)
    sequences = SequenceSet.from_log(log, density.vocabulary)
    parts = split_for_training(sequences, recipe.seed)
    return train_recipe(
        recipe, log, recounted(density.vocabulary, sequences), sequences, parts, device=choose_device(device), out=out,
        overwrite=True, tell=reporter(progress), start=density,
    )  # fmt: skip


def recounted(vocabulary: Vocabulary, sequences: SequenceSet) -> Vocabulary:
    """Return the same event types with how often each occurs in some sequences."""
    counts = np.bincount(sequences.ids, minlength=vocabulary.n_types)
    return replace(vocabulary, counts=tuple(int(n) for n in counts))


def train_recipe(
    recipe: Recipe,
    log: EventLog,
    vocabulary: Vocabulary,
    sequences: SequenceSet,
    parts: Parts,
    *,
    device: str,
    out: str | Path | None,
    overwrite: bool,
    tell: Reporter,
    choice: WidthChoice | None = None,
    added: AdditiveChoice | None = None,
    repeated: RepeatsChoice | None = None,
    remembered: MemoryChoice | None = None,
    start: Density | None = None,
) -> Density:
    """Train a network as a recipe says, judge it and save it.

    Args:
        recipe: All settings.
        log: What the sequences were encoded from.
        vocabulary: Event types.
        sequences: All cases.
        parts: What of them trains, chooses the weights and judges (`split_for_training`).
        device: Where to train.
        out: Folder to save to, or None.
        overwrite: Replace an earlier density there.
        tell: What to tell.
        choice: How the width was chosen, for ``info``.
        added: How it was decided whether effects add up, for ``info``.
        repeated: How it was decided whether repeats count apart, for ``info``.
        remembered: How the memory was chosen, for ``info``.
        start: A density of the same recipe and vocabulary, from whose weights training goes on. What it has seen counts
            as seen by the new one too.
    """
    config, kind = recipe.config, trained_backbone(recipe.backbone)
    tell.say(
        f"{kind.name} backbone, memory {recipe.memory} events, width {recipe.width}; at most {config.max_steps:,} "
        f"steps of {config.batch_size:,} {kind.unit} at rate {config.learning_rate:g} on {device}"
    )
    sizes = recipe.sizes(vocabulary, device)
    network = new_network(kind, sizes, parts[0], recipe.seed)
    if start is not None:
        kind.go_on(network, start)
    state_folder = None if out is None else _state_folder(out)
    fingerprint = data_fingerprint(recipe, vocabulary, sequences, start)
    tasks = kind.task(parts[0], sizes), kind.task(parts[1], sizes)
    result = train(
        network, *tasks, config, device=device, report=tell, state_folder=state_folder, fingerprint=fingerprint
    )
    short = remembered or repeated or choice
    if short is not None and short.loss < result.best_loss:
        recipe = replace(recipe, config=short_config(config))
        tell.say(
            f"trained anew with {recipe.config.max_steps:,} steps: a short run forecast better than the whole training "
            f"({short.loss:.3f} against {result.best_loss:.3f} nats per event)"
        )
        network = new_network(kind, sizes, parts[0], recipe.seed)
        result = train(network, *tasks, recipe.config, device=device, report=tell)
        fingerprint = data_fingerprint(recipe, vocabulary, sequences)
    network.load_state_dict(result.weights)
    density = kind.density(network, sizes)
    with right_threads():
        report = diagnose(density, train=parts[0], held_out=parts[2])
    tell.say(report.sentence())
    seen = Split.of([str(name) for part in parts[:2] for name in part.case_names])
    if start is not None:
        seen |= Split.from_plain(start.info["split"]["seen"])
    info = _info(log, sequences, parts, recipe, result) | {
        "split": _split_info(recipe, parts, seen),
        "report": report.to_dict(),
        "width_choice": None if choice is None else choice.to_plain(),
        "additive_choice": None if added is None else asdict(added),
        "repeats_choice": None if repeated is None else repeated.to_plain(),
        "memory_choice": None if remembered is None else remembered.to_plain(),
        "fingerprint": fingerprint,
    }
    density = density.with_info(info)
    if out is not None and is_first_process():
        checkpoint.save_density(density, out, overwrite=overwrite)
        forget_state(state_folder)
        forget_records(out)
        tell.say(f"saved to '{out}'")
    return density


def _state_folder(out: str | Path) -> Path:
    return Path(out).with_name(f".{Path(out).name}.training")


def say_log(tell: Reporter, log: EventLog, vocabulary: Vocabulary, parts: Parts) -> None:
    """Tell the size of a log and how it was split."""
    folded = vocabulary.counts[-1]
    order = "a set without order" if log.has_unordered_ties else "kept in file order"
    tell.say(
        f"{log.n_events:,} events of {vocabulary.n_types - 1:,} types in {log.n_cases:,} cases"
        + (f"; {folded:,} events of rarer types folded into <rare>" if folded else "")
        + (f"; {log.n_ties:,} events share their time with the one before ({order})" if log.n_ties else "")
    )
    by = "case" if parts[0].n_cases < log.n_cases else "time (too few cases to split by case)"
    roles = ("to train on", "to choose the weights by", "to judge the model by")
    tell.say("events, split by " + by + ": " + ", ".join(
        f"{part.n_events:,} {role}" for part, role in zip(parts, roles, strict=True)
    ))  # fmt: skip


def _split_info(recipe: Recipe, parts: Parts, seen: Split) -> dict[str, Any]:
    return {
        "seed": recipe.seed,
        "shares": SHARES,
        "n_cases": [part.n_cases for part in parts],
        "n_events": [part.n_events for part in parts],
        "seen": seen.to_plain(),
    }


def _info(
    log: EventLog, sequences: SequenceSet, parts: Parts, recipe: Recipe, result: TrainingResult
) -> dict[str, Any]:
    return {
        "log": {
            "source": Path(log.source.strip("'")).name,
            "n_events": sequences.n_events,
            "n_cases": sequences.n_cases,
            "n_ties": log.n_ties,
            "columns": dict(log.columns),
        },
        "arguments": recipe.arguments,
        "training": asdict(recipe.config) | {"best_step": result.best_step, "validation_loss": result.best_loss},
        "history": result.history,
        "versions": {
            "sequela": __version__,
            "torch": torch.__version__,
        },
    }
