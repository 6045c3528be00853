"""Pictures with matplotlib. Each function draws into ``ax`` (or a figure of its own), returns it, and never shows it.

Nothing global is touched: no pyplot, no window, no style. In a notebook, end the cell with ``ax.figure`` after
``%matplotlib inline``, or pass ``ax=`` of a figure that pyplot made.
"""

from sequela.reports.plots.canvas import LESS_LIKELY, MORE_LIKELY, save_figure
from sequela.reports.plots.estimates import plot_cmi, plot_lags, plot_strength, plot_thresholds
from sequela.reports.plots.graphs import plot_instance, plot_summary
from sequela.reports.plots.models import plot_calibration, plot_training

__all__ = [
    "LESS_LIKELY",
    "MORE_LIKELY",
    "plot_calibration",
    "plot_cmi",
    "plot_instance",
    "plot_lags",
    "plot_strength",
    "plot_summary",
    "plot_thresholds",
    "plot_training",
    "save_figure",
]
