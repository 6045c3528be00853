"""Several densities of one log, so that every case can be scored by one that never saw it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sequela.density.base import Density
from sequela.density.training.fit import SHARES, fit
from sequela.errors import ConfigError, check_range
from sequela.events.log import EventLog
from sequela.events.sequences import case_hash
from sequela.progress import Reporter, reporter


@dataclass(frozen=True)
class CrossFit:
    """Densities, each trained without one fold of the cases.

    Attributes:
        densities: One a fold.
        seed: Of the hash of case names that gives a case its fold.
    """

    densities: tuple[Density, ...]
    seed: int = 0

    def held_out(self, log: EventLog) -> Iterator[tuple[Density, EventLog]]:
        """Yield each density with the cases it never saw."""
        names = _names(log)
        fold = _folds(names, len(self.densities), self.seed)
        for number, density in enumerate(self.densities):
            chosen = [name for name, own in zip(names, fold, strict=True) if own == number]
            if chosen:
                yield density, log.cases(chosen)


def cross_fit(
    log: EventLog, *, folds: int = 5, seed: int = 0, progress: bool | Reporter = True, **settings: Any
) -> CrossFit:
    """Train one density a fold of the cases, each on all other folds.

    Takes ``folds`` times as long as `fit`; in return every case counts as held out in `discover_population`.

    Args:
        log: Event log.
        folds: How many.
        seed: Of folds and training.
        progress: As for `fit`.
        settings: As for `fit`.

    Raises:
        ConfigError: Fewer cases than folds, or a setting is not allowed.
    """
    check_range("folds", folds, low=2, whole=True)
    names = _names(log)
    if len(names) < 2 * folds:
        raise ConfigError(
            f"cross-fitting with {folds} folds needs at least {2 * folds} cases; the log has {len(names)}"
        )
    fold = _folds(names, folds, seed)
    tell = reporter(progress)
    densities = []
    for number in range(folds):
        tell.say(f"fold {number + 1} of {folds}")
        rest = log.cases([name for name, own in zip(names, fold, strict=True) if own != number])
        densities.append(fit(rest, seed=seed, progress=tell, **settings))
    return CrossFit(tuple(densities), seed)


def held_out_cases(density: Density, log: EventLog) -> EventLog:
    """Return the cases of a log that `fit` kept out of training a density, by the hash of their names.

    Raises:
        ConfigError: There are none.
    """
    split = density.info.get("split")
    if split is None:  # a world, or a model that was not trained here: it saw no case
        return log
    bound = sum(SHARES[:-1])
    names = _names(log)
    chosen = [name for name in names if case_hash(name, int(split["seed"])) / 2**64 >= bound]
    if not chosen:
        raise ConfigError(
            "no case of this log is held out by the density's split (a tenth of the cases is, by the hash of their "
            "name): pass new cases with cases='all', or cross-fit (folds)"
        )
    return log.cases(chosen)


def _names(log: EventLog) -> list[str]:
    return [str(name) for name in log.frame["case"].unique(maintain_order=True)]


def _folds(names: list[str], n_folds: int, seed: int) -> list[int]:
    """Balanced folds: cases in order of a hash of their own, dealt round."""
    order = np.argsort(pl.Series([case_hash(f"fold of {name}", seed) for name in names], dtype=pl.UInt64).to_numpy())
    fold = np.empty(len(names), np.int64)
    fold[order] = np.arange(len(names)) % n_folds
    return [int(number) for number in fold]
