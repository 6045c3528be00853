"""Everything that decides what a training run gives, resolved from the log: no ``"auto"`` and no None is left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch

from sequela.density.base import Density
from sequela.density.registry import Sizes, TrainedBackbone
from sequela.density.runtime.devices import has_fast_bfloat16
from sequela.density.training.loop import TrainingConfig
from sequela.density.window.time_features import gap_gain, time_gain
from sequela.errors import ConfigError, LogFormatError, check_choice
from sequela.events.hierarchy import SharedComponents, shared_components, siblings
from sequela.events.log import EventLog, event_components
from sequela.events.sequences import SequenceSet
from sequela.events.ties import shuffle_ticks
from sequela.events.vocabulary import Vocabulary
from sequela.progress import Reporter

SHARES = (0.8, 0.1, 0.1)
"""Of the cases: to train, to choose the best weights, to judge the result."""
_LEAST_TOLD_NATS = 0.02
Parts = tuple[SequenceSet, SequenceSet, SequenceSet]
"""What trains, what chooses the weights, what judges."""


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run.

    Attributes:
        backbone: What kind of network.
        seed: Of the split, the first weights and the training.
        min_count: Types seen less often are folded into ``<rare>``.
        memory: Past events the network looks at.
        width: Size of its hidden layers.
        n_blocks: Hidden blocks or decoder layers.
        dropout: Share of numbers dropped in training.
        hide: Highest share of past events hidden in training.
        times: Whether it knows how long ago past events were.
        components: Whether event types are learnt as their components.
        config: Of the training loop.
        additive: Whether past events also add to the rates of later ones.
        repeats: Whether the second occurrence of an event type among the past events counts apart.
    """

    backbone: str
    seed: int
    min_count: int
    memory: int
    width: int
    n_blocks: int
    dropout: float
    hide: float
    times: bool
    components: bool
    config: TrainingConfig
    additive: bool = False
    repeats: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        """Everything but the training loop's settings, as plain values."""
        return {own.name: getattr(self, own.name) for own in fields(self) if own.name != "config"}

    def sizes(self, vocabulary: Vocabulary, device: str) -> Sizes:
        """Return what a backbone needs to build a network."""
        shared = shared_components(vocabulary) if self.components else None
        return Sizes(
            vocabulary,
            self.memory,
            self.width,
            self.n_blocks,
            self.dropout,
            self.hide,
            self.times,
            shared,
            device,
            self.additive,
            self.repeats,
        )

    def to_text(self) -> str:
        """Return all settings as one JSON text, for fingerprints."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def of_info(cls, info: Mapping[str, Any]) -> Recipe:
        """Return the recipe that a density was trained with, from its ``info``.

        Raises:
            ConfigError: It was not trained by `fit`.
        """
        try:
            arguments, training = (
                {"additive": False, "repeats": False, **info["arguments"]},
                info["training"],
            )  # new in 0.2.0
            config = TrainingConfig(**{own.name: training[own.name] for own in fields(TrainingConfig)})
            return cls(config=config, **{own.name: arguments[own.name] for own in fields(cls) if own.name != "config"})
        except (KeyError, TypeError) as error:
            raise ConfigError(
                "the density does not say how it was trained (only those of sequela.fit do): cross-fit with settings "
                "in place of like=..."
            ) from error


def split_for_training(sequences: SequenceSet, seed: int) -> Parts:
    """Return what trains, what chooses the weights and what judges; unordered ties in a random order.

    Raises:
        LogFormatError: The log is too short for that.
    """
    train, choose, judge = (shuffle_ticks(part, seed) for part in sequences.split(SHARES, seed=seed))
    if min(train.n_events, choose.n_events, judge.n_events) < 1:
        raise LogFormatError(
            f"the log is too short to train a model on: of {sequences.n_events:,} events in {sequences.n_cases:,} "
            f"cases, {train.n_events} would train it, {choose.n_events} choose its weights and {judge.n_events} judge "
            "it (each needs one at least); give more or longer cases"
        )
    return train, choose, judge


def training_config(
    kind: TrainedBackbone,
    train_set: SequenceSet,
    memory: int,
    n_types: int,
    *,
    max_steps: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    patience: int,
    seed: int,
    precision: str,
    device: str,
) -> TrainingConfig:
    """Return how to train, with what is None chosen from the size of the log."""
    own = kind.steps(train_set, n_types, memory, batch_size)
    # About 30 passes over a small log, fewer over a large one; early stopping ends it sooner.
    steps = max_steps or int(np.clip(30 * own.per_epoch, 300, own.most))
    every = max(10, min(steps // 30, round(own.per_epoch)) if own.per_epoch >= 10 else steps // 30)
    if precision == "auto":
        precision = "bfloat16" if has_fast_bfloat16(device) else "float32"
    return TrainingConfig(
        max_steps=steps, batch_size=own.batch_size, learning_rate=learning_rate or own.learning_rate,
        check_every=every, patience=patience, seed=seed, precision=precision,
    )  # fmt: skip


def use_times(
    times: bool | str,
    backbone: TrainedBackbone,
    log: EventLog,
    train_set: SequenceSet,
    vocabulary: Vocabulary,
    tell: Reporter,
) -> bool:
    """Decide whether the density gets times (`docs/method.md`, section 8)."""
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
    if log.columns.get("state") and _time_tells_state(train_set, vocabulary, tell):
        return False
    told, chance = time_gain(train_set, vocabulary.n_types)
    helps = told > max(_LEAST_TOLD_NATS, 3 * chance)
    tell.say(
        f"times: {'used' if helps else 'not used'}; to know the time since the last event makes the next one easier to "
        f"predict, by {told:.3f} nats an event (by chance up to {chance:.3f})"
    )
    if helps and (carried := gap_gain(train_set)) > _LEAST_TOLD_NATS:
        tell.say(
            "effects that only change how soon the next event comes do not count (fit with times=False, --no-times, "
            f"counts them): an event tells {carried:.3f} nats of the time until the next"
        )
    return helps


def _time_tells_state(train_set: SequenceSet, vocabulary: Vocabulary, tell: Reporter) -> bool:
    """Return, and say, whether the time before an event tells how it went, given what acted.

    Then that time is a part of the outcome, as a duration is, or what leads to it. An effect on the outcome that holds
    it fixed leaves out most of itself.
    """
    most = max(len(event_components(name)) for name in vocabulary.names)
    if most < 2:
        return False
    what = siblings(vocabulary, most - 1).low.copy()
    if vocabulary.has_rare:
        what[-1] = vocabulary.n_types - 1  # no sibling of the first
    told, chance = time_gain(train_set, vocabulary.n_types, what)
    tells = told > max(_LEAST_TOLD_NATS, 3 * chance)
    if tells:
        tell.say(
            f"times: not used; the time before an event tells how it went, by {told:.3f} nats (by chance up to "
            f"{chance:.3f}): to hold it fixed would hide effects on how it went (times=True, --times: used)"
        )
    return tells


def check_additive(additive: bool | str, backbone: TrainedBackbone) -> bool:
    """Return whether effects that add up may be in the network.

    Raises:
        ConfigError: They were asked for and cannot be.
    """
    if not isinstance(additive, bool):
        check_choice("additive", additive, ["auto"])
    if additive is True and not backbone.adds_effects:
        raise ConfigError("additive=True needs the window backbone: leave additive out, or set it to False")
    return bool(additive) and backbone.adds_effects


def use_components(
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


def new_network(kind: TrainedBackbone, sizes: Sizes, train_set: SequenceSet, seed: int) -> torch.nn.Module:
    """Return an untrained network; the same seed gives the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind.network(sizes, train_set)


def data_fingerprint(
    recipe: Recipe, vocabulary: Vocabulary, sequences: SequenceSet, start: Density | None = None
) -> str:
    """Return a hash of everything that decides the weights: equal ones mean equal training."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(sequences.ids.tobytes())
    digest.update(sequences.offsets.tobytes())
    for name in sequences.case_names:  # they decide the split
        digest.update(str(name).encode() + b"\0")
    if recipe.times:
        assert sequences.times is not None
        digest.update(sequences.times.tobytes())
    digest.update(f"{vocabulary.fingerprint} {sequences.unordered_ties} {recipe.to_text()}".encode())
    if start is not None:
        digest.update(str(start.fingerprint).encode())
    return digest.hexdigest()
