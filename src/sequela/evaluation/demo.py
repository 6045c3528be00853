"""The demonstration: a log from a world whose truth is known, taken through the whole path and scored."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from sequela.density.checkpoint import save_density
from sequela.density.training.fit import fit
from sequela.discovery.discover import discover, discover_log
from sequela.errors import MissingExtraError
from sequela.evaluation.baselines import adjacent_pairs, adjacent_pairs_pmi
from sequela.evaluation.metrics import Scores, score_edges
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet
from sequela.files import check_writable_folder, whole_folder, write_json
from sequela.graphs.summary import SummaryGraph, summarise
from sequela.progress import Reporter, reporter
from sequela.reports.page import report
from sequela.worlds.softmax import SoftmaxWorld

MARKER = "demo.json"
DELTA = 0.05
_N_CASES, _N_SCORED = 1500, 100
_LENGTHS = (20, 60)
_PARTS = ("pump", "valve", "sensor", "motor", "fan", "bus")
_FAULTS = ("drift", "stall", "reset", "overheat")


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration found.

    Attributes:
        folder: Where its files are.
        summary: Links over all scored cases.
        true_links: The same summary of the world's exact truth.
        scores: Agreement with the exact truth, edge by edge, of each method.
        seconds: Time of each stage.
    """

    folder: Path
    summary: SummaryGraph
    true_links: SummaryGraph
    scores: dict[str, Scores]
    seconds: dict[str, float]


def demo_world(seed: int = 0) -> SoftmaxWorld:
    """Return the world: 24 fault codes, causes up to 4 events back that fade slowly.

    Example:
        >>> demo_world().vocabulary.n_types
        24
    """
    names = [f"{part}.{fault}" for part in _PARTS for fault in _FAULTS]
    return SoftmaxWorld.random(len(names), horizon=4, decay=0.2, sparsity=0.9, weight_scale=3.0, seed=seed, names=names)


def run_demo(out: str | Path, *, seed: int = 0, overwrite: bool = True, progress: bool | Reporter = True) -> DemoResult:
    """Simulate a log, fit, discover, score against the exact truth, and draw.

    The cases that are scored are simulated apart and were never seen in training.

    Args:
        out: Folder for ``log.csv``, ``new-cases.csv``, ``model/``, ``edges.parquet``, two pictures, ``report.html`` and
            ``demo.json``.
        seed: Of the world, the log and the training.
        overwrite: Replace an earlier demonstration there.
        progress: Show what is going on.
    """
    tell = reporter(progress)
    check_writable_folder(out, marker=MARKER, overwrite=overwrite)
    clock = _Clock()
    world = demo_world(seed)
    past = world.sample(_N_CASES, _LENGTHS, seed=seed + 1)
    new = world.sample(_N_SCORED, _LENGTHS, seed=seed + 2)
    with whole_folder(out, marker=MARKER, overwrite=overwrite) as folder:
        world.to_log(past, seed=seed + 1).write_csv(folder / "log.csv")
        world.to_log(new, seed=seed + 2).write_csv(folder / "new-cases.csv")
        clock.stop("simulate")
        density = fit(read_log(folder / "log.csv"), seed=seed, progress=tell)
        save_density(density, folder / "model")
        clock.stop("fit")
        new_log = read_log(folder / "new-cases.csv")
        found = discover_log(density, new_log, seed=seed, delta=DELTA, progress=tell)
        found.edges.write_parquet(folder / "edges.parquet")
        clock.stop("discover")
        scores, truth = _score(world, past, new, found.edges)
        summary = found.summary()
        try:
            from sequela.reports.plots import plot_instance, plot_summary, save_figure
        except MissingExtraError as error:
            tell.say(f"no pictures beside the page: {error}")
        else:
            graph = discover(density, new_log.case(str(new.case_names[0])), seed=seed, delta=DELTA)
            save_figure(plot_instance(graph, max_events=40), folder / "instance.png")
            save_figure(plot_summary(summary), folder / "summary.png")
        report(found, folder / "report.html", title="The demo's new cases")
        clock.stop("score and draw")
        record = {
            "seed": seed,
            "delta": DELTA,
            "scores": {name: score.__dict__ for name, score in scores.items()},
            "density": density.info["report"],
            "run": found.run.to_dict(),
            "seconds": clock.seconds,
        }
        write_json(folder / MARKER, record)
    return DemoResult(Path(out), summary, truth, scores, clock.seconds)


def _score(
    world: SoftmaxWorld, past: SequenceSet, new: SequenceSet, edges: pl.DataFrame
) -> tuple[dict[str, Scores], SummaryGraph]:
    horizon = world.memory
    parts: dict[str, list[Scores]] = {"sequela": [], "adjacent pairs": [], "adjacent pairs, PMI > 0": []}
    by_case = edges.partition_by("case", as_dict=True)
    truths = []
    width = max(horizon, int(edges["lag"].max() or 1) if edges.height else 1)  # type: ignore[arg-type]
    for case in new:
        cmi = np.full((len(case.ids), width), np.nan)
        cmi[:, :horizon] = world.truth(case.ids)
        true = np.nan_to_num(cmi) > DELTA
        own = by_case.get((case.name,))
        predicted = np.zeros_like(true)
        if own is not None:
            predicted[own["cause_position"].to_numpy(), own["lag"].to_numpy() - 1] = True
        rivals = (
            predicted,
            adjacent_pairs(case.ids, width),
            adjacent_pairs_pmi(past, case.ids, width, world.vocabulary.n_types),
        )
        for name, guess in zip(parts, rivals, strict=True):
            parts[name].append(score_edges(guess, true))
        truths.append(_true_edges(world, case.ids, cmi, true).with_columns(pl.lit(case.name).alias("case")))
    counts = np.bincount(new.ids, minlength=world.vocabulary.n_types)
    nodes = pl.DataFrame({"event": world.vocabulary.names, "count": counts.astype(np.int64)})

    return {name: Scores.pooled(values) for name, values in parts.items()}, summarise(pl.concat(truths), nodes)


def _true_edges(
    world: SoftmaxWorld,
    ids: np.ndarray[tuple[int], np.dtype[np.int32]],
    cmi: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    true: np.ndarray[tuple[int, int], np.dtype[np.bool_]],
) -> pl.DataFrame:
    cause, column = np.nonzero(true)
    names = np.array(world.vocabulary.names)
    return pl.DataFrame(
        {
            "cause": names[ids[cause]].tolist(),
            "effect": names[ids[cause + column + 1]].tolist(),
            "lag": (column + 1).astype(np.int64),
            "cmi_nats": cmi[cause, column],
            "pointwise_nats": np.zeros(len(cause)),
        },
        schema_overrides={"cause": pl.String, "effect": pl.String},
    )


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def stop(self, stage: str) -> None:
        now = time.monotonic()
        self.seconds[stage] = round(now - self._last, 2)
        self._last = now
