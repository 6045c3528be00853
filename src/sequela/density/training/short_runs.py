"""Short runs before the training: they choose the width, and whether effects add up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sequela.density.registry import trained_backbone
from sequela.density.training.loop import TrainingConfig, train, validation_losses
from sequela.density.training.recipe import Parts, Recipe, data_fingerprint, new_network
from sequela.density.training.size import AdditiveChoice, WidthChoice, choose_width
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
        kind, sizes = trained_backbone(recipe.backbone), recipe.sizes(self.vocabulary, self.device)
        train_task = kind.task(self.parts[0], sizes)

        def short_run(width: int, config: TrainingConfig) -> NDArray[np.float64]:
            network = new_network(kind, replace(sizes, width=width), self.parts[0], recipe.seed)
            validation = kind.task(self.parts[1], sizes)
            result = train(network, train_task, validation, config, device=self.device, report=Silent())
            network.load_state_dict(result.weights)
            return self._losses(recipe, network)

        return choose_width(
            short_run,
            recipe.config,
            report=self.tell,
            record=None if self.out is None else _record(self.out, recipe.additive),
            fingerprint=data_fingerprint(recipe, self.vocabulary, self.sequences),
        )

    def choose_additive(self, recipe: Recipe, choice: WidthChoice) -> AdditiveChoice:
        """Compare effects that add up, as counted, with the best network without them."""
        kind = trained_backbone(recipe.backbone)
        with_them = replace(recipe, additive=True)
        network = new_network(kind, with_them.sizes(self.vocabulary, self.device), self.parts[0], recipe.seed)
        added = AdditiveChoice.between(self._losses(with_them, network), choice.lowest)
        self.tell.say(added.sentence())
        return added

    def _losses(self, recipe: Recipe, network: torch.nn.Module) -> NDArray[np.float64]:
        validation = trained_backbone(recipe.backbone).task(self.parts[1], recipe.sizes(self.vocabulary, self.device))
        # Small pieces, about a case each: what their differences say of the error.
        return validation_losses(network.to(self.device), validation, _PIECE, self.device)


def forget_records(out: str | Path) -> None:
    """Remove what the choices for a density kept."""
    for additive in (False, True):
        disk.remove(_record(out, additive))


def _record(out: str | Path, additive: bool) -> Path:
    return Path(out).with_name(f".{Path(out).name}.widths{'-additive' if additive else ''}.json")
