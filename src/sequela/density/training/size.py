"""The right width of a network: a few are trained briefly, and the one with the lowest validation loss is kept.

A network that is too wide for its log stops early and shrinks effects; one that is too narrow misses what events do
together. The number of event types does not tell which is which, so it is measured: validation loss as a function of
width falls and then rises, and its lowest point among `WIDTHS` is looked for by climbing down from two of them. Each
short run has a learning-rate schedule of its own, so that it ends as a full one would, and takes a quarter of the steps
of the training, but 300 at least and 1,000 at most. There are three or four short runs: at most as many steps as the
training itself has (1,200 where it has fewer), and far less than that where it is long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sequela.density.training.loop import TrainingConfig
from sequela.files import read_json, write_json
from sequela.progress import Reporter

WIDTHS = (16, 32, 64, 128, 256)
"""Widths that are tried."""
LEAST_STEPS, MOST_STEPS = 300, 1000
"""Of one short run. In fewer steps a wide network only learns faster."""
_SHARE = 0.25
_CHECKS = 12
_PATIENCE = 3


@dataclass(frozen=True)
class WidthChoice:
    """How a width was chosen.

    Attributes:
        width: The chosen one.
        steps: Steps of each short run.
        losses: Lowest validation loss in nats per event of each width that was tried.
    """

    width: int
    steps: int
    losses: dict[int, float]

    def sentence(self) -> str:
        """Say in one line what was tried and what was kept."""
        tried = ", ".join(f"{loss:.3f} with {width}" for width, loss in sorted(self.losses.items()))
        return f"width {self.width} chosen by validation loss after {self.steps:,} steps (nats per event: {tried})"

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        losses = {str(width): loss for width, loss in sorted(self.losses.items())}
        return {"width": self.width, "steps": self.steps, "validation_loss": losses}


def has_time(max_steps: int | None) -> bool:
    """Return whether the steps that a user allows (None: as many as are good) leave time to choose a width.

    Example:
        >>> has_time(None), has_time(1000), has_time(2000)
        (True, False, True)
    """
    return max_steps is None or max_steps * _SHARE >= LEAST_STEPS


def short_steps(max_steps: int) -> int:
    """Return the steps of a short run.

    Example:
        >>> [short_steps(steps) for steps in (200, 800, 2000, 20_000)]
        [200, 300, 500, 1000]
    """
    return min(max(round(max_steps * _SHARE), LEAST_STEPS), MOST_STEPS, max_steps)


def choose_width(
    short_run: Callable[[int, TrainingConfig], float],
    config: TrainingConfig,
    *,
    widths: Sequence[int] = WIDTHS,
    report: Reporter,
    record: Path | None = None,
    fingerprint: str = "",
) -> WidthChoice:
    """Choose the width with the lowest validation loss.

    Args:
        short_run: Trains a network of a width as a configuration says and returns its lowest validation loss. The same
            arguments must give the same loss.
        config: Of the training that will follow.
        widths: Widths to choose from, at least two; of equal losses the smaller one wins.
        report: What to tell.
        record: File that keeps the losses of finished short runs, so that an interrupted choice goes on.
        fingerprint: Of data and settings; a record with another one is not used.

    Example:
        >>> from sequela.progress import Silent
        >>> config = TrainingConfig(max_steps=1600, batch_size=32, learning_rate=1e-3)
        >>> choose_width(lambda width, _: abs(width - 60), config, report=Silent()).width
        64
    """
    steps = short_steps(config.max_steps)
    short = replace(config, max_steps=steps, check_every=max(1, steps // _CHECKS), patience=_PATIENCE)
    done = _read_record(record, fingerprint)
    losses: dict[int, float] = {}

    def run(place: int) -> float:
        width = widths[place]
        if width not in losses:
            losses[width] = done[width] if width in done else short_run(width, short)
            if record is not None:
                known = {str(each): loss for each, loss in (done | losses).items()}
                write_json(record, {"fingerprint": fingerprint, "losses": known})
            update(len(losses), f"width {width}: {losses[width]:.3f}")
        return losses[width]

    with report.bar("choosing the width", min(4, len(widths))) as update:
        low, high = min(1, len(widths) - 2), max(1, len(widths) - 2)
        best, outward = (low, -1) if run(low) <= run(high) else (high, 1)
        for way in (outward, -outward):  # beyond both first, then between them
            while 0 <= best + way < len(widths) and (run(best + way), way) < (run(best), 0):
                best += way
    choice = WidthChoice(widths[best], steps, losses)
    report.say(choice.sentence())
    return choice


def _read_record(record: Path | None, fingerprint: str) -> dict[int, float]:
    """Return the losses of finished short runs; nothing where there is no record, or one that does not fit."""
    if record is None:
        return {}
    try:
        found = read_json(record)
        if found["fingerprint"] != fingerprint:
            return {}
        return {int(width): float(loss) for width, loss in found["losses"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
