"""Pictures of graphs with matplotlib. Functions draw into ``ax`` (or a new one), return it, and never show it."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from sequela.causal.graphs import InstanceGraph, SummaryGraph
from sequela.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MORE_LIKELY = "#1f6f8b"
"""Colour of a cause that makes its effect more likely."""
LESS_LIKELY = "#c8553d"
"""Colour of a cause that makes its effect less likely."""
_INK = "#333333"


def plot_instance(graph: InstanceGraph, *, ax: Axes | None = None, max_events: int = 60) -> Axes:
    """Draw one sequence as a line of events with an arc from each cause to its effect.

    Args:
        graph: Instance graph.
        ax: Where to draw.
        max_events: Only the first this many events are drawn; the title says so.

    Returns:
        The axes. Width of an arc: its CMI; colour: more likely (blue) or less likely (red).
    """
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    n_shown = min(len(graph.events), max_events)
    axes = _axes(ax, (max(6.0, 0.34 * n_shown), 3.6))
    axes.scatter(range(n_shown), [0] * n_shown, s=28, color=_INK, zorder=3)
    shown = [row for row in graph.edges.iter_rows(named=True) if row["effect_position"] < n_shown]
    strongest = max((row["cmi_nats"] for row in shown), default=1.0)
    longest = max((row["lag"] for row in shown), default=1)
    for row in shown:
        start, end = row["cause_position"], row["effect_position"]
        height = 2 * math.sqrt(row["lag"] / longest)  # of the control point: the arc reaches half of it
        curve = Path([(start, 0.05), ((start + end) / 2, height), (end, 0.05)], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
        axes.add_patch(
            FancyArrowPatch(
                path=curve,
                arrowstyle="-|>,head_length=0.5,head_width=0.25",
                mutation_scale=10,
                linewidth=0.6 + 2.4 * row["cmi_nats"] / strongest,
                color=MORE_LIKELY if row["pointwise_nats"] >= 0 else LESS_LIKELY,
                alpha=0.75,
            )
        )
    axes.set_xticks(range(n_shown), graph.events[:n_shown], rotation=90, fontsize=8, parse_math=False)
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.set_xlim(-0.8, n_shown - 0.2)
    axes.set_ylim(-0.12, 1.25)
    for side in ("top", "left", "right", "bottom"):
        axes.spines[side].set_visible(False)
    cut = "" if n_shown == len(graph.events) else f", first {n_shown} of {len(graph.events)} events"
    axes.set_title(f"Case {graph.case}: what caused what{cut}", loc="left", fontsize=11)
    _legend(axes)
    return axes


def plot_summary(graph: SummaryGraph, *, ax: Axes | None = None, max_edges: int = 60) -> Axes:
    """Draw the graph over event types on a circle.

    Args:
        graph: Summary graph.
        ax: Where to draw.
        max_edges: Only the strongest this many edges are drawn; the title says so.

    Returns:
        The axes. Size of a node: its count; width of an edge: its total CMI; colour: more or less likely.
    """
    from matplotlib.patches import FancyArrowPatch

    axes = _axes(ax, (8.5, 8.0))
    edges = list(graph.edges.head(max_edges).iter_rows(named=True))
    used = {row["cause"] for row in edges} | {row["effect"] for row in edges}
    nodes = [row for row in graph.nodes.sort("event").iter_rows(named=True) if row["event"] in used]
    angle = {row["event"]: 2 * math.pi * i / max(1, len(nodes)) for i, row in enumerate(nodes)}
    place = {event: (math.sin(a), math.cos(a)) for event, a in angle.items()}
    most = max((row["count"] for row in nodes), default=1)
    strongest = max((row["cmi_nats_total"] for row in edges), default=1.0)
    for row in edges:
        if row["cause"] == row["effect"]:
            continue
        axes.add_patch(
            FancyArrowPatch(
                place[row["cause"]],
                place[row["effect"]],
                connectionstyle="arc3,rad=0.14",
                arrowstyle="-|>",
                mutation_scale=11,
                shrinkA=9,
                shrinkB=10,
                linewidth=0.6 + 3.4 * math.sqrt(row["cmi_nats_total"] / strongest),
                color=MORE_LIKELY if row["pointwise_nats"] >= 0 else LESS_LIKELY,
                alpha=0.7,
            )
        )
    for row in nodes:
        x, y = place[row["event"]]
        axes.scatter([x], [y], s=40 + 260 * row["count"] / most, color=_INK, zorder=3)
        degrees = math.degrees(math.pi / 2 - angle[row["event"]])
        turned = degrees % 360
        flip = 90 < turned < 270
        axes.text(
            1.09 * x,
            1.09 * y,
            row["event"],
            rotation=degrees + 180 if flip else degrees,
            rotation_mode="anchor",
            ha="right" if flip else "left",
            va="center",
            fontsize=9,
            parse_math=False,
        )
    reach = 1.15 + 0.045 * max((len(row["event"]) for row in nodes), default=0)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.axis("off")
    cut = "" if len(edges) == len(graph) else f" (the {len(edges)} strongest of {len(graph)} links)"
    axes.set_title(f"What causes what{cut}", loc="left", fontsize=11)
    _legend(axes)
    return axes


def save_figure(axes: Axes, path: str | os.PathLike[str], *, dpi: int = 150) -> None:
    """Write the figure of some axes as PNG, whole or not at all, and let it go."""
    figure: Any = axes.figure
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=dpi, bbox_inches="tight", format="png", facecolor="white")


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    if ax is not None:
        return ax
    # A figure of its own, outside pyplot: nothing global is kept, no window can open.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def _legend(axes: Axes) -> None:
    from matplotlib.lines import Line2D

    axes.legend(
        handles=[
            Line2D([], [], color=MORE_LIKELY, lw=2, label="makes it more likely"),
            Line2D([], [], color=LESS_LIKELY, lw=2, label="makes it less likely"),
        ],
        loc="upper right",
        fontsize=8,
        frameon=False,
    )
