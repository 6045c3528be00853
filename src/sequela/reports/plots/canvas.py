"""What all plots share: a figure of their own, colours, names as text, legends, files."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sequela.errors import MissingExtraError
from sequela.files import whole_file
from sequela.text import visible

if find_spec("matplotlib") is None:
    raise MissingExtraError("a plot", "plots")

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MORE_LIKELY = "#1f6f8b"
"""Colour of a cause that makes its effect more likely."""
LESS_LIKELY = "#c8553d"
"""Colour of a cause that makes its effect less likely."""
INK = "#333333"
PALE = "#b9b9b9"
_LONGEST_NAME = 32


def axes_or_new(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return ``ax``, or the axes of a new figure of ``size`` inches."""
    if ax is not None:
        return ax
    # A figure of its own, outside pyplot: nothing global is kept, no window can open.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def name_text(name: str, longest: int = _LONGEST_NAME) -> str:
    """Return an event or case name as one short line; draw it with ``parse_math=False``."""
    return visible(name, longest=longest)


def sign_colour(pointwise_nats: float) -> str:
    """Return the colour of an edge by its sign."""
    return MORE_LIKELY if pointwise_nats >= 0 else LESS_LIKELY


def tidy(axes: Axes, title: str, x: str, y: str) -> None:
    """Set title and labels, drop the frame's upper and right side, and draw a quiet grid."""
    set_title(axes, title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)


def set_title(axes: Axes, title: str) -> None:
    """Set the title at the left, as plain text."""
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)


def whole_ticks(axes: Axes, *which: str) -> None:
    """Let the ticks of an axis of counts or positions (``"x"``, ``"y"``) be whole numbers."""
    from matplotlib.ticker import MaxNLocator

    for name in which:
        (axes.xaxis if name == "x" else axes.yaxis).set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def log_scale(axes: Axes, which: str, low: float, high: float) -> None:
    """Make an axis logarithmic from ``low`` to ``high`` (above 0), with plain numbers at readable steps."""
    from matplotlib.ticker import LogLocator, NullFormatter

    decades = math.log10(high / low)
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
    pad = 10 ** (0.06 * max(decades, 0.3))
    (axes.set_xlim if which == "x" else axes.set_ylim)(low / pad, high * pad)


def sign_handles(*more: Any) -> list[Any]:
    """Return what explains the two colours in a legend, and whatever else is drawn."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=MORE_LIKELY, lw=2, label="makes it more likely"),
        Line2D([], [], color=LESS_LIKELY, lw=2, label="makes it less likely"),
        *more,
    ]


def legend(axes: Axes, handles: Sequence[Any], **where: Any) -> None:
    """Draw a legend whose labels are plain text."""
    drawn = axes.legend(handles=handles, fontsize=8, frameon=False, **where)
    for text in drawn.get_texts():
        text.set_parse_math(False)


def save_figure(axes: Axes, path: str | os.PathLike[str], *, dpi: int = 150) -> None:
    """Write the figure of some axes as PNG, whole or not at all, and let it go."""
    figure: Any = axes.figure
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=dpi, bbox_inches="tight", format="png", facecolor="white")
