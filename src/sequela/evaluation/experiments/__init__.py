"""The paper's experiments and ours: one file each, all run by ``sequela experiment NAME``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sequela.errors import check_choice

if TYPE_CHECKING:
    from sequela.evaluation.experiments.common import Experiment

NAMES = (
    "oracle-score",
    "threshold",
    "particles",
    "designs",
    "vocabulary",
    "length",
    "memory",
    "context",
    "nonlinear",
    "confounders",
    "noise",
    "baselines",
)


def get_experiment(name: str) -> Experiment:
    """Return an experiment by name.

    Raises:
        ConfigError: There is none of that name.

    Example:
        >>> get_experiment("particles").by
        ('statistic', 'particles')
    """
    check_choice("experiment", name, NAMES)
    module = import_module(f"sequela.evaluation.experiments.{name.replace('-', '_')}")
    experiment: Experiment = module.EXPERIMENT
    return experiment
