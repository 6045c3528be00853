"""Short runs before the training: they choose width and memory, and whether effects add up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sequela.density.registry import trained_backbone
from sequela.density.training.loop import TrainingConfig, train, validation_losses
from sequela.density.training.recipe import Parts, Recipe, data_fingerprint, new_network
from sequela.density.training.size import (
    AdditiveChoice,
    MemoryChoice,
    Pieces,
    RepeatsChoice,
    WidthChoice,
    choose_memory,
    choose_repeats,
    choose_width,
    short_config,
)
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary
from sequela.files import disk
from sequela.progress import Reporter, Silent

_PIECE = 32
"""Validation examples of which one loss is kept, to compare widths."""


@dataclass(frozen=True)
class ShortRuns:
    """Short runs on the training cases of a log, judged by the validation cases."""

    vocabulary: Vocabulary
    sequences: SequenceSet
    parts: Parts
    device: str
    out: str | Path | None
    tell: Reporter

    def choose_width(self, recipe: Recipe) -> WidthChoice:
        """Choose the width for a recipe."""
        return choose_width(
            lambda width, config: self._run(replace(recipe, width=width), config),
            recipe.config,
            report=self.tell,
            record=None if self.out is None else _record(self.out, "additive" if recipe.additive else "widths"),
            fingerprint=data_fingerprint(recipe, self.vocabulary, self.sequences),
        )

    def choose_repeats(self, recipe: Recipe, choice: WidthChoice) -> RepeatsChoice:
        """Choose whether repeats count apart, for a recipe whose width was chosen."""
        return choose_repeats(
            lambda repeats, config: self._run(replace(recipe, repeats=bool(repeats)), config),
            recipe.config,
            own=choice.own,
            report=self.tell,
            record=None if self.out is None else _record(self.out, "repeats"),
            fingerprint=data_fingerprint(recipe, self.vocabulary, self.sequences),
        )

    def choose_memory(self, recipe: Recipe, own: Pieces) -> MemoryChoice:
        """Choose the memory for a recipe whose short run gave some losses."""
        return choose_memory(
            lambda memory, config: self._run(replace(recipe, memory=memory), config),
            recipe.config,
            first=recipe.memory,
            own=own,
            longest=int(self.sequences.lengths.max()),
            report=self.tell,
            record=None if self.out is None else _record(self.out, "memories"),
            fingerprint=data_fingerprint(recipe, self.vocabulary, self.sequences),
        )

    def one(self, recipe: Recipe) -> Pieces:
        """Make one short run and return its losses."""
        return self._run(recipe, short_config(recipe.config))

    def _run(self, recipe: Recipe, config: TrainingConfig) -> NDArray[np.float64]:
        kind, sizes = trained_backbone(recipe.backbone), recipe.sizes(self.vocabulary, self.device)
        network = new_network(kind, sizes, self.parts[0], recipe.seed)
        learn, choose = (kind.task(part, sizes) for part in self.parts[:2])
        result = train(network, learn, choose, config, device=self.device, report=Silent())
        network.load_state_dict(result.weights)
        return self._losses(recipe, network)

    def choose_additive(self, recipe: Recipe, trained: Pieces) -> AdditiveChoice:
        """Compare effects that add up, as counted, with what the best network without them lost."""
        kind = trained_backbone(recipe.backbone)
        with_them = replace(recipe, additive=True)
        network = new_network(kind, with_them.sizes(self.vocabulary, self.device), self.parts[0], recipe.seed)
        added = AdditiveChoice.between(self._losses(with_them, network), trained)
        self.tell.say(added.sentence())
        return added

    def _losses(self, recipe: Recipe, network: torch.nn.Module) -> NDArray[np.float64]:
        validation = trained_backbone(recipe.backbone).task(self.parts[1], recipe.sizes(self.vocabulary, self.device))
        # Small pieces, about a case each: what their differences say of the error.
        return validation_losses(network.to(self.device), validation, _PIECE, self.device)


def forget_records(out: str | Path) -> None:
    """Remove what the choices for a density kept."""
    for choice in ("widths", "additive", "repeats", "memories"):
        disk.remove(_record(out, choice))


def _record(out: str | Path, choice: str) -> Path:
    return Path(out).with_name(f".{Path(out).name}.{choice}.json")
