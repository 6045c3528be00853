"""The verb ``update``: add new cases to a run, without weighing or discovering the earlier ones again."""

from __future__ import annotations

import hashlib
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from sequela.arguments import public
from sequela.density.base import Density
from sequela.density.checkpoint import load_density
from sequela.density.quality.report import DensityReport, held_out_loss
from sequela.discovery.arguments import UPDATE, edge_delta
from sequela.discovery.diagnose import Finding
from sequela.discovery.kept import DENSITY, KeptFolds, Sums, load_sums
from sequela.discovery.population import discover_population
from sequela.discovery.run import Stages
from sequela.discovery.run_folder import (
    EVIDENCE,
    MODEL,
    POPULATION,
    RESULTS,
    RunProgress,
    RunResult,
    Update,
    load_run,
    log_fingerprint,
    read_progress,
)
from sequela.discovery.stream import discover_to
from sequela.effects.encoding import encode_log
from sequela.errors import ConfigError, LogFormatError
from sequela.events.log import EventLog
from sequela.files import disk, read_json, whole_folder, write_json
from sequela.graphs.places import added_places
from sequela.graphs.population import PopulationGraph
from sequela.graphs.records import MARKER, CountsRecord, RunRecord
from sequela.graphs.results import Discovery, log_events
from sequela.graphs.saved import load_discovery, load_population
from sequela.graphs.schemas import EVENTS
from sequela.locks import locked
from sequela.progress import BarsOnly, Reporter, reporter
from sequela.text import quoted

_STATE = "state.json"
_NOISE = 2.0
"""Standard errors by which the held-out cross-entropy must rise before it is said to."""


@public(UPDATE)
def update(
    results: RunResult | str | Path,
    log: EventLog,
    *,
    grown: str = "refuse",
    unknown_limit: float = 0.05,
    refit: bool = False,
    device: str | None = None,
    progress: bool | Reporter = True,
) -> RunResult:
    """Add new cases to a run: discover them, add them to the evidence, renew the page.

    The evidence is that of weighing the whole log at once with the same densities (see the docs page on growing logs
    for what is not). The folder is replaced when all is done; an update that was interrupted leaves it as it was, and
    goes on when the same call is made again.

    Args:
        results: What `run` returned, or its folder.

    Returns:
        The run as it is now; ``record.updates[-1]`` says what was added, and whether it is time to train again.

    Raises:
        ConfigError: A known case has changed, or the folder is being written.
        LogFormatError: The folder is not one of a run, or of one without sums.
        VocabularyError: Most new events are of types that the model does not know.

    Example:
        >>> import tempfile
        >>> import sequela as sq
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> table = world.to_log(world.sample(40, 8, seed=1))
        >>> is_old = pl.col("case") < "case-00030"
        >>> old, new = sq.read_log(table.filter(is_old)), sq.read_log(table.filter(~is_old))
        >>> found = sq.run(old, out=Path(tempfile.mkdtemp()) / "out", max_steps=10, folds=2, progress=False)
        >>> update(found, new, progress=False).record.updates[-1].n_cases
        10
    """
    folder = results.folder if isinstance(results, RunResult) else Path(results)
    tell = reporter(progress)
    with locked(folder):
        run = load_run(folder)
        new, n_known, n_grown = _new_cases(run, log, grown)
        if new is None:
            tell.say(f"nothing to add: all {n_known + n_grown:,} cases are known")
            return run
        work = folder.with_name(f".{folder.name}.updating")
        _begin(work, {"run": run.record.checksum, "log": log_fingerprint(new), "refit": refit})
        found = _judged(run, new, unknown_limit, n_known=n_known, n_grown=n_grown)
        with_new = _Updating(run, new, work, device, tell)
        record, content = with_new.refitted(found) if refit else with_new.added(found)
        with whole_folder(folder, marker=MARKER, overwrite=True) as whole:
            content(whole)
            record.write(whole)
        disk.remove(work)
    return load_run(folder)


def _begin(work: Path, state: dict[str, Any]) -> None:
    """Keep what an interrupted update of the same run with the same cases has left; remove any other's."""
    try:
        same = read_json(work / _STATE) == state
    except (OSError, ValueError):
        same = False
    if not same:
        disk.remove(work)
        disk.make_folder(work)
        write_json(work / _STATE, state)


def _new_cases(run: RunResult, log: EventLog, grown: str) -> tuple[EventLog | None, int, int]:
    """Return the cases that are not known, and how many are known: unchanged ones, and changed ones."""
    events = run.discovery.scan_events()
    if events is None:
        raise LogFormatError(f"'{run.folder}' does not hold the events of its cases: run it again")
    if log.has_times != ("time" in events.collect_schema().names()):
        raise ConfigError("the new cases must have times where the earlier ones had, and none where they had none")
    held = events.collect_schema()
    if "neighbour" in held or log.neighbours is not None:
        raise ConfigError("a run with the events of neighbours cannot be updated: run the whole log again")
    attributes = [name for name in held.names() if name not in EVENTS.columns]
    if attributes != log.attributes:
        raise ConfigError(
            f"the new cases must be read with the attributes of the earlier ones: {attributes}; got {log.attributes}"
        )
    names = log.case_names
    known = events.filter(pl.col("case").is_in(names)).collect()
    again = sorted(set(known["case"].unique()))
    if not again:
        return log, 0, 0
    some = log.cases(again)
    old, now = (_by_case(table) for table in (known, log_events(run.model, encode_log(run.model, some), some)))
    changed = [name for name in again if old[name] != now[name]]
    if changed and grown == "refuse":
        first = changed[0]
        raise ConfigError(
            f"{len(changed):,} cases are known and have changed, among them '{quoted(first)}' ({len(old[first]):,} "
            f"events before, {len(now[first]):,} now): what they contributed cannot be taken back. Give cases once "
            "they are finished; leave these aside with grown='keep' (--grown keep); or run the whole log again"
        )
    rest = sorted(set(names) - set(again))
    return log.cases(rest) if rest else None, len(again) - len(changed), len(changed)


def _by_case(events: pl.DataFrame) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    for case, *rest in events.sort("case", "position").iter_rows():
        found.setdefault(case, []).append(tuple(rest))
    return found


def _judged(run: RunResult, new: EventLog, unknown_limit: float, *, n_known: int, n_grown: int) -> Update:
    """Return how well the model forecasts new cases, and whether it is time to train again."""
    density = run.model
    sequences = encode_log(density, new)
    nats, error = held_out_loss(density, sequences)
    before = DensityReport.from_dict(density.info["report"])
    advice = []
    noise = _NOISE * math.hypot(error, before.std_error)
    if math.isfinite(noise) and nats - before.cross_entropy > noise:
        advice.append(
            f"the forecasts of the new cases are worse by {nats - before.cross_entropy:.3f} nats an event, more than "
            f"noise explains ({noise:.3f})"
        )
    rare = density.vocabulary.rare_id
    usual = 0.0 if rare is None else float(density.vocabulary.frequencies[rare])
    share = sequences.n_unknown / sequences.n_events
    if share - usual > unknown_limit:
        advice.append(
            f"{share:.1%} of the new events are of types that the model does not know ({usual:.1%} were rare)"
        )
    return Update(
        source=Path(new.source.strip("'")).name, n_cases=sequences.n_cases, n_events=sequences.n_events,
        n_known=n_known, n_grown=n_grown, n_unknown=sequences.n_unknown, nats=nats,
        nats_error=error if math.isfinite(error) else None, trained_nats=before.cross_entropy,
        trained_error=before.std_error if math.isfinite(before.std_error) else None, advice=advice,
    )  # fmt: skip


class _Updating:
    """One update: what is made in its work folder, and what is copied from there and from the run."""

    def __init__(self, run: RunResult, new: EventLog, work: Path, device: str | None, tell: Reporter) -> None:
        self.run, self.new, self.work, self.device, self.tell = run, new, work, device, tell
        self.quiet = BarsOnly(tell)
        self.old = _earlier_log(run)
        frame = pl.concat([self.old.frame, new.frame.select(self.old.frame.columns)])
        self.whole = EventLog(frame, self.old.source, self.old.n_ties + new.n_ties, self.old.columns)
        self.arguments = run.record.arguments
        self.question = run.question

    def refitted(self, found: Update) -> tuple[RunProgress, Any]:
        """Run anew in the work folder, with training that goes on from the model of the run."""
        out = self.work / "run"
        record = read_progress(out)
        if record is None:
            record = self._record(found, refitted=True)
            record.seconds, record.skipped, record.complete = {}, {}, False
            disk.make_folder(out, exist_ok=True)
        if not record.complete:
            log = replace(self.whole, frame=self.whole.frame.sort("case", maintain_order=True))
            Stages(
                out, record, log, self.device, self.tell, start=self.run.model, known=self.run.discovery.knowledge
            ).run()
        self._count_links(record, load_run(out).population)

        def content(whole: Path) -> None:
            for item in out.iterdir():
                if item.name != MARKER:
                    _copy(item, whole / item.name)

        return record, content

    def added(self, found: Update) -> tuple[RunProgress, Any]:
        """Weigh and discover the new cases, and join them to the earlier ones."""
        density = load_density(self.run.folder / MODEL, device=self.device)
        population = self._weighed()
        new = self._discovered(density, population)
        record = self._record(found)
        self._count_links(record, population)

        def content(whole: Path) -> None:
            _copy(self.run.folder / MODEL, whole / MODEL)
            if population is not None:
                for name in (POPULATION, EVIDENCE):
                    _copy(self.work / name, whole / name)
            joined = _joined(self.run.discovery, new, population)
            joined.save(whole / RESULTS)
            Stages(whole, record, self.whole, self.device, self.tell).page(joined, population)

        return record, content

    def _weighed(self) -> PopulationGraph | None:
        if "population" in self.run.record.skipped or self.run.population is None:
            self.tell.say("population: left out, as in the run")
            return None
        path, sums = self.work / POPULATION, self.run.folder / EVIDENCE
        if (path / MARKER).is_file():
            return load_population(path)
        stored = load_sums(sums)
        last = load_density(sums / DENSITY, device=self.device)
        folds = KeptFolds(
            (last,) * stored.n_densities, stored.scheme, sums=Sums(self.work / EVIDENCE, stored),
        )  # fmt: skip
        self.tell.say(f"weighing the evidence of {self.new.n_cases:,} new cases")
        asked = self.question | {
            "particles": max(2, self.question["particles"] // 2),
            "horizon": self.run.population.run.arguments.horizon,  # it stays: the sums are of these lags
        }
        found = discover_population(
            folds, self.whole, out=path, overwrite=True, fdr=self.arguments["fdr"], control=self.arguments["control"],
            seed=self.arguments["seed"], progress=self.quiet, **asked,
        )  # fmt: skip
        return found

    def _discovered(self, density: Density, population: PopulationGraph | None) -> Discovery:
        path = self.work / RESULTS
        if (path / MARKER).is_file():
            return load_discovery(path)
        self.tell.say(f"finding the causes of every event in {self.new.n_cases:,} new cases")
        asked = self.question | {
            "delta": edge_delta(self.question["delta"], weighed=population is not None),
            "horizon": self.run.discovery.run.arguments.horizon,
        }
        return discover_to(
            density, self.new, path, overwrite=True, population=population,
            fdr=None if population is None else self.arguments["fdr"], seed=self.arguments["seed"],
            progress=self.quiet, **asked,
        )  # fmt: skip

    def _record(self, found: Update, *, refitted: bool = False) -> RunProgress:
        record = msgspec.convert(msgspec.to_builtins(self.run.record), RunProgress)
        record.log = hashlib.blake2b(f"{record.log} {log_fingerprint(self.new)}".encode(), digest_size=16).hexdigest()
        record.n_cases += found.n_cases
        record.n_events += found.n_events
        record.updates.append(msgspec.structs.replace(found, refitted=refitted))
        if not refitted:
            told = Finding("new cases", "bad" if found.advice else "good", update_sentence(found))
            record.findings = [*(each for each in record.findings if each.topic != told.topic), told]
        return record

    def _count_links(self, record: RunProgress, population: PopulationGraph | None) -> None:
        if population is not None and self.run.population is not None:
            both = (len(self.run.population), len(population))
            record.updates[-1] = msgspec.structs.replace(record.updates[-1], n_links=both)


def update_sentence(found: Update) -> str:
    """Say how well the model forecast new cases, and whether it is time to train again."""
    now, before = (
        f"{nats:.3f}" + ("" if error is None else f" ± {error:.3f}")
        for nats, error in ((found.nats, found.nats_error), (found.trained_nats, found.trained_error))
    )
    told = f"held-out nats per event {now} (when the model was trained {before}); {found.n_unknown:,} of unknown types"
    if not found.advice:
        return f"{told}: no reason to train again"
    return f"{told}. TIME TO TRAIN AGAIN (--refit): {'; '.join(found.advice)}"


def _earlier_log(run: RunResult) -> EventLog:
    """Return the log of a run as its model reads it: rare types are one."""
    events = run.discovery.events
    assert events is not None
    frame = events.select("case", "event", *(["time"] if "time" in events.columns else []))
    columns = dict(run.model.info.get("log", {}).get("columns", {}))
    return EventLog(frame, f"'{run.record.source}'", run.discovery.run.log.n_ties, columns)


def _joined(old: Discovery, new: Discovery, population: PopulationGraph | None) -> Discovery:
    """Return the results of disjoint cases as one; whether an edge is on a link is told by the evidence of all."""
    edges = pl.concat([old.edges, new.edges.select(old.edges.columns)])
    if population is not None:
        edges = population.mark_edges(edges.drop("on_link"))
    assert old.events is not None
    assert new.events is not None
    places = None
    if old.places is not None and new.places is not None:
        keys = ["cause", "effect"]
        both = [old.places, new.places]
        if "knowledge" in old.places.columns:
            places = added_places(both)
        else:
            places = pl.concat(both).group_by(keys).agg(pl.all().sum()).sort(keys)
    nodes = pl.concat([old.nodes, new.nodes]).group_by("event").agg(pl.col("count").sum()).sort("event")
    events = pl.concat([old.events, new.events])
    return Discovery(edges, nodes, _joined_records(old.run, new.run), events, places, old.knowledge)


def _joined_records(old: RunRecord, new: RunRecord) -> RunRecord:
    counts = {name: getattr(old.counts, name) + getattr(new.counts, name) for name in CountsRecord.__struct_fields__}
    log = msgspec.structs.replace(
        old.log, n_events=old.log.n_events + new.log.n_events, n_ties=old.log.n_ties + new.log.n_ties
    )
    seconds = None if old.seconds is None or new.seconds is None else old.seconds + new.seconds
    return msgspec.structs.replace(new, log=log, counts=CountsRecord(**counts), seconds=seconds)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)
