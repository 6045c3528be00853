"""The verb ``fit_outcomes``: labels of cases on top of a frozen density."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sequela.arguments import PATH, Argument, Kind, Number, public
from sequela.density.base import Density, Floats
from sequela.density.outcomes.base import OutcomeHead
from sequela.density.outcomes.model import MARKER, LabelReport, OutcomeModel
from sequela.density.outcomes.network import calibrate, train_network
from sequela.density.training.arguments import FIT
from sequela.errors import ConfigError
from sequela.events.log import EventLog
from sequela.events.outcome_rows import OutcomeRows, outcome_rows
from sequela.events.sequences import SequenceSet, case_hash
from sequela.events.split import Split
from sequela.files import check_writable_folder
from sequela.progress import Reporter, reporter

LEAST_CASES = 10
"""A label in fewer cases is left out."""
_LEAST_HELD_OUT = 50

FIT_OUTCOMES = {
    "density": Argument("A trained density, or a world.", Kind("a density", has=("vocabulary", "conditional"))),
    "log": Argument("Event log with outcomes (`read_log` with ``outcome`` or ``outcomes``).", FIT["log"].check),
    "out": Argument("Folder to save the model to.", PATH, None),
    "overwrite": FIT["overwrite"],
    "max_steps": Argument("Steps of training at most.", Number(1, whole=True), 600),
    "seed": FIT["seed"],
    "progress": FIT["progress"],
}  # fmt: skip
"""The arguments of `fit_outcomes`, by name."""


@public(FIT_OUTCOMES)
def fit_outcomes(
    density: Density,
    log: EventLog,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    max_steps: int = 600,
    seed: int = 0,
    progress: bool | Reporter = True,
) -> OutcomeModel:
    """Train a model of the outcomes of cases: one small network for all labels, on how often each event type came.

    Cases that the density has not seen are kept apart: half of them calibrate the probabilities, half judge them,
    beside the mere frequency of each label and a logistic regression on the same counts (scikit-learn, extra
    ``outcomes``).
    Where the density has seen all of the cases or nearly none, a fifth of the cases is kept apart.

    Returns:
        The model; its `report` says whether to trust it.

    Raises:
        ConfigError: The log has no outcomes, or no label is in enough cases.
        DensityError: Training failed.

    Example:
        >>> from sequela import read_log
        >>> from sequela.worlds.outcomes import OutcomeWorld
        >>> world = OutcomeWorld.random(seed=0)
        >>> events, table = world.simulate(300, 12, seed=1)
        >>> model = fit_outcomes(world.density, read_log(events, outcomes=table), max_steps=100, progress=False)
        >>> model.labels
        ('and', 'k-of-n', 'or', 'single')
    """
    if log.outcomes is None:
        raise ConfigError(
            "the log has no outcomes: read it with  read_log(…, outcome=COLUMN)  or  read_log(…, outcomes=TABLE)"
        )
    if out is not None:
        check_writable_folder(out, marker=MARKER, overwrite=overwrite)
    tell = reporter(progress)
    counts = dict(log.outcomes["label"].value_counts().iter_rows())
    enough = [name for name, n in counts.items() if LEAST_CASES <= n <= log.n_cases - LEAST_CASES]
    if not enough:
        raise ConfigError(
            f"no label is in at least {LEAST_CASES} cases of the log and absent from as many: nothing can be learned"
        )
    if len(enough) < len(counts):
        tell.say(f"{len(counts) - len(enough):,} labels are in too few cases, or in nearly all, and are left out")
    labels = tuple(sorted(enough))
    sequences = SequenceSet.from_log(log, density.vocabulary)
    rows = outcome_rows(sequences, log.outcomes, labels, density.vocabulary.n_types + 1)
    train, tune, test = (rows.take(np.isin(rows.case, part)) for part in _parts(density, log.case_names))
    network = train_network(train, max_steps=max_steps, seed=seed)
    calibrate(network, tune)
    model = OutcomeModel(density, network, labels, (), max_steps)
    known = np.concatenate([train.case, tune.case])
    model.report = tuple(_judge(model, rows.take(np.isin(rows.case, known)), test, counts))
    for each in model.report:
        beside = "" if each.logistic_loss is None else f", logistic regression {each.logistic_loss:.3f}"
        tell.say(
            f"{each.label}: {each.loss:.3f} nats a case (frequency {each.frequency_loss:.3f}{beside})"
            + ("" if each.is_useful else ": not told from the events, do not trust what follows for it")
        )
    if out is not None:
        model.save(out, overwrite=overwrite)
    return model


def _parts(density: Density, names: list[str]) -> list[NDArray[np.int64]]:
    """Return the numbers of the cases to train, to calibrate and to judge."""
    rank = np.array([case_hash(f"outcomes of {name}", 0) for name in names], dtype=np.uint64).argsort().argsort()
    stored = density.info.get("split", {}).get("seen")
    seen = np.zeros(len(names), bool) if stored is None else Split.from_plain(stored).has_seen(names)
    if (~seen).sum() < _LEAST_HELD_OUT or seen.mean() < 0.5:
        seen = rank >= 0.2 * len(names)
    held = np.flatnonzero(~seen)
    held = held[np.argsort(rank[held])]
    return [np.flatnonzero(seen), held[: len(held) // 2], held[len(held) // 2 :]]


def _judge(head: OutcomeHead, train: OutcomeRows, test: OutcomeRows, counts: dict[str, int]) -> list[LabelReport]:
    probability = head.probabilities(test.counts.toarray())
    reports = []
    for column, label in enumerate(head.labels):
        use, known = test.asked[:, column], train.asked[:, column]
        truth = test.labels[use, column]
        share = (train.labels[known, column].sum() + 0.5) / (known.sum() + 1.0)
        logistic = _logistic(train, test, column)
        own = probability[use, column]
        reports.append(
            LabelReport(
                label=label,
                n_cases=counts[label],
                n_test=int(use.sum()),
                loss=log_loss(own, truth),
                frequency_loss=log_loss(np.full(len(truth), share), truth),
                logistic_loss=None if logistic is None else log_loss(logistic, truth),
                calibration_error=_calibration_error(own, truth),
            )
        )
    return reports


def _logistic(train: OutcomeRows, test: OutcomeRows, column: int) -> Floats | None:
    """Return the forecasts of a logistic regression on log counts (float64, ``[n]``); None without scikit-learn."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return None
    known, use = train.asked[:, column], test.asked[:, column]
    if len(set(train.labels[known, column].tolist())) < 2:
        return None
    fitted = LogisticRegression(max_iter=1000).fit(train.counts[known].log1p(), train.labels[known, column])
    found: Floats = fitted.predict_proba(test.counts[use].log1p())[:, 1]
    return found


def log_loss(probability: Floats, truth: NDArray[np.bool_]) -> float:
    """Return the mean negative log-likelihood in nats; probabilities are kept 1e-12 away from 0 and 1."""
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.where(truth, np.log(p), np.log1p(-p)).mean()) if len(p) else 0.0


def _calibration_error(probability: Floats, truth: NDArray[np.bool_]) -> float:
    groups = np.array_split(np.argsort(probability, kind="stable"), 10)
    gaps = [abs(probability[g].mean() - truth[g].mean()) * len(g) for g in groups if len(g)]
    return float(sum(gaps) / max(len(probability), 1))
