"""Further passes over the cases of a population: bets on the causes, and bets where a third type is not in reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from sequela.density.base import Density, Ids
from sequela.density.runtime.network_density import within_memory
from sequela.discovery.job import DensityHandle
from sequela.discovery.kept import Pass, Sums
from sequela.discovery.weigh import Cases, Weighed, Weighing, has_ties
from sequela.effects.contrasts import state_groups
from sequela.events.sequences import SequenceSet
from sequela.events.ties import shuffle_ticks
from sequela.evidence.bets import sum_bets_without
from sequela.evidence.cause_bets import add_rows, mean_over_lags, place_bets, score_slots
from sequela.evidence.fixed_point import from_units
from sequela.evidence.links import triangles
from sequela.evidence.pairs import Codes, pair_codes, pair_names
from sequela.evidence.residuals import ROWS, ResidualSums
from sequela.execution.chunks import Chunks
from sequela.execution.engines import start_engine
from sequela.execution.map_cases import map_cases
from sequela.progress import Reporter


@dataclass(frozen=True)
class BettingOnCauses:
    """Bets on what stood before each effect, and what the forecasts leave over, from the same branches.

    See `sequela.evidence.cause_bets` and `sequela.evidence.residuals`.

    Attributes:
        weighing: The pass before.
    """

    weighing: Weighing

    def __call__(self, density: Density, cases: SequenceSet) -> tuple[pl.DataFrame, dict[str, int]]:
        """Return the sums of some cases, one row a pair and lag, in units of 2^-32."""
        density = _within_memory(density, self.weighing)
        settings, horizon, n_types = self.weighing.settings, self.weighing.horizon, density.vocabulary.n_types
        limits = settings.known_limits(density)
        states = state_groups(density.vocabulary) if settings.contrast == "state" else None
        # Where pairs are excluded, not all that the law of a slot needs is scored. Residuals are of types, not states.
        left = ResidualSums(
            self.weighing.pairs if limits is None and states is None else self.weighing.pairs[:0], n_types, horizon,
            settings.horizon_seconds,
        )  # fmt: skip
        tables = []
        for some in score_slots(density, cases, horizon, seed=settings.seed, limits=limits, states=states):
            left.add(density, some)
            codes, units = place_bets(some, n_types, settings.horizon_seconds)
            tables.append(pl.DataFrame({"code": codes, "units": units}))
        codes, sums = left.table()
        tables.append(pl.DataFrame({"code": codes} | dict(zip(ROWS, sums, strict=True))))
        return self.join(tables), {"n_cases": cases.n_cases}

    def join(self, tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Add the sums of disjoint cases."""
        names = ("units", *ROWS)
        none = pl.DataFrame(schema=dict.fromkeys(("code", *names), pl.Int64))
        table = pl.concat([none, *tables], how="diagonal").fill_null(0)
        codes, sums = add_rows(table["code"].to_numpy(), table.select(names).to_numpy().T)
        return pl.DataFrame({"code": codes} | dict(zip(names, sums, strict=True)))


def bet_on_causes(
    cases: Sequence[Cases],
    weighed: Sequence[Weighed],
    job: Chunks | None,
    *,
    kept: Sums | None,
    engine: str,
    workers: int | None,
    tell: Reporter,
) -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
    """Return the evidence of each density from bets on the causes, or from those that it has placed already.

    Args:
        cases: As for `weigh_all`.
        weighed: Its result.
        job: From `weighing_job`.
        kept: As for `weigh_all`.
        engine: As for `weigh_all`.
        workers: As for `weigh_all`.
        tell: Shows a bar.

    Returns:
        One frame a density: ``cause``, ``effect``, ``log_e``; and one a density that bet on causes: ``cause``,
        ``effect``, ``lag`` and the sums of `sequela.evidence.residuals`.
    """
    found, residuals = [], []
    with start_engine(engine, workers) as running, tell.bar("betting on causes", len(cases)) as bar:
        for number, ((density, sequences), one) in enumerate(zip(cases, weighed, strict=True)):
            bar(number, "")
            evidence = one.partial.tables(one.groups)[1]
            if one.task.bets_on_causes:
                task = BettingOnCauses(one.task)
                folder = None if job is None else job.within(f"causes-{number}")
                chunks = map_cases(task, DensityHandle(density), sequences, engine=running, chunks=folder)
                sums = task.join([chunk.read() for chunk in chunks])
                if kept is not None:
                    kept.passes[f"causes-{number}"] = Pass(sums, sequences.n_cases, {})
                codes, horizon = sums["code"].to_numpy(), one.task.horizon
                residuals.append(
                    pair_names(codes // horizon, one.groups.names).with_columns(
                        lag=pl.Series(codes % horizon + 1, dtype=pl.Int64),
                        **{name: from_units(sums[name].to_numpy()) for name in ROWS},
                    )
                )
                pairs, log_e = mean_over_lags(codes, sums["units"].to_numpy(), horizon)
                won = pair_names(pairs, one.groups.names).with_columns(won=pl.Series(log_e, dtype=pl.Float64))
                evidence = evidence.join(won, on=["cause", "effect"], how="left", maintain_order="left")
                evidence = evidence.select("cause", "effect", log_e=pl.col("won").fill_null(0.0))
            found.append(evidence)
    return found, residuals


@dataclass(frozen=True)
class WeighingWithout:
    """A third pass, for logs with unordered ties: bets where a third type is not in reach; see `sum_bets_without`.

    Attributes:
        weighing: The pass before.
        pairs: Sorted codes (int64, ``[P]``).
        absent: Third types (int32, ``[P]``).
    """

    weighing: Weighing
    pairs: Codes
    absent: Ids

    def __call__(self, density: Density, cases: SequenceSet) -> tuple[pl.DataFrame, dict[str, int]]:
        """Return the log bets of some cases, one row a pair and third type, in units of 2^-32."""
        before = self.weighing
        density = _within_memory(density, before)
        bets = sum_bets_without(
            self.pairs, self.absent, density, shuffle_ticks(cases, 0), before.horizon, before.shift,
            before.settings.horizon_seconds, before.groups,
            before.settings.known_limits(density) if before.whole_types else None,
        )  # fmt: skip
        return pl.DataFrame({"row": np.arange(len(bets)), "units": bets}), {"n_cases": cases.n_cases}

    def join(self, tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Add the sums of disjoint cases."""
        empty = pl.DataFrame({"row": np.arange(len(self.pairs)), "units": np.zeros(len(self.pairs), np.int64)})
        return pl.concat([empty, *tables]).group_by("row").agg(pl.col("units").sum()).sort("row")


def weigh_without(
    cases: Sequence[Cases],
    weighed: Sequence[Weighed],
    scheme: str,
    job: Chunks | None,
    *,
    kept: Sums | None,
    engine: str,
    workers: int | None,
    tell: Reporter,
) -> list[pl.DataFrame]:
    """Weigh the pairs of `triangles` again where the third type is not in reach, in logs with unordered ties.

    There an event and what brought it often share their time, so that what lies between a cause and its effect is
    known least.

    Args:
        cases: As for `weigh_all`.
        weighed: Its result.
        scheme: How the densities were cross-fitted.
        job: From `weighing_job`.
        kept: As for `weigh_all`. Where sums of earlier cases are there, the third types that were asked for then are
            asked for. A pair that has come to need another one counts as one without evidence.
        engine: As for `weigh_all`.
        workers: As for `weigh_all`.
        tell: Shows a bar.

    Returns:
        One frame a density: ``cause``, ``effect``, ``absent``, ``log_e``; none where no time has two events.
    """
    if not any(has_ties(sequences) for _, sequences in cases):
        return []
    tables = [one.partial.tables(one.groups) for one in weighed]
    tested = pl.concat([strength.select("cause", "effect") for strength, *_ in tables]).unique()
    wanted = triangles([evidence for _, evidence, _ in tables], scheme).join(tested, on=["cause", "effect"], how="semi")
    stored = None if kept is None or kept.stored is None else kept.stored.asked
    asked = wanted if stored is None else stored
    found = []
    if kept is not None:
        kept.asked = asked
    with start_engine(engine, workers) as running, tell.bar("weighing again", len(cases)) as bar:
        for number, ((density, sequences), one) in enumerate(zip(cases, weighed, strict=True)):
            bar(number, "")
            place = {name: index for index, name in enumerate(one.groups.names)}
            known = asked.filter(*(pl.col(name).is_in(one.groups.names) for name in asked.columns))
            cause, effect, absent = (
                np.array([place[name] for name in known[column]], np.int32) for column in known.columns
            )
            pairs = pair_codes(cause, effect, len(place))
            order = np.lexsort((absent, pairs))
            task = WeighingWithout(one.task, pairs[order], absent[order])
            folder = None if job is None else job.within(f"without-{number}")
            chunks = map_cases(task, DensityHandle(density), sequences, engine=running, chunks=folder)
            sums = task.join([chunk.read() for chunk in chunks])
            if kept is not None:
                kept.passes[f"without-{number}"] = Pass(sums, sequences.n_cases, {})
            names = pl.Series(one.groups.names, dtype=pl.String)
            again = pair_names(task.pairs, one.groups.names).with_columns(
                absent=names[task.absent],
                log_e=pl.Series(from_units(sums["units"].to_numpy(), down=True), dtype=pl.Float64),
            )
            if stored is not None:
                again = wanted.join(again, on=wanted.columns, how="left").with_columns(pl.col("log_e").fill_null(0.0))
            found.append(again)
    return found


def _within_memory(density: Density, before: Weighing) -> Density:
    allotment = before.settings.allotment(density, before.horizon, before.longest)
    return within_memory(density, allotment.model_bytes, longest=before.longest, horizon=before.horizon)
