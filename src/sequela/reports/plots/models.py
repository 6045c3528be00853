"""Pictures of the density: how its training went, and whether its probabilities can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sequela.density.base import Density
from sequela.density.quality.report import calibration
from sequela.density.training.crossfit import held_out_cases
from sequela.errors import ConfigError, check_choice
from sequela.events.log import EventLog
from sequela.events.sequences import SequenceSet
from sequela.reports.plots.canvas import INK, LESS_LIKELY, MORE_LIKELY, PALE, axes_or_new, log_scale, tidy, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_training(density: Density, *, ax: Axes | None = None) -> Axes:
    """Draw the losses of a training, the step whose weights were kept, and the best n-gram reference.

    Args:
        density: One that `fit` made, or loaded.
        ax: Where to draw.

    Returns:
        The axes. The training loss is over events with a part of their past hidden, the validation loss is not, so
        that the second may lie below the first.

    Raises:
        ConfigError: The density was not trained by `fit`.

    Example:
        >>> import polars as pl
        >>> import sequela as sq
        >>> log = sq.read_log(pl.DataFrame({"case": [i // 4 for i in range(80)], "event": list("abac") * 20}))
        >>> density = sq.fit(log, max_steps=20, progress=False)
        >>> sq.plots.plot_training(density).get_ylabel()
        'loss (nats per event)'
    """
    history = density.info.get("history")
    if not history:
        raise ConfigError("this density has no training history: it was not trained by fit")
    steps, training, validation = zip(*history, strict=True)
    axes = axes_or_new(ax, (9.0, 4.0))
    hide = density.info["arguments"].get("hide", 0)
    hidden = f" (up to {hide:.0%} of the past hidden)" if hide else ""
    axes.plot(steps, training, color=PALE, lw=1.4, label=f"training{hidden}")
    axes.plot(steps, validation, color=MORE_LIKELY, lw=1.8, label="validation")
    best = density.info["training"]
    axes.plot(
        [best["best_step"]],
        [best["validation_loss"]],
        "o",
        ms=6,
        color=MORE_LIKELY,
        label=f"kept: step {best['best_step']:,}",
    )
    report = density.info.get("report")
    if report is not None:
        names = ("unigram", "bigram", "trigram")
        name = min(names, key=lambda each: report[each])
        axes.axhline(report[name], color=LESS_LIKELY, lw=1, ls="--", label=f"best reference, held-out cases ({name})")
        axes.axhline(report["cross_entropy"], color=INK, lw=1, ls=":", label="this density, held-out cases")
    tidy(axes, "Training", "training step", "loss (nats per event)")
    whole_ticks(axes, "x")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return axes


def plot_calibration(
    density: Density, log: EventLog, *, cases: str = "held-out", max_events: int = 20_000, ax: Axes | None = None
) -> Axes:
    """Draw predicted probabilities against how often the predicted event came true.

    Args:
        density: The density.
        log: Event log.
        cases: ``"held-out"``: only the cases that `fit` kept out of training, known by their name; ``"all"``: every
            case, for a log that the density has not seen.
        max_events: Only the first cases with at most this many events are used; the title says how many.
        ax: Where to draw.

    Returns:
        The axes, both on a log scale: on the diagonal the density is right. Bars: 95 % intervals (cases are taken as
        independent). A triangle stands at the lower edge where nothing came true.

    Raises:
        ConfigError: No case is held out.

    Example:
        >>> import sequela as sq
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> log = sq.read_log(world.to_log(world.sample(20, 10, seed=1)))
        >>> sq.plots.plot_calibration(world, log).get_xlabel()
        'predicted probability of an event type'
    """
    check_choice("cases", cases, ("held-out", "all"))
    chosen = log if cases == "all" else held_out_cases(density, log)
    sequences = SequenceSet.from_log(chosen, density.vocabulary)
    n_used = max(1, int((sequences.offsets[1:] <= max_events).sum()))
    table = calibration(density, sequences.take(range(n_used)))
    axes = axes_or_new(ax, (5.4, 5.0))
    seen = table.filter(pl.col("observed") > 0)
    floor = 0.5 * min(float(seen["observed"].min() or 1.0), float(table["predicted"].min() or 1.0))  # type: ignore[arg-type]
    axes.plot([floor, 1], [floor, 1], color=PALE, lw=1, ls="--", label="perfectly calibrated")
    x, y = seen["predicted"].to_numpy(), seen["observed"].to_numpy()
    reach = 1.96 * seen["std_error"].to_numpy()
    finite = reach < float("inf")
    axes.vlines(x[finite], (y - reach)[finite].clip(floor), (y + reach)[finite].clip(max=1), color=MORE_LIKELY, lw=1)
    axes.plot(x, y, "o", ms=5, color=MORE_LIKELY, label="this density, 95 % interval")
    never = table.filter(pl.col("observed") == 0)
    if never.height:
        axes.plot(never["predicted"], [floor] * never.height, "v", ms=5, color=LESS_LIKELY, label="never came true")
    log_scale(axes, "x", floor, 1.0)
    log_scale(axes, "y", floor, 1.0)
    axes.set_aspect("equal")
    kind = "cases" if cases == "all" else "held-out cases"
    tidy(
        axes,
        f"Calibration, {n_used:,} {kind}",
        "predicted probability of an event type",
        "share of events that were of that type",
    )
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    return axes
