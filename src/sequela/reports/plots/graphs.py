"""Pictures of graphs: the arcs of one case, and the circle of event types."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sequela.graphs.instance import InstanceGraph
from sequela.graphs.population import PopulationGraph
from sequela.graphs.summary import SummaryGraph
from sequela.reports.plots.canvas import INK, axes_or_new, legend, name_text, set_title, sign_colour, sign_handles

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_instance(graph: InstanceGraph, *, ax: Axes | None = None, max_events: int = 60) -> Axes:
    """Draw one sequence as a line of events with an arc from each cause to its effect.

    Args:
        graph: Instance graph.
        ax: Where to draw.
        max_events: Only the first this many events are drawn; the title says so.

    Returns:
        The axes. Width of an arc: its CMI; colour: more likely (blue) or less likely (red); no arrow head where the
        direction is not known.
    """
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    n_shown = min(len(graph.events), max_events)
    names = [name_text(event) for event in graph.events[:n_shown]]
    axes = axes_or_new(ax, (max(6.0, 0.34 * n_shown), 2.8 + 0.07 * max(map(len, names), default=0)))
    axes.scatter(range(n_shown), [0] * n_shown, s=28, color=INK, zorder=3)
    shown = [row for row in graph.edges.iter_rows(named=True) if row["effect_position"] < n_shown]
    strongest = max((row["cmi_nats"] for row in shown), default=1.0) or 1.0
    longest = max((row["lag"] for row in shown), default=1)
    for row in shown:
        start, end = row["cause_position"], row["effect_position"]
        height = 2 * math.sqrt(row["lag"] / longest)  # of the control point: the arc reaches half of it
        curve = Path([(start, 0.05), ((start + end) / 2, height), (end, 0.05)], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
        axes.add_patch(
            FancyArrowPatch(
                path=curve,
                arrowstyle="-" if row.get("directed") is False else "-|>,head_length=0.5,head_width=0.25",
                mutation_scale=10,
                linewidth=0.6 + 2.4 * row["cmi_nats"] / strongest,
                color=sign_colour(row["pointwise_nats"]),
                alpha=0.75,
            )
        )
    axes.set_xticks(range(n_shown), names, rotation=90, fontsize=8, parse_math=False)
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.set_xlim(-0.8, n_shown - 0.2)
    axes.set_ylim(-0.12, 1.25)
    for side in ("top", "left", "right", "bottom"):
        axes.spines[side].set_visible(False)
    cut = "" if n_shown == len(graph.events) else f", first {n_shown} of {len(graph.events)} events"
    set_title(axes, f"Case {name_text(graph.case)}: what caused what{cut}")
    legend(axes, sign_handles(), loc="upper right")
    return axes


def plot_summary(graph: SummaryGraph | PopulationGraph, *, ax: Axes | None = None, max_edges: int = 60) -> Axes:
    """Draw the graph over event types on a circle.

    Args:
        graph: Summary or population graph.
        ax: Where to draw.
        max_edges: Only the strongest this many edges are drawn; the title says so.

    Returns:
        The axes. Size of a node: its count; width of an edge: its strength (total CMI of a summary, mean CMI of a
        population); colour: more or less likely.
    """
    from matplotlib.patches import FancyArrowPatch

    axes = axes_or_new(ax, (8.5, 8.0))
    table = graph.edges.head(max_edges)
    strength = "cmi_nats_total" if "cmi_nats_total" in table.columns else "cmi_nats"
    edges = list(table.iter_rows(named=True))
    used = {row["cause"] for row in edges} | {row["effect"] for row in edges}
    nodes = [row for row in graph.nodes.sort("event").iter_rows(named=True) if row["event"] in used]
    angle = {row["event"]: 2 * math.pi * i / max(1, len(nodes)) for i, row in enumerate(nodes)}
    place = {event: (math.sin(a), math.cos(a)) for event, a in angle.items()}
    pairs = {(row["cause"], row["effect"]) for row in edges}
    most = max((row["count"] for row in nodes), default=1)
    strongest = max((row[strength] for row in edges), default=1.0) or 1.0
    for row in edges:
        if row["cause"] == row["effect"]:
            continue
        both = (row["effect"], row["cause"]) in pairs and row["cause"] > row["effect"]
        axes.add_patch(
            FancyArrowPatch(
                place[row["cause"]],
                place[row["effect"]],
                connectionstyle=f"arc3,rad={_bend(place[row['cause']], place[row['effect']], both)}",
                arrowstyle="-|>",
                mutation_scale=11,
                shrinkA=9,
                shrinkB=10,
                linewidth=0.6 + 3.4 * math.sqrt(row[strength] / strongest),
                color=sign_colour(row["pointwise_nats"]),
                alpha=0.7,
            )
        )
    # So far out that the longest name fits: about 0.065 inches a character.
    longest = max((len(name_text(row["event"])) for row in nodes), default=0)
    width = min(1.0, 1.2 * axes.get_position().width) * axes.figure.bbox.width / axes.figure.dpi
    reach = 1.12 / max(0.25, 1 - 0.13 * longest / width)
    for row in nodes:
        x, y = place[row["event"]]
        axes.scatter([x], [y], s=40 + 260 * row["count"] / most, color=INK, zorder=3)
        degrees = math.degrees(math.pi / 2 - angle[row["event"]])
        turned = degrees % 360
        flip = 90 < turned < 270
        axes.text(
            (1 + 0.055 * reach) * x,
            (1 + 0.055 * reach) * y,
            name_text(row["event"]),
            rotation=degrees + 180 if flip else degrees,
            rotation_mode="anchor",
            ha="right" if flip else "left",
            va="center",
            fontsize=9,
            parse_math=False,
        )
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.axis("off")
    cut = "" if len(edges) == len(graph) else f" (the {len(edges)} strongest of {len(graph)} links)"
    set_title(axes, f"What causes what{cut}")
    legend(axes, sign_handles(), loc="upper right")
    return axes


def _bend(start: tuple[float, float], end: tuple[float, float], second: bool) -> float:
    """Return how an arc bends: towards the centre, past the nodes between; the way back of a pair less."""
    (x0, y0), (x1, y1) = start, end
    inwards = (x0 + x1) * (y1 - y0) - (y0 + y1) * (x1 - x0)  # of the side that a positive number bends to
    size = 0.06 if second else 0.24
    return -size if inwards > 0 else size
