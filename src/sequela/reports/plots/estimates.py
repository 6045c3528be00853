"""Pictures of strengths: over positions and lags, against support, by lag, by threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sequela.effects.cmi import CMIEstimate
from sequela.effects.thresholds import Edges, sweep
from sequela.errors import ConfigError
from sequela.graphs.instance import InstanceGraph
from sequela.graphs.population import PopulationGraph
from sequela.graphs.results import Discovery
from sequela.graphs.summary import SummaryGraph
from sequela.reports.plots.canvas import (
    INK,
    LESS_LIKELY,
    MORE_LIKELY,
    PALE,
    axes_or_new,
    legend,
    log_scale,
    name_text,
    set_title,
    sign_handles,
    tidy,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OUTLINE = "#ff9f1c"
_FLOOR = 1e-4
"""Nats below which a strength is drawn at this height of a log axis."""


def plot_cmi(
    estimate: CMIEstimate, *, graph: InstanceGraph | None = None, ax: Axes | None = None, max_events: int = 60
) -> Axes:
    """Draw the CMI of every pair of positions: causes along the sequence, lags upwards.

    Args:
        estimate: Of one sequence.
        graph: Its graph: names the positions and outlines the edges.
        ax: Where to draw.
        max_events: Only the first this many positions are drawn; the title says so.

    Returns:
        The axes. Hatched grey: not tested (beyond the end, or context). The colour scale rises with the square root.

    Raises:
        ConfigError: The graph is of another sequence.

    Example:
        >>> import sequela as sq
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> events = ["e0", "e1", "e2", "e1"]
        >>> ax = sq.plots.plot_cmi(sq.estimate(world, events), graph=sq.discover(world, events))
        >>> ax.get_xlabel()
        'cause (position and event)'
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm
    from matplotlib.patches import Patch, Rectangle

    length, horizon = estimate.cmi.shape
    if graph is not None and len(graph.events) != length:
        raise ConfigError(f"graph has {len(graph.events)} events, the estimate {length} positions: not one sequence")
    n_shown = min(length, max_events)
    axes = axes_or_new(ax, (max(6.0, 0.26 * n_shown + 2.5), 1.9 + 0.26 * horizon + (1.2 if graph else 0.0)))
    cmi = estimate.cmi[:n_shown]
    top = float(np.nanmax(cmi)) if np.isfinite(cmi).any() else 1.0
    norm = PowerNorm(0.5, vmin=0.0, vmax=top or 1.0)
    box = (-0.5, n_shown - 0.5, 0.5, horizon + 0.5)
    axes.add_patch(
        Rectangle((box[0], box[2]), n_shown, horizon, facecolor="#efefef", edgecolor=PALE, hatch="////", linewidth=0)
    )
    axes.imshow(
        np.ma.masked_invalid(cmi.T),
        origin="lower", extent=box, aspect="auto", cmap="viridis", norm=norm, interpolation="nearest", zorder=2,
    )  # fmt: skip
    key: list[Any] = [Patch(facecolor="#efefef", edgecolor=PALE, hatch="////", label="not tested")]
    if graph is not None:
        for cause, lag in graph.edges.select("cause_position", "lag").iter_rows():
            if cause < n_shown:
                axes.add_patch(
                    Rectangle((cause - 0.5, lag - 0.5), 1, 1, fill=False, edgecolor=_OUTLINE, linewidth=1.6, zorder=3)
                )
        key.append(Patch(fill=False, edgecolor=_OUTLINE, linewidth=1.6, label="edge"))
        names = [f"{name_text(event, 24)}  {i}" for i, event in enumerate(graph.events[:n_shown])]
        axes.set_xticks(range(n_shown), names, rotation=90, fontsize=7, parse_math=False)
    else:
        whole_ticks(axes, "x")
    cut = "" if n_shown == length else f", first {n_shown} of {length} positions"
    set_title(axes, f"Conditional mutual information{cut}")
    axes.set_xlabel("cause (position)" if graph is None else "cause (position and event)")
    axes.set_ylabel("lag of the effect (events)")
    axes.set_yticks(range(1, horizon + 1, max(1, horizon // 8)))
    axes.tick_params(length=2)
    figure: Any = axes.figure
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=axes, label="CMI (nats)", pad=0.01, fraction=0.05)
    legend(axes, key, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    return axes


def plot_strength(graph: SummaryGraph | PopulationGraph, *, ax: Axes | None = None, n_named: int = 8) -> Axes:
    """Draw the strength of each link between event types against how many cases support it.

    Args:
        graph: Summary or population graph. Of a population the pairs that are no links are drawn too (hollow), and
            the 95 % intervals of those that are.
        ax: Where to draw.
        n_named: The strongest this many links get a number, and their names in the key.

    Returns:
        The axes, both on a log scale; colour: more or less likely.

    Example:
        >>> import sequela as sq
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> graph = sq.discover(SoftmaxWorld.random(4, horizon=2, seed=0), ["e0", "e1", "e2", "e1"]).summary()
        >>> sq.plots.plot_strength(graph).get_ylabel()
        'mean CMI (nats)'
    """
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    support = "support_cases" if isinstance(graph, PopulationGraph) else "n_cases"
    axes = axes_or_new(ax, (9.0, 4.8))
    table = graph.edges.sort([pl.col("cmi_nats").round(9), "cause", "effect"], descending=[True, False, False])
    height = table["cmi_nats"].clip(_FLOOR).to_numpy()
    colours = [MORE_LIKELY if value >= 0 else LESS_LIKELY for value in table["pointwise_nats"]]
    more: list[Any] = []
    if isinstance(graph, PopulationGraph):
        rest = graph.pairs.filter(~pl.col("is_edge"))
        axes.scatter(rest[support], rest["cmi_nats"].clip(_FLOOR), s=14, facecolors="none", edgecolors=PALE, zorder=1)
        more.append(Line2D([], [], marker="o", ls="", mfc="none", mec=PALE, ms=4, label="not a link"))
        finite = table["cmi_high_nats"].is_finite().to_numpy()
        low, high = (table[f"cmi_{end}_nats"].clip(_FLOOR).to_numpy() for end in ("low", "high"))
        axes.vlines(table[support].to_numpy()[finite], low[finite], high[finite], color=PALE, linewidth=0.8, zorder=1)
        delta = graph.run.arguments.delta
        if delta:
            axes.axhline(delta, color=INK, linewidth=0.8, linestyle="--")
            more.append(Line2D([], [], color=INK, lw=0.8, ls="--", label=f"least effect of a link ({delta:g} nats)"))
    axes.scatter(table[support], height, s=22, c=colours, alpha=0.85, linewidths=0, zorder=2)
    keys = []
    halo = [withStroke(linewidth=2, foreground="white")]
    for number, row in enumerate(table.head(n_named).iter_rows(named=True), start=1):
        at = (row[support], max(row["cmi_nats"], _FLOOR))
        axes.annotate(
            str(number), at, xytext=(4, 3), textcoords="offset points", fontsize=8, color=INK, path_effects=halo
        )
        keys.append(f"{number}  {name_text(row['cause'], 22)} → {name_text(row['effect'], 22)}")
    every = graph.pairs if isinstance(graph, PopulationGraph) else graph.edges
    if every.height:
        counts, heights = every[support].to_numpy(), every["cmi_nats"].clip(_FLOOR).to_numpy()
        log_scale(axes, "x", float(counts.min()), float(counts.max()))
        log_scale(axes, "y", float(heights.min()), float(heights.max()))
    floor = f"; below {_FLOOR:g} drawn there" if (every["cmi_nats"] < _FLOOR).any() else ""
    tidy(axes, "How strong, and how often seen", "support (cases)", f"mean CMI (nats{floor})")
    blank: list[Any] = [Line2D([], [], ls="", label=key) for key in keys]
    legend(axes, [*sign_handles(*more), *blank], loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1.4)
    return axes


def plot_lags(found: InstanceGraph | Discovery | PopulationGraph, *, ax: Axes | None = None) -> Axes:
    """Draw how many edges have each lag, and how strong they are.

    Args:
        found: Edges with lags: of a case, of a log, or of a population (there the lag at which a link is strongest).
        ax: Where to draw.

    Returns:
        The axes of the counts; a second one, to the right, has the median strength.

    Example:
        >>> import sequela as sq
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> graph = sq.discover(SoftmaxWorld.random(4, horizon=2, seed=0), ["e0", "e1", "e2", "e1"])
        >>> sq.plots.plot_lags(graph).get_xlabel()
        'lag (events from cause to effect)'
    """
    table = (
        (found.scan() if isinstance(found, Discovery) else found.edges.lazy())
        .filter(pl.col("lag").is_not_null())
        .group_by("lag")
        .agg(
            (pl.col("pointwise_nats") >= 0).sum().cast(pl.Int64).alias("likelier"),
            (pl.col("pointwise_nats") < 0).sum().cast(pl.Int64).alias("rarer"),
            pl.col("cmi_nats").median().alias("median"),
        )
        .sort("lag")
        .collect()
    )
    axes = axes_or_new(ax, (6.8, 3.8))
    lag, likelier, rarer = (table[name].to_numpy() for name in ("lag", "likelier", "rarer"))
    axes.bar(lag, likelier, color=MORE_LIKELY, width=0.7)
    axes.bar(lag, rarer, bottom=likelier, color=LESS_LIKELY, width=0.7)
    kind = "links" if isinstance(found, PopulationGraph) else "edges"
    tidy(axes, "From cause to effect", "lag (events from cause to effect)", kind)
    whole_ticks(axes, "x", "y")
    right = axes.twinx()
    (line,) = right.plot(
        lag, table["median"], color=INK, marker="o", ms=6, mec="white", lw=1.2, label="median strength"
    )
    right.set_ylabel("median CMI (nats)")
    right.set_ylim(0, 1.1 * float(table["median"].max() or 1.0))  # type: ignore[arg-type]
    right.spines["top"].set_visible(False)
    legend(axes, sign_handles(line), ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return axes


def plot_thresholds(
    estimates: CMIEstimate | Sequence[CMIEstimate],
    *,
    labels: Sequence[Edges] | None = None,
    tau: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how many edges each fixed threshold leaves and, with labels, how right they are.

    Args:
        estimates: Of one sequence, or of several.
        labels: True edges of each (bool, ``[L, m]``, the shape of its estimate).
        tau: A threshold to mark, in nats.
        ax: Where to draw.

    Returns:
        The axes of the counts; with labels a second one, to the right, has precision, recall and F1.

    Raises:
        ConfigError: Shapes differ.

    Example:
        >>> import sequela as sq
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> estimate = sq.estimate(SoftmaxWorld.random(4, horizon=2, seed=0), ["e0", "e1", "e2", "e1"])
        >>> sq.plots.plot_thresholds(estimate, tau=0.05).get_xlabel()
        'threshold on the CMI (nats)'
    """
    given = [estimates] if isinstance(estimates, CMIEstimate) else list(estimates)
    table = sweep(given, labels)
    axes = axes_or_new(ax, (6.8, 4.0))
    lines = axes.plot(table["tau_nats"], table["n_edges"], color=INK, lw=1.8, drawstyle="steps-post", label="edges")
    log_scale(axes, "x", float(table["tau_nats"][0]), float(table["tau_nats"][-1]))
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set_ylim(bottom=0)
    tidy(axes, "What a threshold leaves", "threshold on the CMI (nats)", "edges")
    if tau is not None:
        lines.append(axes.axvline(tau, color=PALE, lw=1, ls="--", label=f"threshold {tau:g} nats"))
    if labels is not None:
        right = axes.twinx()
        shown = {"precision": MORE_LIKELY, "recall": LESS_LIKELY, "f1": "#7a5195"}
        for name, colour in shown.items():
            title = "F1" if name == "f1" else name
            lines += right.plot(table["tau_nats"], table[name], color=colour, lw=1.4, label=title)
        right.set_ylabel("precision, recall, F1")
        right.set_ylim(0, 1.02)
        right.spines["top"].set_visible(False)
    legend(axes, lines, ncols=len(lines), loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return axes
