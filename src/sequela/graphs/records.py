"""What a run says of itself, as typed records: written to `run.json`, checked once when it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sequela.effects.knowledge import Knowledge
from sequela.errors import LogFormatError
from sequela.files import check_same, damaged_files, read_json, read_record, write_json, write_record
from sequela.text import quoted

MARKER = "run.json"
KNOWLEDGE_FILE = "knowledge.json"

FORMAT = 2
"""Of result folders, from 0.2.0 on; 1 was that of 0.1.0."""


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """What decided a result; None where it played no part.

    Attributes:
        design: Intervention design.
        proposal: What replaced causes.
        kept_components: Components that siblings share, with that proposal.
        contrast: Which contrast of presence and state decided, where both were computed.
        state_weights: How states were weighted there.
        particles: Replacements a cause.
        statistic: What was averaged over replacements.
        exclude_effect_type: Whether replacements of the effect's own type were left out.
        horizon: Largest lag, in events.
        horizon_seconds: Longest time between cause and effect, in seconds.
        context: Leading events that are never causes.
        threshold: The rule for edges and its numbers, by name.
        seed: Seed.
        screening: Share of pairs that screening may decide otherwise; 0 where all replacements were scored.
        population: Fingerprint of the population graph that edges were weighed by.
        fdr: Highest expected share of false edges, or links of a population.
        self_loops: Whether the summary keeps ``u -> u``.
        delta: Least mean effect of a link of a population, in nats.
        cases: Which cases a population was weighed on.
        folds: Densities that a population was weighed by.
        hierarchy_level: Components that stand for a type, in a population.
        pool: Whether the evidence of a pair counted for others of its family.
        control: What ``fdr`` bounds in a population: the share of false links, or each pair by itself.
        objective: What decides which pairs of a population are links: ``"rate"`` (``fdr``), ``"f1"`` or ``"cascades"``.
        placebo: Whether the strength beyond the horizon was asked for.
        causes: Pattern of the causes that were asked for.
        effects: Pattern of the effects that were asked for.
        knowledge: Hash of what was known beside the log (`knowledge.json` of the same folder).
        knowledge_file: Name of the file it was read from.
    """

    design: str = "atomic"
    proposal: str = "uniform"
    kept_components: int | None = None
    contrast: str | None = None
    state_weights: str | None = None
    particles: int = 32
    statistic: str = "kl_of_mean"
    exclude_effect_type: bool = False
    horizon: int | None = None
    horizon_seconds: float | None = None
    context: int = 0
    threshold: dict[str, str | float | bool | None] | None = None
    seed: int = 0
    screening: float = 0.0
    population: str | None = None
    fdr: float | None = None
    self_loops: bool = False
    delta: float | None = None
    cases: str | None = None
    folds: int | None = None
    hierarchy_level: int | None = None
    pool: bool | None = None
    control: str | None = None
    objective: str | None = None
    placebo: bool | None = None
    causes: str | None = None
    effects: str | None = None
    knowledge: str | None = None
    knowledge_file: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return those that played a part as plain values."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value is not None}

    @property
    def needs_alternative(self) -> bool:
        """Whether only types with siblings, or with another state, could be causes."""
        return self.proposal == "siblings" or self.contrast == "state"

    @property
    def told_by(self) -> str | None:
        """What may give a direction to edges between events at one time; None where nothing does."""
        return "population" if self.population else "knowledge" if self.knowledge else None

    @property
    def chance(self) -> float:
        """Share of places without an effect that may be edges nevertheless: what the rule for edges allows."""
        if self.population is not None and self.fdr is not None:
            return self.fdr
        level = (self.threshold or {}).get("confidence_level", 0.95)
        return round(1 - level, 12) if isinstance(level, float) and level < 1 else 0.05


class LogRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The log that was read.

    Attributes:
        source: Name of the file.
        n_events: Events.
        n_ties: Events that share their time with the one before in their case.
        event_columns: Columns that make up the event type, for patterns.
        n_neighbour_events: Events of neighbours, as often as they stand in a case.
    """

    source: str = ""
    n_events: int = 0
    n_ties: int = 0
    event_columns: list[str] = []
    n_neighbour_events: int = 0


class CountsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What happened on the way; see `sequela.execution.chunks.Counts`.

    Attributes:
        n_cases: Cases seen.
        n_cases_skipped: Cases with fewer than two events.
        n_pairs_tested: Pairs of positions tested.
        n_edges: Edges found.
        n_clamped: Log-probabilities clamped to stay finite.
        n_unknown_events: Events of types the density did not know.
        n_rare_events: Events that stand as ``<rare>``, those included.
        n_replacements: With screening, replacements scored, over all pairs.
        n_pairs_stopped_early: Pairs that screening decided by fewer than all replacements.
        n_pairs_audited: Pairs that got all of them to count screening's errors.
        n_pairs_decided_otherwise: Those of the audited pairs that screening would have decided otherwise.
    """

    n_cases: int = 0
    n_cases_skipped: int = 0
    n_pairs_tested: int = 0
    n_edges: int = 0
    n_clamped: int = 0
    n_unknown_events: int = 0
    n_rare_events: int = 0
    n_replacements: int = 0
    n_pairs_stopped_early: int = 0
    n_pairs_audited: int = 0
    n_pairs_decided_otherwise: int = 0


class DensityRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The density that was asked.

    Attributes:
        backbone: Its kind.
        device: Where it ran.
        precision: In which it ran.
        screening_precision: In which screening decided pairs far from the threshold.
        compiled: Whether as compiled code.
        memory: Events it looks back; None where without limit.
        vocabulary: Fingerprint of its event types.
        n_types: How many these are.
        report: How it did on held-out cases, see `DensityReport`; None where it was not trained here.
    """

    backbone: str = ""
    device: str = ""
    precision: str = ""
    screening_precision: str = ""
    compiled: bool = False
    memory: int | None = None
    vocabulary: str = ""
    n_types: int = 0
    report: dict[str, Any] | None = None


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was written.

    Attributes:
        bytes: Its size.
        blake2b: Its checksum.
    """

    bytes: int
    blake2b: str


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything one needs to know to repeat and to judge a run.

    Attributes:
        format: Of the folder; 0 where nothing is known of the run.
        kind: ``"discovery"`` or ``"population"``.
        arguments: What decided the result.
        log: The log that was read.
        counts: What happened on the way.
        density: The density that was asked.
        versions: Of the packages that matter.
        seconds: How long it took.
        files: The files of the folder, by name, once it is written.
        checksum: Of the record itself, once it is written.
    """

    format: int = 0
    kind: str = "discovery"
    arguments: Arguments = Arguments()
    log: LogRecord = LogRecord()
    counts: CountsRecord = CountsRecord()
    density: DensityRecord = DensityRecord()
    versions: dict[str, str] = {}
    seconds: float | None = None
    files: dict[str, FileRecord] = {}
    checksum: str | None = None

    @classmethod
    def of(cls, values: RunRecord | Mapping[str, Any]) -> RunRecord:
        """Return a record from plain values; one that is a record already as it is.

        Raises:
            LogFormatError: A value is of the wrong type.
        """
        if isinstance(values, cls):
            return values
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise LogFormatError(f"this is not the record of a run: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without sections that are not known and arguments that played no part."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        if "arguments" in values:
            values["arguments"] = self.arguments.to_dict()
        return values

    def write(self, folder: Path) -> RunRecord:
        """Write `run.json` with checksums of itself and of all files beside it; return the record with them.

        Numbers that JSON does not know become null.
        """
        return msgspec.convert(write_record(folder, MARKER, finite(self.to_dict())), RunRecord)


def finite(value: Any) -> Any:
    """Return plain values for JSON: what is not a finite number becomes None."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_run(folder: Path, *, kind: str, command: str) -> RunRecord:
    """Read the `run.json` of a result, and check it and every file beside it against the checksums in it.

    Args:
        folder: The folder of the result.
        kind: What it must be.
        command: The command that makes such results, for messages.

    Raises:
        LogFormatError: There is none, it is of another kind or of another version, or a file has changed since it was
            written; says which.
    """
    what = f"'{folder}' is not a folder of {kind} results"
    try:
        version = msgspec.convert(read_json(folder / MARKER), _Version).format
        if version < FORMAT:
            raise LogFormatError(
                f"'{folder}' was made by Sequela 0.1.0 (format {version}), whose results this version does not read: "
                f"make it again with  sequela {command}"
            )
        if version > FORMAT:
            raise LogFormatError(
                f"'{folder}' was made by a newer Sequela (format {version}; this version reads {FORMAT}): update it"
            )
        values = read_record(folder, MARKER)
        record = msgspec.convert(values, RunRecord)
        damaged = [f"{name} {damage}" for name, damage in damaged_files(folder, values).items()]
    except OSError as error:
        raise LogFormatError(f"{what}: {error.strerror or error}: {MARKER}") from None
    except (msgspec.ValidationError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LogFormatError(f"{what}: {MARKER} is damaged: {error}") from None
    if record.kind != kind:
        raise LogFormatError(f"{what}: it is one of {quoted(record.kind)} results")
    if damaged:
        raise LogFormatError(f"{what}: {'; '.join(damaged)}")
    return record


def check_same_run(folder: Path, run: RunRecord) -> None:
    """Raise `LogFormatError` where another result has taken the place of one that was opened."""
    if run.checksum is not None:
        try:
            check_same(folder, MARKER, run.checksum)
        except ValueError as error:
            raise LogFormatError(str(error)) from None


class _Version(msgspec.Struct):
    """The one thing that every version's `run.json` says."""

    format: int


def save_knowledge(knowledge: Knowledge, folder: Path) -> None:
    """Write what was known beside the log into the folder of a result."""
    write_json(folder / KNOWLEDGE_FILE, knowledge.to_dict())


def load_knowledge(folder: Path) -> Knowledge:
    """Read what `save_knowledge` wrote.

    Raises:
        LogFormatError: The file is missing or damaged.
    """
    try:
        return Knowledge.of(read_json(folder / KNOWLEDGE_FILE))
    except (OSError, ValueError) as error:
        raise LogFormatError(f"'{folder / KNOWLEDGE_FILE}' is damaged: {error}") from None
