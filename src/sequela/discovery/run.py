"""The verb ``run``: from a log to an answer in one call, as a folder with model, evidence, edges and a page.

Stages, each kept once it is done and resumed by itself where it was interrupted:

1. *train* a density on the log (`fit`);
2. *folds*: densities that have not seen some of the cases, each going on from the one before (`cross_fit`, scheme
   ``"forward"``: the cheapest by which no case is judged by weights that have seen it);
3. *population*: the evidence for each pair of event types, on cases that the density had not seen; folds and evidence
   are left out where the log says how events went;
4. *discover* every case, with that evidence;
5. *diagnose* whether model and log are good enough;
6. *page*: one HTML file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sequela.arguments import public
from sequela.density import checkpoint
from sequela.density.base import Density
from sequela.density.training.crossfit import MARKER as FOLDS_MARKER
from sequela.density.training.crossfit import CrossFit, cross_fit, held_out_cases, load_cross_fit
from sequela.density.training.fit import fit, fit_further
from sequela.discovery.arguments import OF_MODEL, RUN, edge_delta
from sequela.discovery.diagnose import diagnose_log
from sequela.discovery.kept import kept_folds
from sequela.discovery.knowledge import check_asked, knowledge_for
from sequela.discovery.population import discover_population
from sequela.discovery.run_folder import (
    EVIDENCE,
    FOLDS,
    MODEL,
    PAGE,
    POPULATION,
    RESULTS,
    RootCause,
    RunProgress,
    RunResult,
    asks_of_states,
    begin,
    log_fingerprint,
    tidy,
)
from sequela.discovery.stream import discover_to
from sequela.effects.knowledge import Knowledge
from sequela.errors import CheckpointError, ConfigError, LogFormatError
from sequela.events.log import EventLog
from sequela.files import disk, read_json, whole_file
from sequela.graphs.population import PopulationGraph
from sequela.graphs.records import MARKER
from sequela.graphs.results import Discovery
from sequela.graphs.saved import load_discovery, load_population
from sequela.locks import locked
from sequela.progress import BarsOnly, Reporter, reporter
from sequela.version import __version__

T = TypeVar("T")
STAGES = ("train", "folds", "population", "discover", "diagnose", "page")
FEWEST_HELD_OUT = 100
"""Held-out cases that give evidence worth having, where there are no folds."""
_MOST_ROOTS = 20
_STATES = (
    "evidence over cases on how events went is too weak to choose edges by, so that each edge stands by itself "
    "(sequela population weighs it)"
)
_OF_CASES = ("power", "undecidable")
"""What `diagnose_log` says of the number of cases that are weighed."""


@public(RUN)
def run(
    log: EventLog,
    *,
    out: str | Path,
    overwrite: bool = False,
    backbone: str = "window",
    min_count: int = 2,
    memory: int | None = None,
    max_steps: int | None = None,
    seed: int = 0,
    device: str | None = None,
    delta: float = 0.05,
    fdr: float = 0.05,
    control: str = "each",
    horizon: int | str | None = None,
    horizon_time: str | float | None = None,
    causes: str | None = None,
    effects: str | None = None,
    particles: int = 16,
    folds: int = 5,
    knowledge: Knowledge | str | Path | None = None,
    fast: bool = False,
    progress: bool | Reporter = True,
) -> RunResult:
    """Find the root causes of a log: train, weigh the evidence, discover every case, write the page.

    A run that was interrupted, even killed, goes on when the same call is made again: finished stages are kept, and the
    one that was interrupted resumes.

    Args:
        log: Event log.

    Returns:
        Model, population, edges, findings, and where the page is.

    Raises:
        ConfigError: An argument is not allowed, or the folder may not be written.
        VocabularyError: The log has fewer than two event types.
        LogFormatError: The log is too short, or a stage of an interrupted run is damaged.

    Example:
        >>> import tempfile
        >>> from sequela import read_log
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> log = read_log(world.to_log(world.sample(30, 8, seed=1)))
        >>> found = run(log, out=Path(tempfile.mkdtemp()) / "out", max_steps=10, folds=2, progress=False)
        >>> found.report_path.name, found.discovery.run.counts.n_cases
        ('report.html', 30)
    """
    given = dict(locals())
    known = None if knowledge is None else knowledge_for(knowledge, log)
    check_asked(log, causes, effects)
    if known is not None:
        given["knowledge"] = {"hash": known.fingerprint, "file": known.source}
    asked = RunProgress(
        log=log_fingerprint(log), source=Path(log.source.strip("'")).name, n_cases=log.n_cases, n_events=log.n_events,
        version=__version__,
        arguments={name: given[name] for name in RUN if name not in ("log", "out", "overwrite", "progress", "device")},
    )  # fmt: skip
    folder, tell = Path(out), reporter(progress)
    with locked(folder):
        record = begin(folder, asked, overwrite, tell)
        Stages(folder, record, log, device, tell, known=known).run()
    return RunResult(folder, record)


class Stages:
    """The stages of one run.

    Args:
        folder: Of the run.
        record: How far it came.
        log: The log.
        device: Where to train.
        tell: Told what is done.
        start: A density from whose weights training goes on.
        known: What is known beside the log.
    """

    def __init__(
        self,
        folder: Path,
        record: RunProgress,
        log: EventLog,
        device: str | None,
        tell: Reporter,
        start: Density | None = None,
        known: Knowledge | None = None,
    ) -> None:
        self.folder, self.record, self.log, self.device, self.tell = folder, record, log, device, tell
        self.start = start
        self.quiet = BarsOnly(tell)
        self.question = record.question | {"knowledge": known}
        self.fdr, self.fast = record.arguments["fdr"], bool(record.arguments["fast"])

    def run(self) -> None:
        """Go through all stages."""
        density = self._kept(
            "train", f"training on {self.log.n_cases:,} cases", MODEL, checkpoint.MARKER,
            load=lambda path: checkpoint.load_density(path, device=self.device), make=self._train,
        )  # fmt: skip
        population = self._population(density)
        found = self._kept(
            "discover", "finding the causes of every event", RESULTS, MARKER, load=load_discovery,
            make=lambda path: discover_to(
                density, self.log, path, overwrite=True, population=population,
                fdr=None if population is None else self.fdr, seed=self._seed, progress=self.quiet,
                **self.question | {"delta": edge_delta(self.question["delta"], weighed=population is not None)},
            ),
        )  # fmt: skip
        if "diagnose" not in self.record.seconds:
            with self._stage("diagnose", "asking whether model and log are good enough"):
                self._diagnose(density, population)
        with self._stage("page", "writing the page"):
            self.page(found, population)
        tidy(self.folder)
        self.record.complete = True
        self.record.write(self.folder)

    @property
    def _seed(self) -> int:
        return int(self.record.arguments["seed"])

    def _train(self, path: Path) -> Density:
        if self.start is not None:
            return fit_further(self.start, self.log, out=path, device=self.device, progress=self.tell)
        chosen = {name: self.record.arguments[name] for name in OF_MODEL if name != "device"}
        return fit(self.log, out=path, overwrite=True, device=self.device, progress=self.tell, **chosen)

    def _population(self, density: Density) -> PopulationGraph | None:
        """Return the evidence, or None where it cannot be had: the record says why."""
        given: Density | CrossFit | None = density
        path = self.folder / POPULATION
        if asks_of_states(self.log):
            self.record.skipped |= {"folds": _STATES, "population": _STATES}
            given = None
        elif not (path / MARKER).is_file():
            given = self._enough_held_out(density) if self.fast else self._folds(density)
        if given is None:
            self.tell.say(f"population: left out; {self.record.skipped['population']}")
            return None
        population = self._kept(
            "population", "weighing the evidence for links between event types", POPULATION, MARKER,
            load=load_population,
            make=lambda path: discover_population(
                kept_folds(given, self.folder / EVIDENCE), self.log, out=path, overwrite=True, fdr=self.fdr,
                control=self.record.arguments["control"],
                seed=self._seed, progress=self.quiet,
                **self.question | {"particles": max(2, self.question["particles"] // 2)},
            ),
        )  # fmt: skip
        disk.remove(self.folder / FOLDS)
        if not population.pairs.height:
            self.record.skipped["population"] = "no two event types occur together in cases that were held out"
            return None
        return population

    def _folds(self, density: Density) -> CrossFit | None:
        n_folds = int(self.record.arguments["folds"])
        if self.log.n_cases < 2 * n_folds:
            why = f"{self.log.n_cases} cases are too few for {n_folds} folds (two a fold)"
            self.record.skipped |= {"folds": why, "population": why}
            return None
        try:
            return self._kept(
                "folds", f"training {n_folds - 1} densities on parts of the log", FOLDS, FOLDS_MARKER,
                load=load_cross_fit, is_done=lambda path: read_json(path / FOLDS_MARKER).get("complete") is True,
                make=lambda path: cross_fit(
                    self.log, folds=n_folds, scheme="forward", like=density, out=path, overwrite=True, seed=self._seed,
                    device=self.device, progress=self.quiet,
                ),
            )  # fmt: skip
        except LogFormatError as error:
            why = f"the log is too short for {n_folds} folds ({error})"
            self.record.skipped |= {"folds": why, "population": why}
            return None

    def _enough_held_out(self, density: Density) -> Density | None:
        self.record.skipped["folds"] = "fast was asked for"
        try:
            n_cases = held_out_cases(density, self.log).n_cases
        except ConfigError:
            n_cases = 0
        if n_cases >= FEWEST_HELD_OUT:
            return density
        self.record.skipped["population"] = (
            f"without folds {n_cases} cases are held out, and fewer than {FEWEST_HELD_OUT} give too little evidence"
        )
        return None

    def _diagnose(self, density: Density, population: PopulationGraph | None) -> None:
        asked = {name: self.record.arguments[name] for name in ("horizon", "delta", "fdr", "control")}
        try:
            findings = diagnose_log(density, self.log, **asked)
            if population is not None and not self.fast:  # folds weigh more cases than `fit` kept apart: so many
                weighed = self.log.cases(self.log.case_names[: population.run.counts.n_cases])
                own = {each.topic: each for each in diagnose_log(density, weighed, cases="all", **asked)}
                findings = [own[each.topic] if each.topic in _OF_CASES else each for each in findings]
            self.record.findings = findings
        except ConfigError as error:  # nothing is held out of so small a log
            self.record.skipped["diagnose"] = str(error)

    def page(self, found: Discovery, population: PopulationGraph | None) -> None:
        """Write the page, and what it says to the record."""
        # The page is the last stage of a run; nothing else here knows of reports.
        from sequela.reports.page import render
        from sequela.reports.payload import page_data

        data = page_data(found, population=population)
        with whole_file(self.folder / PAGE) as temporary:
            temporary.write_text(render(data), encoding="utf-8")
        names, findings = data["types"]["names"], data["findings"] or {"roots": [], "n_roots": 0}
        self.record.roots = [
            RootCause(
                event=names[root["type"]], n_cases=root["n_cases"], n_explained=root["n_explained"],
                chain=[names[kind] for kind in root["chain"]], confidence=root["confidence"],
            )
            for root in findings["roots"][:_MOST_ROOTS]
        ]  # fmt: skip
        self.record.trust = data["badge"]
        self.record.counts = data["counts"] | {"n_roots": findings["n_roots"]}

    def _kept(
        self, stage: str, title: str, name: str, marker: str, *, load: Callable[[Path], T], make: Callable[[Path], T],
        is_done: Callable[[Path], bool] | None = None,
    ) -> T:  # fmt: skip
        """Return what a stage made: loaded where it was finished before, else made now."""
        path = self.folder / name
        if (path / marker).is_file() and (is_done is None or is_done(path)):
            self.record.seconds.setdefault(stage, None)
            try:
                return load(path)
            except (CheckpointError, LogFormatError) as error:
                raise LogFormatError(f"{error}; start anew with --overwrite (overwrite=True)") from error
        with self._stage(stage, title):
            return make(path)

    @contextmanager
    def _stage(self, stage: str, title: str) -> Iterator[None]:
        self.tell.say(f"[{STAGES.index(stage) + 1}/{len(STAGES)}] {title}")
        started = time.monotonic()
        yield
        self.record.seconds[stage] = round(time.monotonic() - started, 3)
        self.record.write(self.folder)
