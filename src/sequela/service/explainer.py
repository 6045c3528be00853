"""What the service asks: the model and the results of a run, loaded once, and new cases as plain values."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sequela.density.base import Branches, Density, Floats, Ids
from sequela.density.runtime.precision import screening_density
from sequela.discovery.arguments import chosen, edge_delta
from sequela.discovery.discover import iter_batches
from sequela.discovery.run_folder import RunResult, load_run
from sequela.effects.encoding import encode_log, longest_case
from sequela.effects.settings import TABLE
from sequela.errors import ConfigError, LogFormatError
from sequela.events.log import EventLog, joined_components
from sequela.events.sequences import SequenceSet
from sequela.events.templates import Templates
from sequela.events.times import parse_duration, time_to_seconds
from sequela.events.vocabulary import Vocabulary
from sequela.evidence.edge_probability import Beliefs, TypeBeliefs
from sequela.graphs.explanation import Explanation
from sequela.graphs.instance import InstanceGraph
from sequela.graphs.root_causes import position_of
from sequela.text import quoted

Event = str | Sequence[str]


@dataclass(frozen=True)
class NewCase:
    """A case as a client gives it.

    Attributes:
        events: Event types in time order: text, or the texts of all event columns.
        times: Time of each event (seconds since 1970, or text as in the log), or None.
        event: Event to explain: its position here, or its type where that occurs once.
        name: What to call it.
    """

    events: Sequence[Event]
    times: Sequence[float | str] | None = None
    event: int | str = -1
    name: str = ""


@dataclass(frozen=True)
class Answer:
    """What is said of a new case.

    Attributes:
        explanation: As plain values; positions are those of the client.
        n_events: Events of the case.
        n_unknown: Those of types that the model does not know.
        log_likelihood: Of all events together, in nats.
    """

    explanation: dict[str, Any]
    n_events: int
    n_unknown: int
    log_likelihood: float


@dataclass(frozen=True)
class Prepared:
    """A new case, checked and encoded.

    Attributes:
        name: What to call it.
        sequences: The case alone, as the model reads it.
        order: The client's position of each of its events (int64, ``[L]``).
        position: Of the event to explain, in the order of the model.
    """

    name: str
    sequences: SequenceSet
    order: np.ndarray[Any, np.dtype[np.int64]]
    position: int


class _Known(Beliefs):
    """Beliefs that are asked with one vocabulary: looked up once."""

    def for_types(self, vocabulary: Vocabulary) -> TypeBeliefs:
        """Return the beliefs by the ids of a vocabulary."""
        if "own" not in self.__dict__:
            object.__setattr__(self, "own", super().for_types(vocabulary))
        found: TypeBeliefs = self.__dict__["own"]
        return found


class Explainer:
    """A run, opened once; its methods may be called from several threads (the model answers one at a time).

    Args:
        folder: What ``sequela run`` wrote.
        design: How causes are intervened on in new cases; by default as in the run (``"masked"`` is the fastest).
        particles: Replacements a cause; by default as the design has them.

    Raises:
        LogFormatError: The folder is not one of a run.
        ConfigError: The design is not allowed.
    """

    def __init__(self, folder: str | Path, *, design: str = "atomic", particles: int | None = None) -> None:
        self.run: RunResult = load_run(folder)
        self.density: Density = self.run.model
        self.population = self.run.population
        given: dict[str, Any] = {name: argument.default for name, argument in TABLE.items()}
        given |= self.run.question | {"seed": self.run.record.arguments["seed"], "design": design}
        given["delta"] = edge_delta(given["delta"], weighed=self.population is not None)
        given |= {} if particles is None else {"particles": particles}
        if self.population is not None:
            given |= {"population": self.population, "fdr": self.run.record.arguments["fdr"]}
        self.settings, beliefs = chosen({**given, "density": self.density})
        self.beliefs = None if beliefs is None else _Known(**vars(beliefs))
        self._links = set() if self.population is None else set(self.population.edges.select("cause", "effect").rows())
        self.columns = dict(self.density.info["log"]["columns"])
        self._lock = threading.Lock()

    @property
    def needs_times(self) -> bool:
        """Whether new cases need times."""
        return self.density.uses_times or self.settings.horizon_time is not None

    @cached_property
    def cases(self) -> pl.DataFrame:
        """``case``, ``n_events`` and ``n_edges`` of every case of the run, in the order of the log."""
        events = self.run.discovery.scan_events()
        if events is None:
            raise LogFormatError(f"'{self.run.folder}' does not hold the events of its cases: run it again")
        edges = self.run.discovery.scan().group_by("case").agg(pl.len().cast(pl.Int64).alias("n_edges"))
        counted = events.group_by("case", maintain_order=True).agg(pl.len().cast(pl.Int64).alias("n_events"))
        joined = counted.join(edges, on="case", how="left", maintain_order="left")
        return joined.with_columns(pl.col("n_edges").fill_null(0)).collect()

    def case(self, name: str) -> InstanceGraph:
        """Return the graph of a case of the run, read from its files."""
        return self.run.discovery.case(name)

    def links(self) -> pl.DataFrame:
        """Return the links between event types: with their evidence where the run has weighed it."""
        return self.run.discovery.summary().links if self.population is None else self.population.edges

    def explain(self, cases: Sequence[NewCase]) -> list[Answer]:
        """Explain new cases together, each as if it were alone.

        Raises:
            ConfigError: A case has no events or no such event, times of another number, or none where the model needs
                them.
            VocabularyError: More than half of the events are of types that the model has never seen.
        """
        return self.answer([self.prepare(case, number) for number, case in enumerate(cases)])

    def prepare(self, case: NewCase, number: int = 0) -> Prepared:
        """Check a case and encode it: what is wrong with it is said here; see `explain`."""
        log, order = self._log(number, case)
        position = case.event
        if isinstance(position, int) and -len(order) <= position < len(order):
            position = int(np.flatnonzero(order == position % len(order))[0])
        sequences = encode_log(self.density, log)
        names = self.density.vocabulary.names
        position = position_of([names[i] for i in sequences.ids], position)
        return Prepared(case.name, sequences, order, position)

    def answer(self, cases: Sequence[Prepared]) -> list[Answer]:
        """Explain cases that were prepared."""
        joined = _joined([case.sequences for case in cases])
        with self._lock:
            watched, scores = _watched(self.density)
            batches = iter_batches(watched, joined, self.settings, longest_case(joined), beliefs=self.beliefs)
            graphs = [graph for batch in batches for graph in batch]
            for one in joined:
                if _key(one.ids, one.times) not in scores:  # nothing was asked of it as a whole
                    scores[_key(one.ids, one.times)] = self.density.score(one.ids, one.times)
        answers = []
        for case, graph, sequence in zip(cases, graphs, joined, strict=True):
            nats = scores[_key(sequence.ids, sequence.times)]
            edges = graph.edges if self.population is None else self._marked(graph.edges)
            named = replace(graph, case=case.name, edges=edges, n_unknown=case.sequences.n_unknown)
            values = _in_order(named.explain(case.position), case.order)
            answers.append(Answer(values, case.sequences.n_events, case.sequences.n_unknown, float(nats.sum())))
        return answers

    def _marked(self, edges: pl.DataFrame) -> pl.DataFrame:
        """Return the few edges of a case as `PopulationGraph.mark_edges` does, in a tenth of its time."""
        rows = edges.select("cause", "effect", "directed").rows()
        on_link = [
            (cause, effect) in self._links or (not directed and (effect, cause) in self._links)
            for cause, effect, directed in rows
        ]
        return edges.with_columns(pl.Series("on_link", on_link, dtype=pl.Boolean))

    def _log(self, number: int, case: NewCase) -> tuple[EventLog, np.ndarray[Any, np.dtype[np.int64]]]:
        """Return a case as `read_log` would read it, and the client's position of each of its events."""
        where = f"cases[{number}]"
        if not len(case.events):
            raise ConfigError(f"{where} has no events: give at least one")
        names = [self._event(f"{where}.events[{place}]", event) for place, event in enumerate(case.events)]
        frame = pl.DataFrame({"case": f"{number:08d}", "event": names, "order": range(len(names))})
        if case.times is None:
            if self.needs_times:
                raise ConfigError(
                    f"{where} has no times, and this model was trained with them: give `times`, one for each event "
                    "(seconds since 1970, or text as in the log)"
                )
            return EventLog(frame.drop("order"), where, 0, self.columns), np.arange(len(names))
        if len(case.times) != len(names):
            raise ConfigError(f"{where} has {len(names)} events and {len(case.times)} times: give one for each event")
        frame = frame.with_columns(time=self._seconds(where, case.times))
        within = ["event"] if self.columns.get("ties") == "unordered" else []
        frame = frame.sort("time", *within, maintain_order=True)
        log = EventLog(frame.select("case", "event", "time"), where, 0, self.columns)
        return log, frame["order"].to_numpy().astype(np.int64)

    def _event(self, where: str, event: Event) -> str:
        columns = self.columns["event"]
        if isinstance(event, str) and len(columns) > 1:
            return event
        texts = [event] if isinstance(event, str) else list(event)
        if len(texts) != len(columns):
            raise ConfigError(f"{where} has {len(texts)} texts, and the log's event has {len(columns)} columns")
        if self._templates is not None:
            place = columns.index(self.columns["template"])
            texts[place] = str(self._templates.types(pl.Series([texts[place]])).item())
        return texts[0] if len(columns) == 1 else joined_components(texts)

    @cached_property
    def _templates(self) -> Templates | None:
        """Templates of the messages that are events, where the log was read so."""
        return Templates.of(self.density) if "template" in self.columns else None

    def _seconds(self, where: str, times: Sequence[float | str]) -> pl.Series:
        if any(isinstance(time, str) for time in times):
            if not all(isinstance(time, str) for time in times):
                raise ConfigError(f"{where}.times must be all numbers (seconds since 1970) or all text")
            column = quoted(self.columns.get("time") or "time")
            seconds = time_to_seconds(
                pl.Series("time", list(times)), column=column, source=where,
                time_format=self.columns.get("time_format"),
            )  # fmt: skip
        else:
            seconds = pl.Series("time", list(times), dtype=pl.Float64)
        if seconds.null_count() or not bool(seconds.is_finite().all()):
            raise ConfigError(f"{where}.times must be finite numbers or times; one is not")
        if self.columns.get("tick") is not None:
            tick = parse_duration("tick", self.columns["tick"])
            seconds = (seconds / tick).floor() * tick
        return seconds


def _key(ids: Ids, times: Floats | None) -> tuple[bytes, bytes]:
    return ids.tobytes(), b"" if times is None else times.tobytes()


def _watched(density: Density) -> tuple[Density, dict[tuple[bytes, bytes], Floats]]:
    """Return the same density, and what it will have scored of whole sequences: each needs to be scored once only."""
    seen: dict[tuple[bytes, bytes], Floats] = {}

    def score_both(branches: Sequence[Branches]) -> tuple[list[Floats], list[Floats]]:
        observed, found = density.score_both(branches)
        seen.update((_key(one.ids, one.times), nats) for one, nats in zip(branches, observed, strict=True))
        return observed, found

    screening_density(density)  # computed once: the copy has it, and what it scores in 16 bits is not recorded
    other = copy(density)
    other.score_both = score_both  # type: ignore[method-assign]
    return other, seen


def _joined(sequences: Sequence[SequenceSet]) -> SequenceSet:
    """Return the cases of several sets as one; times count where all have them."""
    offsets = np.cumsum([0, *(own.n_events for own in sequences)])
    all_timed = all(own.times is not None for own in sequences)
    return SequenceSet(
        np.concatenate([own.ids for own in sequences]),
        offsets.astype(np.int64),
        pl.concat([own.case_names for own in sequences]),
        np.concatenate([own.times for own in sequences if own.times is not None]) if all_timed else None,
        unordered_ties=all_timed and any(own.unordered_ties for own in sequences),
    )


def _in_order(explanation: Explanation, order: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Any]:
    """Return an explanation as plain values, with the client's positions."""
    values = explanation.to_dict()
    values["position"] = int(order[explanation.position])
    for step in values["chain"]:
        for name in ("cause_position", "effect_position"):
            step[name] = int(order[step[name]])
    for root in values["roots"]:
        root["position"] = int(order[root["position"]])
    return values


def plain_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows for JSON: what is not a finite number becomes None."""
    from sequela.graphs.records import finite

    return [finite(dict(row)) for row in rows]
