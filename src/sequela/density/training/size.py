"""The right size of a network: a few are trained briefly, and the smallest one that forecasts as well as any is kept.

A network that is too wide for its log stops early and shrinks effects; one that is too narrow misses what events do
together. The number of event types does not tell which is which, so it is measured: validation loss as a function of
width falls and then rises, and its lowest point among `WIDTHS` is looked for by climbing down from two of them. Of the
widths that were tried, the smallest one is taken whose loss is within one standard error of the lowest (of the
difference, paired over pieces of the validation cases): few cases cannot tell two widths apart, and the narrower one
shrinks effects less. Each short run has a learning-rate schedule of its own, so that it ends as a full one would, and
takes a quarter of the steps of the training, but 300 at least and 1,000 at most. There are three or four short runs: at
most as many steps as the training itself has (1,200 where it has fewer), and far less than that where it is long.

Repeats: whether the second occurrence of an event type has weights of its own is decided by one more short run with
that width; it has where the loss falls by more than one standard error.

Memory: with that width it is doubled as long as the loss falls by more than one standard error. What acts late is not
found otherwise, and a longer memory without need only adds to what can be fitted to noise.

Length: where the log is small, the whole training stops early, at a learning rate that has hardly fallen, and a short
run, whose rate falls to the end, may forecast better. Then the network is trained as that short run was.

Effects that add up: whether they are in the network is decided in the same way (`AdditiveChoice`), and costs next to
nothing, because the counted effects need no training to forecast. Where they win, the width is chosen anew with them,
and they stay if that brings a lower loss. Above 2,000 types, where the network has no table of direct effects and short
runs are dear, the counts come first and are compared with one short run.

Source: the one-standard-error rule: Breiman, Friedman, Olshen and Stone (1984), "Classification and regression trees".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sequela.density.training.loop import TrainingConfig
from sequela.files import read_json, write_json
from sequela.progress import Reporter

Pieces = NDArray[np.float64]
"""Summed losses and numbers of targets of pieces of the validation cases (``[n, 2]``)."""
WIDTHS = (16, 32, 64, 128, 256)
"""Widths that are tried."""
MOST_MEMORY = 32
"""Longest memory that is tried, in events."""
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
        std_errors: Standard error of the difference of each to the lowest loss.
        lowest: Losses and targets of the pieces of the width with the lowest loss (float64, ``[n, 2]``).
        own: The same of the chosen width.
    """

    width: int
    steps: int
    losses: dict[int, float]
    std_errors: dict[int, float]
    lowest: Pieces
    own: Pieces

    @property
    def lowest_loss(self) -> float:
        """The lowest of the losses."""
        return min(self.losses.values())

    @property
    def loss(self) -> float:
        """That of the chosen width."""
        return self.losses[self.width]

    def sentence(self) -> str:
        """Say in one line what was tried and what was kept."""
        best = self.lowest_loss
        tried = ", ".join(
            f"{loss:.3f} with {width}" + (f" (difference ± {self.std_errors[width]:.3f})" if loss > best else "")
            for width, loss in sorted(self.losses.items())
        )
        return f"width {self.width} chosen by validation loss after {self.steps:,} steps (nats per event: {tried})"

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        losses = {str(width): loss for width, loss in sorted(self.losses.items())}
        errors = {str(width): error for width, error in sorted(self.std_errors.items())}
        return {"width": self.width, "steps": self.steps, "validation_loss": losses, "std_error": errors}


@dataclass(frozen=True)
class MemoryChoice:
    """How many past events the network looks at, and how that was chosen.

    Attributes:
        memory: The chosen number.
        losses: Validation loss in nats per event of each that was tried.
        std_errors: Standard error of the difference of each to the one before.
    """

    memory: int
    losses: dict[int, float]
    std_errors: dict[int, float]

    @property
    def loss(self) -> float:
        """That of the chosen memory."""
        return self.losses[self.memory]

    def sentence(self) -> str:
        """Say in one line what was tried and what was kept."""
        tried = ", ".join(
            f"{loss:.3f} with {memory}" + (f" (difference ± {self.std_errors[memory]:.3f})" if at else "")
            for at, (memory, loss) in enumerate(sorted(self.losses.items()))
        )
        return f"memory {self.memory} events chosen by validation loss (nats per event: {tried})"

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        losses = {str(memory): loss for memory, loss in sorted(self.losses.items())}
        return {"memory": self.memory, "validation_loss": losses}


@dataclass(frozen=True)
class RepeatsChoice:
    """Whether the second occurrence of an event type counts apart, and how that was chosen.

    Attributes:
        without: Validation loss of the short run without that, in nats per event.
        apart: The same with it.
        std_error: Of the difference.
        own: Losses and targets of the pieces for what was chosen (float64, ``[n, 2]``).
    """

    without: float
    apart: float
    std_error: float
    own: Pieces

    @property
    def repeats(self) -> bool:
        """Whether the loss falls by more than one standard error."""
        return self.apart < self.without - self.std_error

    @property
    def loss(self) -> float:
        """That of what was chosen."""
        return self.apart if self.repeats else self.without

    def sentence(self) -> str:
        """Say in one line what was compared and what was decided."""
        return (
            f"repeats {'count apart' if self.repeats else 'do not count apart'}, chosen by validation loss (nats per "
            f"event: {self.without:.3f} without, {self.apart:.3f} with; difference ± {self.std_error:.3f})"
        )

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        losses = {"without": self.without, "apart": self.apart}
        return {"repeats": self.repeats, "validation_loss": losses, "std_error": self.std_error}


@dataclass(frozen=True)
class AdditiveChoice:
    """Whether effects that add up, counted before training, forecast better than the best trained network without them.

    Attributes:
        counted: Validation loss of the counted effects alone, in nats per event.
        trained: Lowest loss of the short runs.
        std_error: Of the difference.
    """

    counted: float
    trained: float
    std_error: float

    @classmethod
    def between(cls, counted: Pieces, trained: Pieces) -> AdditiveChoice:
        """Compare two losses of the same pieces of the validation cases (float64, ``[n, 2]`` each).

        Example:
            >>> choice = AdditiveChoice.between(np.array([[1.0, 1.0]] * 9), np.array([[2.0, 1.0]] * 9))
            >>> choice.additive
            True
        """
        return cls(_mean(counted), _mean(trained), _std_error(counted, trained))

    @property
    def additive(self) -> bool:
        """Whether they do, by more than one standard error."""
        return self.counted < self.trained - self.std_error

    def sentence(self) -> str:
        """Say in one line what was compared and what was decided."""
        return (
            f"effects {'add up' if self.additive else 'multiply'}: counted effects that add up give {self.counted:.3f} "
            f"nats per event without training, the best short run without them {self.trained:.3f} (difference "
            f"± {self.std_error:.3f})"
        )


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
    short_run: Callable[[int, TrainingConfig], Pieces],
    config: TrainingConfig,
    *,
    widths: Sequence[int] = WIDTHS,
    report: Reporter,
    record: Path | None = None,
    fingerprint: str = "",
) -> WidthChoice:
    """Choose the smallest width whose validation loss is within one standard error of the lowest.

    Args:
        short_run: Trains a network of a width as a configuration says, and returns the summed validation losses of its
            best weights and the number of targets, in pieces that are the same for every width (float64, ``[n, 2]``).
            The same arguments must give the same losses.
        config: Of the training that will follow.
        widths: Widths to choose from, rising, at least two.
        report: What to tell.
        record: File that keeps the losses of finished short runs, so that an interrupted choice goes on.
        fingerprint: Of data and settings; a record with another one is not used.

    Example:
        >>> from sequela.progress import Silent
        >>> config = TrainingConfig(max_steps=1600, batch_size=32, learning_rate=1e-3)
        >>> losses = lambda width, _: np.array([[abs(width - 60), 1.0]] * 9)
        >>> choose_width(losses, config, report=Silent()).width
        64
    """
    tried = _Tried(short_run, short_config(config), record, fingerprint)

    def loss(place: int) -> float:
        found = _mean(tried(widths[place]))
        update(len(tried.pieces), f"width {widths[place]}: {found:.3f}")
        return found

    with report.bar("choosing the width", min(4, len(widths))) as update:
        low, high = min(1, len(widths) - 2), max(1, len(widths) - 2)
        best, outward = (low, -1) if loss(low) <= loss(high) else (high, 1)
        for way in (outward, -outward):  # beyond both first, then between them
            while 0 <= best + way < len(widths) and (loss(best + way), way) < (loss(best), 0):
                best += way
    pieces, lowest = tried.pieces, tried(widths[best])
    errors = {width: _std_error(found, lowest) for width, found in pieces.items()}
    chosen = min(width for width, found in pieces.items() if _mean(found) <= _mean(lowest) + errors[width])
    losses = {width: _mean(found) for width, found in pieces.items()}
    choice = WidthChoice(chosen, tried.config.max_steps, losses, errors, lowest, pieces[chosen])
    report.say(choice.sentence())
    return choice


def choose_repeats(
    short_run: Callable[[int, TrainingConfig], Pieces],
    config: TrainingConfig,
    *,
    own: Pieces,
    report: Reporter,
    record: Path | None = None,
    fingerprint: str = "",
) -> RepeatsChoice:
    """Let repeats count apart where the validation loss then falls by more than one standard error.

    Args:
        short_run: As for `choose_width`, of 1 where they count apart.
        config: Of the training that will follow.
        own: What the short run without that gave.
        report: What to tell.
        record: As for `choose_width`.
        fingerprint: As for `choose_width`.

    Example:
        >>> from sequela.progress import Silent
        >>> config = TrainingConfig(max_steps=1600, batch_size=32, learning_rate=1e-3)
        >>> run = lambda repeats, _: np.array([[1.0, 1.0]] * 9)
        >>> choose_repeats(run, config, own=np.array([[2.0, 1.0]] * 9), report=Silent()).repeats
        True
    """
    tried = _Tried(short_run, short_config(config), record, fingerprint)
    with report.bar("choosing whether repeats count apart", 1) as update:
        apart = tried(1)
        update(1, f"{_mean(apart):.3f}")
    error = _std_error(apart, own)
    found = RepeatsChoice(_mean(own), _mean(apart), error, apart if _mean(apart) < _mean(own) - error else own)
    report.say(found.sentence())
    return found


def choose_memory(
    short_run: Callable[[int, TrainingConfig], Pieces],
    config: TrainingConfig,
    *,
    first: int,
    own: Pieces,
    longest: int,
    report: Reporter,
    record: Path | None = None,
    fingerprint: str = "",
) -> MemoryChoice:
    """Double the memory of a network as long as its validation loss falls by more than one standard error.

    Args:
        short_run: As for `choose_width`, of a memory.
        config: Of the training that will follow.
        first: Memory to begin with.
        own: What the short run of that memory gave.
        longest: Events of the longest case.
        report: What to tell.
        record: As for `choose_width`.
        fingerprint: As for `choose_width`.

    Example:
        >>> from sequela.progress import Silent
        >>> config = TrainingConfig(max_steps=1600, batch_size=32, learning_rate=1e-3)
        >>> own, run = np.array([[2.0, 1.0]] * 9), lambda memory, _: np.array([[max(1.0, 3 - memory / 8), 1.0]] * 9)
        >>> choose_memory(run, config, first=8, own=own, longest=99, report=Silent()).memory
        16
    """
    tried = _Tried(short_run, short_config(config), record, fingerprint)
    tried.pieces[first] = own
    memory, errors, most = first, {first: 0.0}, min(longest, MOST_MEMORY)
    with report.bar("choosing the memory", 2) as update:
        while memory < most:
            longer = min(2 * memory, most)
            before, after = tried(memory), tried(longer)
            errors[longer] = _std_error(after, before)
            update(len(errors) - 1, f"memory {longer}: {_mean(after):.3f}")
            if _mean(after) >= _mean(before) - errors[longer]:
                break
            memory = longer
    choice = MemoryChoice(memory, {each: _mean(found) for each, found in tried.pieces.items()}, errors)
    report.say(choice.sentence())
    return choice


def short_config(config: TrainingConfig) -> TrainingConfig:
    """Return how a short run trains."""
    steps = short_steps(config.max_steps)
    return replace(config, max_steps=steps, check_every=max(1, steps // _CHECKS), patience=_PATIENCE)


class _Tried:
    """What short runs gave, each made once; with a record, also what an interrupted choice had finished.

    Attributes:
        config: How a short run trains.
        pieces: What each gave so far.
    """

    def __init__(
        self,
        run: Callable[[int, TrainingConfig], Pieces],
        config: TrainingConfig,
        record: Path | None,
        fingerprint: str,
    ) -> None:
        self._run, self.config, self._record, self._fingerprint = run, config, record, fingerprint
        self._done = _read_record(record, fingerprint)
        self.pieces: dict[int, Pieces] = {}

    def __call__(self, size: int) -> Pieces:
        if size not in self.pieces:
            done = self._done.get(size)
            self.pieces[size] = self._run(size, self.config) if done is None else done
            if self._record is not None:
                known = {str(each): found.tolist() for each, found in (self._done | self.pieces).items()}
                write_json(self._record, {"fingerprint": self._fingerprint, "pieces": known})
        return self.pieces[size]


def _mean(pieces: Pieces) -> float:
    return float(pieces[:, 0].sum() / pieces[:, 1].sum())


def _std_error(one: Pieces, other: Pieces) -> float:
    """Return the standard error of the difference of two mean losses (ratio estimator over pieces)."""
    n = len(one)
    if n < 2:
        return 0.0
    difference, targets = one[:, 0] - other[:, 0], one[:, 1]
    residuals = difference - targets * (difference.sum() / targets.sum())
    return float(np.sqrt(n / (n - 1) * (residuals**2).sum()) / targets.sum())


def _read_record(record: Path | None, fingerprint: str) -> dict[int, Pieces]:
    """Return the losses of finished short runs; nothing where there is no record, or one that does not fit."""
    if record is None:
        return {}
    try:
        found = read_json(record)
        if found["fingerprint"] != fingerprint:
            return {}
        return {int(width): np.array(own, dtype=np.float64).reshape(-1, 2) for width, own in found["pieces"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
