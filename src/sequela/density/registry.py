"""The backbones: which kinds of density `fit` can train and `load_density` can load, by name.

A new backbone is one file with a subclass of `Backbone` (or `TrainedBackbone`, if `fit` shall train it) and one line in
`_BUILT_IN`; one that lives outside this package is added by `register`. `fit`, the checkpoints and the command line ask
here and hold no list of their own. Importing this module loads nothing heavy.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sequela.errors import ConfigError, check_choice

if TYPE_CHECKING:
    import torch

    from sequela.density.base import Density
    from sequela.density.objectives import Task
    from sequela.events.hierarchy import SharedComponents
    from sequela.events.sequences import SequenceSet
    from sequela.events.vocabulary import Vocabulary


class _Entry(NamedTuple):
    """Where a backbone is, and what users are told of it."""

    place: str
    summary: str
    trained: bool


_BUILT_IN = {
    "window": _Entry("sequela.density.window.backbone:WindowBackbone", "fast, a fixed memory of a few events", True),
    "llama": _Entry("sequela.density.decoder.backbone:LlamaBackbone", "a small decoder, up to 256 events", True),
    "gru": _Entry("sequela.density.recurrent.backbone:RecurrentBackbone", "a small recurrent network", True),
    "huggingface": _Entry("sequela.density.decoder.backbone:HuggingFaceBackbone", "any Hugging Face decoder", False),
}
_registered: dict[str, tuple[_Entry, Backbone]] = {}


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds beside the files of the backbone.

    Attributes:
        settings: What `Backbone.save` returned, from JSON; of any kind until the backbone has checked it.
        vocabulary: Event types.
        knows_hidden: See `Density`.
        device: Where the density shall run.
    """

    settings: Mapping[str, Any]
    vocabulary: Vocabulary
    knows_hidden: bool
    device: str


class Backbone(ABC):
    """One kind of density: how it is saved and loaded.

    Attributes:
        name: Its name; densities of this kind carry it as `Density.backbone`.
    """

    name: ClassVar[str]

    @abstractmethod
    def save(self, density: Any, folder: Path) -> dict[str, Any]:
        """Write the weights of a density of this kind as safetensors into a folder; return its settings, as JSON."""

    @abstractmethod
    def load(self, folder: Path, saved: Saved) -> Density:
        """Build the density that `save` wrote.

        Raises:
            Exception: The settings or the weights do not fit; the checkpoint makes a `CheckpointError` of it.
        """


@dataclass(frozen=True)
class Sizes:
    """What `fit` decided before it builds a network.

    Attributes:
        vocabulary: Event types.
        memory: Past events the model looks at.
        width: Size of the hidden layers.
        n_blocks: Hidden blocks or layers.
        dropout: Share of numbers dropped in training.
        hide: Highest share of past events hidden in training.
        times: Whether it gets times.
        components: What event types share, or None.
        device: Where it will run.
        additive: Whether past events also add to the rates of events.
        repeats: Whether the second occurrence of an event type among the past events counts apart.
    """

    vocabulary: Vocabulary
    memory: int
    width: int
    n_blocks: int
    dropout: float
    hide: float
    times: bool
    components: SharedComponents | None
    device: str
    additive: bool = False
    repeats: bool = False


@dataclass(frozen=True)
class Steps:
    """How a backbone is trained unless the user says otherwise.

    Attributes:
        batch_size: Examples a step.
        per_epoch: Steps that see every event once.
        learning_rate: Its highest value.
        most: Most steps.
    """

    batch_size: int
    per_epoch: float
    learning_rate: float
    most: int


class TrainedBackbone(Backbone):
    """A backbone that `fit` trains by gradients.

    Attributes:
        uses_times: Whether it can use times.
        uses_components: Whether it can use the components of event types.
        chooses_width: Whether `fit` chooses its width by validation loss.
        adds_effects: Whether it can have effects that add up.
        most_table_types: Most event types for which it learns the effect of each on each, and may learn that of a
            second occurrence apart.
        unit: What an example is called.
    """

    uses_times: ClassVar[bool] = False
    chooses_width: ClassVar[bool] = False
    adds_effects: ClassVar[bool] = False
    most_table_types: ClassVar[int] = 0
    uses_components: ClassVar[bool] = False
    unit: ClassVar[str] = "events"

    @abstractmethod
    def default_memory(self, longest: int) -> int:
        """Return how many past events to look at, for cases of at most ``longest`` events."""

    @abstractmethod
    def default_width(self, n_events: int, n_types: int) -> int:
        """Return the size of the hidden layers for a training set of some events of some types."""

    @abstractmethod
    def steps(self, train_set: SequenceSet, n_types: int, memory: int, batch_size: int | None) -> Steps:
        """Return how to train on some cases; ``batch_size`` is what the user asked for, if anything."""

    @abstractmethod
    def network(self, sizes: Sizes, train_set: SequenceSet) -> torch.nn.Module:
        """Build the network; torch's generator is seeded."""

    def go_on(self, network: Any, density: Density) -> None:
        """Give a network, in place, the weights of a density of the same sizes, so that training goes on from there.

        Raises:
            ConfigError: The density is of other sizes, or training of this backbone cannot go on.
        """
        raise ConfigError(f"training of the backbone '{self.name}' cannot go on from a density")

    @abstractmethod
    def task(self, cases: SequenceSet, sizes: Sizes) -> Task:
        """Return the examples of some cases and their loss."""

    @abstractmethod
    def density(self, network: Any, sizes: Sizes) -> Density:
        """Freeze a trained network."""


def register(backbone: Backbone, *, summary: str = "") -> None:
    """Add a backbone from outside this package, for this process.

    Args:
        backbone: It; a second one of the same name replaces the first.
        summary: A few words for users.

    Raises:
        ConfigError: Its name is one of ours.

    Example:
        >>> register(load_backbone("window"))
        Traceback (most recent call last):
        ...
        sequela.errors.ConfigError: the name 'window' is taken by a backbone of this package: choose another
    """
    if backbone.name in _BUILT_IN:
        raise ConfigError(f"the name '{backbone.name}' is taken by a backbone of this package: choose another")
    _registered[backbone.name] = _Entry("", summary, isinstance(backbone, TrainedBackbone)), backbone


def unregister(name: str) -> None:
    """Take back what `register` did; unknown names are ignored.

    Example:
        >>> unregister("no such backbone")
    """
    _registered.pop(name, None)


def backbone_names(*, trained: bool = False) -> dict[str, str]:
    """Return the names of all backbones and what they are in a few words.

    Args:
        trained: Only those that `fit` trains.

    Example:
        >>> list(backbone_names(trained=True))
        ['window', 'llama', 'gru']
    """
    entries = _BUILT_IN | {name: entry for name, (entry, _) in _registered.items()}
    return {name: entry.summary for name, entry in entries.items() if entry.trained or not trained}


def backbone_help() -> str:
    """Return the backbones that `fit` trains, as one line of help.

    Example:
        >>> backbone_help()
        'window (fast, a fixed memory of a few events), llama (a small decoder, up to 256 events), gru (...).'
    """
    return ", ".join(f"{name} ({summary})" for name, summary in backbone_names(trained=True).items()) + "."


def load_backbone(name: str) -> Backbone:
    """Return a backbone by name.

    Raises:
        ConfigError: There is none of that name.

    Example:
        >>> load_backbone("huggingface").name
        'huggingface'
    """
    check_choice("backbone", name, backbone_names())
    if name in _registered:
        return _registered[name][1]
    module, _, kind = _BUILT_IN[name].place.partition(":")
    found: Backbone = getattr(importlib.import_module(module), kind)()
    return found


def trained_backbone(name: str) -> TrainedBackbone:
    """Return a backbone that `fit` can train, by name.

    Raises:
        ConfigError: There is none of that name, or it cannot be trained here.

    Example:
        >>> trained_backbone("window").default_memory(longest=30)
        8
    """
    check_choice("backbone", name, backbone_names(trained=True))
    found = load_backbone(name)
    assert isinstance(found, TrainedBackbone)
    return found


def backbone_of(density: Density) -> Backbone:
    """Return the backbone of a density, by which it can be saved.

    Raises:
        ConfigError: It is in no registry.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> backbone_of(SoftmaxWorld.random(4, horizon=2, seed=0))
        Traceback (most recent call last):
        ...
        sequela.errors.ConfigError: a SoftmaxWorld cannot be saved: it is of no registered backbone (...)
    """
    if density.backbone is None or density.backbone not in backbone_names():
        raise ConfigError(
            f"a {type(density).__name__} cannot be saved: it is of no registered backbone "
            f"({', '.join(backbone_names())})"
        )
    return load_backbone(density.backbone)
