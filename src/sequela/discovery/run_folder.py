"""The folder of a whole run: what is in it, and the record that says how far it came."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from sequela.density import checkpoint
from sequela.density.base import Density
from sequela.discovery.arguments import OF_QUESTION
from sequela.discovery.diagnose import Finding
from sequela.errors import ConfigError, LogFormatError
from sequela.events.log import EventLog
from sequela.files import check_writable_folder, disk, read_json, sound_folder, write_json, write_record
from sequela.graphs.population import PopulationGraph
from sequela.graphs.records import FORMAT, MARKER, FileRecord, finite
from sequela.graphs.results import Discovery
from sequela.graphs.saved import load_discovery, load_population
from sequela.progress import Reporter

MODEL, FOLDS, POPULATION, EVIDENCE, RESULTS, PAGE = (
    "model", "folds", "population", "evidence", "results", "report.html",
)  # fmt: skip
_CONTENT = (MODEL, FOLDS, POPULATION, EVIDENCE, RESULTS, PAGE)


class RootCause(msgspec.Struct, frozen=True, kw_only=True):
    """A root cause of the log, as the page ranks them.

    Attributes:
        event: Event type.
        n_cases: Cases in which a chain begins with it.
        n_explained: Later events that it explains (a sum of shares).
        chain: Its typical chain, itself first.
        confidence: Of all links of the chain together; None where it is not known.
    """

    event: str
    n_cases: int
    n_explained: float
    chain: list[str] = []
    confidence: float | None = None


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """What was added to a run (`sequela update`).

    Attributes:
        source: Name of the file of new cases.
        n_cases: New cases.
        n_events: Their events.
        n_known: Cases that were there before and have not changed.
        n_grown: Cases that were there before and have changed: the earlier version stays.
        n_unknown: New events of types that the model does not know.
        nats: Held-out cross-entropy of the model on the new cases, in nats an event.
        nats_error: Its standard error over cases; None for a single one.
        trained_nats: The same of the cases that judged the model when it was trained.
        trained_error: Its standard error.
        n_links: Links between event types before and after; None without evidence.
        refitted: Whether the model was trained further.
        advice: Why it is time to train again; empty where it is not.
    """

    source: str
    n_cases: int
    n_events: int
    n_known: int
    n_grown: int
    n_unknown: int
    nats: float
    nats_error: float | None
    trained_nats: float
    trained_error: float | None
    n_links: tuple[int, int] | None = None
    refitted: bool = False
    advice: list[str] = []


class RunProgress(msgspec.Struct, kw_only=True):
    """What `run.json` of a whole run says.

    Attributes:
        format: Of result folders.
        kind: ``"run"``.
        complete: Whether all stages are done.
        log: Hash of the log that was read.
        source: Name of its file.
        n_cases: Its cases.
        n_events: Its events.
        arguments: What was asked.
        seconds: How long each stage took (in the process that finished it); None where that was killed before it said.
        skipped: Stages that were left out, and why.
        findings: Whether model and log are good enough, see `diagnose_log`.
        roots: Root causes of the log, those that explain most, times their confidence, first.
        trust: Grade of the result and its reason, as on the page.
        counts: Cases, events, types, links, edges and root causes, as the page says them.
        updates: What was added since.
        version: Of sequela, that began it: no other goes on with it.
        files: The files of the folder, once it is complete.
        checksum: Of the record itself.
    """

    format: int = FORMAT
    kind: str = "run"
    complete: bool = False
    log: str = ""
    source: str = ""
    n_cases: int = 0
    n_events: int = 0
    arguments: dict[str, Any] = {}
    seconds: dict[str, float | None] = {}
    skipped: dict[str, str] = {}
    findings: list[Finding] = []
    roots: list[RootCause] = []
    trust: dict[str, str] = {}
    counts: dict[str, Any] = {}
    updates: list[Update] = []
    version: str = ""
    files: dict[str, FileRecord] = {}
    checksum: str | None = None

    @property
    def question(self) -> dict[str, Any]:
        """What is asked of effects, as keywords of `discover_population` and, but for `edge_delta`, of `discover`."""
        return {name: self.arguments.get(name) for name in OF_QUESTION if name != "fdr"}

    def write(self, folder: Path) -> None:
        """Write `run.json`; when all is done with checksums of every file in the folder."""
        values = finite(msgspec.to_builtins(self))
        if self.complete:
            write_record(folder, MARKER, values)
        else:
            write_json(folder / MARKER, values)


class RunResult:
    """What ``sequela run`` leaves: a model, the evidence, the edges of all cases, and a page.

    Attributes:
        folder: Where it lies.
        record: What was done.
    """

    def __init__(self, folder: str | Path, record: RunProgress) -> None:
        self.folder, self.record = Path(folder), record

    @cached_property
    def model(self) -> Density:
        """The density that was trained on the log."""
        return checkpoint.load_density(self.folder / MODEL)

    @cached_property
    def population(self) -> PopulationGraph | None:
        """The evidence for links between types; None where it was left out (``record.skipped`` says why)."""
        return load_population(self.folder / POPULATION) if (self.folder / POPULATION).is_dir() else None

    @cached_property
    def discovery(self) -> Discovery:
        """The edges of all cases."""
        return load_discovery(self.folder / RESULTS)

    @cached_property
    def n_inhibiting(self) -> int:
        """Edges that make their effect less likely: mostly other events in the place of one, and never a root cause."""
        edges = self.discovery.scan()
        if "on_link" in edges.collect_schema().names():
            edges = edges.filter("on_link")
        return int(edges.select((pl.col("pointwise_nats") < 0).sum()).collect().item())

    @property
    def question(self) -> dict[str, Any]:
        """What was asked of effects, see `RunProgress.question`, with what was known."""
        return self.record.question | {"knowledge": self.discovery.knowledge}

    @property
    def findings(self) -> list[Finding]:
        """Whether model and log are good enough, one finding a topic."""
        return list(self.record.findings)

    @property
    def report_path(self) -> Path:
        """The page."""
        return self.folder / PAGE

    @property
    def seconds(self) -> float:
        """How long all stages took together, those of which it is known."""
        return sum(value or 0.0 for value in self.record.seconds.values())

    def __repr__(self) -> str:
        return f"RunResult('{self.folder}': {self.record.n_events:,} events, {len(self.record.roots)} root causes)"


def load_run(path: str | Path) -> RunResult:
    """Open a folder that `run` (``sequela run``) wrote.

    Args:
        path: The folder.

    Returns:
        The result; model, population and edges are read when they are asked for.

    Raises:
        LogFormatError: It is not such a folder, is damaged, or was interrupted.
    """
    found = read_progress(path)
    if found is None:
        raise LogFormatError(f"'{path}' is not a folder of a run: make one with  sequela run LOG --out {path}")
    if not found.complete:
        raise LogFormatError(f"the run in '{path}' was interrupted: give the same `sequela run` again to finish it")
    try:
        with sound_folder(Path(path), MARKER):
            pass
    except (OSError, ValueError) as error:
        raise LogFormatError(f"'{path}' is damaged: {error}") from None
    return RunResult(path, found)


def read_progress(path: str | Path) -> RunProgress | None:
    """Return how far a run came; None where there is none.

    Raises:
        LogFormatError: The record is damaged.
    """
    file = Path(path) / MARKER
    if not file.is_file():
        return None
    try:
        values = read_json(file)
        if not isinstance(values, dict) or values.get("kind") != "run":
            return None
        return msgspec.convert(values, RunProgress)
    except (ValueError, msgspec.ValidationError) as error:
        raise LogFormatError(f"'{file}' is damaged: {error}") from None


def begin(out: Path, asked: RunProgress, overwrite: bool, tell: Reporter) -> RunProgress:
    """Prepare the folder of a run: keep what an interrupted one for the same log and arguments has left there.

    Raises:
        ConfigError: The folder holds something else, or a result that may not be replaced.
    """
    found = read_progress(out)
    unfinished = found is not None and not found.complete
    if unfinished and found is not None:
        if (found.log, found.arguments, found.version) == (asked.log, asked.arguments, asked.version):
            return found
        tell.say(f"'{out}' holds an interrupted run of another log, settings or version of sequela: starting anew")
    elif found is None and (out / MARKER).is_file():  # of another kind: never replaced
        raise ConfigError(f"'{out}' holds the result of another command; give a new folder")
    else:
        check_writable_folder(out, marker=MARKER, overwrite=overwrite)
    disk.make_folder(out, exist_ok=True)
    # Of no log until all is removed: what a killed process leaves here is no part of the run that is asked for.
    RunProgress().write(out)
    for name in _CONTENT:
        disk.remove(out / name)
    tidy(out)
    asked.write(out)
    return asked


def tidy(out: Path) -> None:
    """Remove what killed processes left beside the stages of a run (locks, work folders): no part of the result."""
    for path in out.glob(".*"):
        if path.name.lstrip(".").startswith(tuple(f"{name}." for name in (*_CONTENT, MARKER))):
            disk.remove(path)


def asks_of_states(log: EventLog) -> bool:
    """Return whether a log says how its events went: `run` then asks whether it mattered how they went."""
    return bool(log.columns.get("state"))


def log_fingerprint(log: EventLog) -> str:
    """Return a hash of all cases, events and times of a log, and of how it was read."""
    digest = hashlib.blake2b(str(dict(log.columns)).encode(), digest_size=16)
    for column in log.frame.iter_columns():
        if column.dtype.is_numeric():
            digest.update(column.to_numpy().tobytes())
        else:
            digest.update("\0".join(map(str, column.to_list())).encode())
    if log.neighbours is not None:
        digest.update(log.neighbours.fingerprint.encode())
    return digest.hexdigest()
