"""What an experiment is, how one is run, and the few steps that all of them share."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from sequela.density.base import Density
from sequela.discovery.discover import estimate
from sequela.effects.cmi import CMIEstimate
from sequela.effects.thresholds import EffectSize, Threshold
from sequela.evaluation.compare import bootstrap_f1
from sequela.evaluation.metrics import Bools, Scores, recall_by_lag, score_edges
from sequela.events.sequences import Case, SequenceSet
from sequela.files import check_writable_folder, whole_folder, write_json
from sequela.progress import Reporter, reporter
from sequela.worlds.base import World

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKER = "experiment.json"
DELTA = 0.05
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How large an experiment is run.

    Attributes:
        full: The sizes that claims rest on; otherwise those that take under two minutes on two cores.
        seeds: One repetition each.
        tell: What to tell.
        sizes: What was picked, by name; goes into the record.
    """

    full: bool
    seeds: tuple[int, ...]
    tell: Reporter
    sizes: dict[str, Any] = field(default_factory=dict)

    def pick(self, name: str, quick: Any, full: Any) -> Any:
        """Return one of two sizes, and keep it for the record."""
        self.sizes[name] = full if self.full else quick
        return self.sizes[name]


@dataclass(frozen=True)
class Experiment:
    """One question, asked of the program.

    Attributes:
        name: As in ``sequela experiment NAME``.
        question: What it asks, in one sentence.
        rows: Yields tidy rows; each repetition has its ``seed``.
        by: Columns that tell settings apart; the printed table is the mean of the others over seeds.
        show: Columns of the printed table.
        figure: Draws the rows.
        quick_seeds: Repetitions of a quick run, so that it stays under two minutes.
    """

    name: str
    question: str
    rows: Callable[[Plan], Iterator[Row]]
    by: tuple[str, ...]
    show: tuple[str, ...]
    figure: Callable[[pl.DataFrame], Figure]
    quick_seeds: int = 2

    def table(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return means over seeds of what is shown."""
        return frame.group_by(list(self.by), maintain_order=True).agg(
            *[pl.col(name).mean() for name in self.show], pl.len().alias("runs")
        )


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Attributes:
        frame: All rows.
        table: What is printed.
        folder: Where ``rows.csv``, ``figure.png`` and ``experiment.json`` are; None when nothing was saved.
        seconds: How long it took.
    """

    frame: pl.DataFrame
    table: pl.DataFrame
    folder: Path | None
    seconds: float


def run(
    experiment: Experiment,
    *,
    full: bool = False,
    seeds: Sequence[int] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | Reporter = True,
) -> Outcome:
    """Run an experiment.

    Args:
        experiment: Which.
        full: Sizes that claims rest on.
        seeds: Repetitions; 0 and 1 by default (0 alone where one takes long), 0 to 4 with `full`.
        out: Folder for the rows, the figure and the record.
        overwrite: Replace an earlier run there.
        progress: Show what is going on.

    Raises:
        ConfigError: `out` may not be written.
    """
    tell = reporter(progress)
    if out is not None:
        check_writable_folder(out, marker=MARKER, overwrite=overwrite)
    chosen = tuple(seeds) if seeds is not None else tuple(range(5 if full else experiment.quick_seeds))
    started = before = time.monotonic()
    rows, plan = [], Plan(full, chosen, tell)
    for row in experiment.rows(plan):
        now = time.monotonic()
        rows.append(row | {"row_seconds": now - before})  # what was shared by later rows counts for the first
        before = now
        tell.say(
            "  ".join(f"{k} {_short(v)}" for k, v in row.items() if k in (*experiment.by, *experiment.show, "seed"))
        )
    seconds = time.monotonic() - started
    frame = pl.DataFrame(rows, infer_schema_length=None)
    outcome = Outcome(frame, experiment.table(frame), None if out is None else Path(out), seconds)
    if out is not None:
        from sequela.reports.plots import save_figure

        with whole_folder(out, marker=MARKER, overwrite=overwrite) as folder:
            frame.write_csv(folder / "rows.csv")
            figure = experiment.figure(frame)
            save_figure(figure.axes[0], folder / "figure.png")
            write_json(folder / MARKER, _record(experiment, plan, seconds))
    return outcome


def _record(experiment: Experiment, plan: Plan, seconds: float) -> dict[str, Any]:
    import os

    import torch

    from sequela.version import __version__

    return {
        "experiment": experiment.name,
        "question": experiment.question,
        "size": "full" if plan.full else "quick",
        "sizes": plan.sizes,
        "seeds": list(plan.seeds),
        "seconds": round(seconds, 1),
        "versions": {
            "sequela": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "machine": {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "kind": platform.machine()},
    }


def _short(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def learn(world: World, n_cases: int, length: int | tuple[int, int], *, seed: int, **arguments: Any) -> Density:
    """Sample a log from a world and train a density on it, as a user would."""
    from sequela.density.training.fit import fit
    from sequela.events.log import read_log

    log = read_log(
        world.simulate(n_cases, length, seed=seed, with_truth=False).log, case="case", event="event", time="time"
    )
    # The worlds' truth is that of a density that knows no times.
    return fit(log, seed=seed, progress=False, **({"times": False} | arguments))


def translate(density: Density, world: World, case: Case) -> Case:
    """Return a case of a world in the ids of a density trained on its log."""
    if density is world:
        return case
    table, _ = density.vocabulary.encode(pl.Series(world.vocabulary.names, dtype=pl.String))
    return Case(case.name, table[case.ids].astype(np.int32), None)


def true_bands(world: World, cases: SequenceSet) -> list[Bools]:
    """Return the true edges of each case (bool, ``[L, horizon]``)."""
    return [np.nan_to_num(world.truth(case.ids)) > DELTA for case in cases]


def estimates(density: Density, world: World, cases: SequenceSet, **settings: Any) -> list[CMIEstimate]:
    """Estimate every case, at the world's horizon unless another is set."""
    settings = {"horizon": world.horizon} | settings
    return [estimate(density, translate(density, world, case), **settings) for case in cases]


def agreement(
    found: Sequence[CMIEstimate] | Sequence[Bools], true: Sequence[Bools], rule: Threshold | None = None
) -> Row:
    """Return precision, recall, F1 with its interval over cases, and recall by lag (``recall_lag_1`` …).

    Beside them what chance gives: ``random_f1`` of a random graph of the same size (expected), ``every_pair_f1`` of
    calling every pair an edge. Every pair of positions within the horizon counts, the first ones too.
    """
    cut = rule or EffectSize(DELTA)
    bands = [cut.edges(one) if isinstance(one, CMIEstimate) else one for one in found]
    width = true[0].shape[1]
    bands = [_widen(band, width) for band in bands]
    parts = [score_edges(band, real) for band, real in zip(bands, true, strict=True)]
    pooled = Scores.pooled(parts)
    low, high = bootstrap_f1(parts)
    row: Row = {"precision": pooled.precision, "recall": pooled.recall, "f1": pooled.f1, "f1_low": low, "f1_high": high}
    n_pairs = sum(max(len(band) - lag, 0) for band in true for lag in range(1, width + 1))
    row |= {"mean_f1": float(np.mean([part.f1 for part in parts]))}
    row |= {"n_true": pooled.n_true, "n_found": pooled.n_predicted, "n_pairs": n_pairs}
    row |= chance(pooled.n_true, pooled.n_predicted, n_pairs)
    lags = recall_by_lag(np.concatenate(bands), np.concatenate(true))
    if width <= 12:
        row |= {f"recall_lag_{k}": float(value) for k, value in enumerate(lags, start=1)}
    return row


def chance(n_true: int, n_found: int, n_pairs: int) -> Row:
    """Return the expected F1 of a random graph with as many edges, and that of calling every pair an edge.

    Example:
        >>> chance(10, 20, 100)
        {'random_f1': 0.13333333333333333, 'every_pair_f1': 0.18181818181818182}
    """
    by_chance = n_true * n_found / n_pairs if n_pairs else 0.0
    return {
        "random_f1": 2 * by_chance / max(n_true + n_found, 1),
        "every_pair_f1": 2 * n_true / max(n_true + n_pairs, 1),
    }


def _widen(band: Bools, width: int) -> Bools:
    """Cut or fill a band to the lags of the truth; edges beyond them are false and stay counted in the last column."""
    if band.shape[1] == width:
        return band
    result = np.zeros((len(band), width), dtype=np.bool_)
    shared = min(width, band.shape[1])
    result[:, :shared] = band[:, :shared]
    return result


def oracle_score(density: Density, world: World, cases: SequenceSet, entropy: float) -> float:
    """Return ``eps = (CE - H) / (log |X| - H)`` (`docs/method.md`, section 1).

    ``CE - H`` is the mean excess over the world's own log-probabilities of the same events: the same expectation, far
    less noise, and exactly 0 for the world itself.
    """
    own = np.concatenate(density.score_many([translate(density, world, case).ids for case in cases]))
    exact = np.concatenate(world.score_many([case.ids for case in cases]))
    return float((exact - own).mean()) / (float(np.log(world.vocabulary.n_types)) - entropy)


@dataclass
class Cost:
    """Time and memory of a block.

    Attributes:
        seconds: Wall time.
        peak_bytes: Highest resident memory above where it began.
    """

    seconds: float = 0.0
    peak_bytes: int = 0
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure a block: wall time, and resident memory sampled every few milliseconds."""
    import psutil

    process = psutil.Process()
    before = process.memory_info().rss
    cost = Cost()

    def watch() -> None:
        while not cost._stop.wait(0.005):
            cost.peak_bytes = max(cost.peak_bytes, process.memory_info().rss - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    started = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - started
        cost._stop.set()
        thread.join()


def lines(
    frame: pl.DataFrame,
    x: str,
    y: str | Sequence[str],
    *,
    by: str | None = None,
    log_x: bool = False,
    log_y: bool = False,
    title: str = "",
) -> Figure:
    """Draw means over seeds as lines, one for each value of ``by`` and each ``y``."""
    axes = new_axes()
    names = [y] if isinstance(y, str) else list(y)
    groups = frame.partition_by(by, as_dict=True, maintain_order=True).items() if by else [((None,), frame)]
    for (label,), part in groups:
        for name in names:
            mean = part.group_by(x).agg(pl.col(name).mean()).drop_nulls().sort(x)
            text = " ".join(str(t) for t in (label, name if len(names) > 1 or by is None else None) if t is not None)
            axes.plot(mean[x].to_list(), mean[name].to_list(), marker="o", markersize=4, label=text)
    if log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    axes.set_xlabel(x.replace("_", " "))
    axes.set_ylabel(names[0].replace("_", " ") if len(names) == 1 else "")
    axes.set_title(title, loc="left", fontsize=11)
    axes.legend(fontsize=8, frameon=False)
    return cast("Figure", axes.figure)


def bars(frame: pl.DataFrame, x: str, y: str, *, by: str, title: str = "") -> Figure:
    """Draw means over seeds as bars, grouped by ``x``, one colour for each value of ``by``."""
    axes = new_axes()
    places, labels = frame[x].unique(maintain_order=True).to_list(), frame[by].unique(maintain_order=True).to_list()
    width = 0.8 / len(labels)
    for i, label in enumerate(labels):
        means = [frame.filter((pl.col(x) == place) & (pl.col(by) == label))[y].mean() for place in places]
        heights = [float("nan") if mean is None else mean for mean in means]
        axes.bar([j + i * width for j in range(len(places))], heights, width, label=str(label))
    axes.set_xticks([j + 0.4 - width / 2 for j in range(len(places))], [str(place) for place in places], fontsize=8)
    if len(places) > 4:
        axes.tick_params(axis="x", rotation=30)
    axes.set_ylabel(y.replace("_", " "))
    axes.set_title(title, loc="left", fontsize=11)
    axes.legend(fontsize=7, frameon=False, ncols=2)
    return cast("Figure", axes.figure)


def new_axes() -> Any:
    """Return axes of a figure that no window shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(alpha=0.25)
    return axes
