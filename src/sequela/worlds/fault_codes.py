"""A fleet of vehicles that write fault codes: cascades, background codes, rare codes, ties without order, free text.

A root fault brings follow-up codes, each with its own probability and delay, and those bring more: a branching process
(Crump and Mode 1968; Hawkes 1971 for its point process). Background codes come at their own rates and cause nothing.
The clock of the log is coarse, so many events share a time stamp, and rows inside one come in random order. The truth
is the parentage of the simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from sequela.errors import ConfigError, check_range
from sequela.worlds.parentage import CausalLog, Occurrence, canonical_events, caused_edges, shuffled_rows

_COMPONENTS = ("ACC", "BCM", "BMS", "CAM", "ECM", "EPS", "ESP", "GWY", "HVC", "LKA", "RAD", "TCM")
_SYMPTOMS = (
    "signal implausible",
    "no communication",
    "supply voltage too low",
    "short circuit to ground",
    "open circuit",
    "calibration missing",
    "temperature too high",
    "function switched off",
    "checksum wrong",
    "sensor blocked",
)
_MAX_DEPTH = 4
_DELAY_SPREAD = 0.8
"""Standard deviation of the log of a delay."""
_PILOT_CASES = 600
_REPEAT_SECONDS = 900.0
_INCIDENT_SECONDS = 30.0
_FLEET = 600


class FaultLink(NamedTuple):
    """A link between two types: an event of `cause` brings one of `effect` with this probability and median delay."""

    cause: int
    effect: int
    probability: float
    delay_seconds: float


class FaultCodes:
    """A fleet whose fault codes cause each other.

    It is no `World`: rows of one time stamp have no order, so there is no exact law of the next row.

    Args:
        types: ``(component, code)`` of each event type.
        rates: Spontaneous occurrences a vehicle, of each type (``[n_types]``, at least 0).
        links: What brings what.
        hours: How long a vehicle is watched. Consequences that come later are not in the log.
        tick_seconds: Resolution of the clock, at least 0.001.
        spread: Standard deviation of the log of a vehicle's own factor on all rates.
        incidents: Shared incidents a vehicle: two to four types of one hidden class come within half a minute and none
            causes another.
        incident_classes: The types of each class.
        repeats: Chance that a code is written again later, and again after that.

    Raises:
        ConfigError: An argument is out of range, a link names a type that does not exist, or cascades never end.

    Example:
        >>> fleet = FaultCodes([("CAM", "B1"), ("LKA", "C2")], [1.0, 0.0], [FaultLink(0, 1, 1.0, 30.0)])
        >>> found = fleet.simulate(50, seed=0)
        >>> set(found.edges.select("cause", "effect").rows())
        {('CAM|B1', 'LKA|C2')}
    """

    def __init__(
        self,
        types: Sequence[tuple[str, str]],
        rates: ArrayLike,
        links: Sequence[FaultLink],
        *,
        hours: float = 8.0,
        tick_seconds: float = 1.0,
        spread: float = 0.5,
        incidents: float = 0.0,
        incident_classes: Sequence[Sequence[int]] = (),
        repeats: float = 0.0,
    ) -> None:
        check_range("hours", hours, low=0, above=True)
        check_range("tick_seconds", tick_seconds, low=0.001)
        check_range("spread", spread, low=0)
        check_range("incidents", incidents, low=0)
        check_range("repeats", repeats, low=0, high=0.9)
        self.types = [(str(component), str(code)) for component, code in types]
        self.names = [f"{component}|{code}" for component, code in self.types]
        self.rates = np.asarray(rates, dtype=np.float64)
        self.links = [FaultLink(*link) for link in links]
        self.hours, self.tick_seconds, self.spread = float(hours), float(tick_seconds), float(spread)
        self.incidents, self.repeats = float(incidents), float(repeats)
        self.incident_classes = [list(some) for some in incident_classes]
        self._check()
        self._follow: list[list[FaultLink]] = [[] for _ in self.types]
        for link in self.links:
            self._follow[link.cause].append(link)

    def _check(self) -> None:
        n_types = len(self.types)
        if len(set(self.names)) != n_types or any("|" in text for pair in self.types for text in pair):
            raise ConfigError("types must hold each (component, code) once, without the sign |")
        if self.rates.shape != (n_types,) or not (np.isfinite(self.rates) & (self.rates >= 0)).all():
            raise ConfigError(f"rates must be {n_types} numbers of at least 0, one a type; got {self.rates.tolist()}")
        for link in self.links:
            if not (0 <= link.cause < n_types and 0 <= link.effect < n_types) or link.cause == link.effect:
                raise ConfigError(f"links must join two different types of 0 … {n_types - 1}; got {link}")
            check_range("probability of a link", link.probability, low=0, high=1)
            check_range("delay_seconds of a link", link.delay_seconds, low=0)
        if self.incidents and not self.incident_classes:
            raise ConfigError("incidents need incident_classes: the types that each kind of incident brings")
        growth = np.abs(np.linalg.eigvals(self._offspring())).max() if n_types else 0.0
        if growth >= 1:
            raise ConfigError(f"cascades must end: an event may bring fewer than 1 other on average; got {growth:.2f}")

    def _offspring(self) -> NDArray[np.float64]:
        mean = np.zeros((len(self.types), len(self.types)))
        for link in self.links:
            mean[link.cause, link.effect] += link.probability
        return mean

    @classmethod
    def random(
        cls,
        n_types: int = 59,
        *,
        n_links: int = 25,
        n_rare: int | None = None,
        events_per_vehicle: float = 13.5,
        background: float = 0.45,
        tied: float = 0.27,
        hours: float = 8.0,
        incidents: float = 0.0,
        repeats: float = 0.0,
        seed: int,
    ) -> FaultCodes:
        """Draw a fleet: cascades of up to four steps, background codes with Zipf rates, rare codes.

        Args:
            n_types: Event types.
            n_links: Links between types. They make no circle; one in ten gives a code a second cause.
            n_rare: Background types of which 600 vehicles have 2 to 6 events; by default one type in eight.
            events_per_vehicle: Mean number of events, without incidents and repetitions.
            background: Share of the events whose types neither cause nor are caused.
            tied: Share of events with the time stamp of the event before. It sets the resolution of the clock (whole
                seconds), from a pilot log of 600 vehicles.
            hours: How long a vehicle is watched.
            incidents: Shared incidents a vehicle.
            repeats: Chance that a code is written again.
            seed: Same seed, same fleet.

        Raises:
            ConfigError: An argument is out of range, or there are too few types for the links.

        Example:
            >>> fleet = FaultCodes.random(seed=0)
            >>> len(fleet.types), len(fleet.links)
            (59, 25)
        """
        check_range("n_types", n_types, low=4, whole=True)
        check_range("n_links", n_links, low=1, whole=True)
        check_range("events_per_vehicle", events_per_vehicle, low=0, above=True)
        check_range("background", background, low=0, high=1)
        check_range("tied", tied, low=0, high=0.9)
        check_range("seed", seed, low=0, whole=True)
        n_rare = n_types // 8 if n_rare is None else n_rare
        check_range("n_rare", n_rare, low=0, high=n_types, whole=True)
        generator = np.random.default_rng([seed, 5])
        n_roots = max(1, round(0.28 * n_links))
        n_cascade = n_roots + n_links - n_links // 10
        if n_cascade + n_rare + 2 > n_types:
            raise ConfigError(
                f"n_types must be at least {n_cascade + n_rare + 2} for {n_links} links and {n_rare} rare types; "
                f"got {n_types}"
            )
        links = _draw_links(n_roots, n_cascade, n_links, generator)
        shape = np.zeros(n_types)  # spontaneous rates but for the scale: roots, consequences, background, rare
        shape[:n_roots] = np.exp(generator.normal(0.0, 0.3, n_roots))
        shape[n_roots:n_cascade] = 0.05
        ordinary = np.arange(n_cascade, n_types - n_rare)
        zipf = 1.0 / (1.0 + np.arange(len(ordinary)))
        rates = np.zeros(n_types)
        rates[n_types - n_rare :] = generator.uniform(2, 6, n_rare) / _FLEET
        rates[ordinary] = generator.permutation(zipf / zipf.sum()) * background * events_per_vehicle
        mean = np.zeros((n_types, n_types))
        for link in links:
            mean[link.cause, link.effect] = link.probability
        family = np.linalg.solve(np.eye(n_types) - mean, np.ones(n_types))  # events that one event stands for
        rates[:n_cascade] = shape[:n_cascade] * (1 - background) * events_per_vehicle / (shape @ family)
        classes = [
            generator.choice(ordinary, min(int(generator.integers(2, 5)), len(ordinary)), replace=False).tolist()
            for _ in range(4)
        ]
        order = generator.permutation(n_types)  # so that the number of a type says nothing
        moved = [link._replace(cause=int(order[link.cause]), effect=int(order[link.effect])) for link in links]
        scattered = np.zeros(n_types)
        scattered[order] = rates

        def fleet(tick_seconds: float) -> FaultCodes:
            return cls(
                _draw_types(n_types, np.random.default_rng([seed, 7])),
                scattered,
                moved,
                hours=hours,
                tick_seconds=tick_seconds,
                incidents=incidents,
                incident_classes=[[int(order[one]) for one in some] for some in classes],
                repeats=repeats,
            )

        return fleet(_resolution(fleet(0.001), tied, seed=seed)) if tied else fleet(0.001)

    def simulate(self, n_cases: int = _FLEET, *, seed: int) -> CausalLog:
        """Draw the log of a fleet.

        Args:
            n_cases: Vehicles. One without any code is not in the log.
            seed: Same seed, same log. A vehicle depends on the seed and its number only (but for the order of the
                rows inside a time stamp).

        Returns:
            Log with the columns ``vehicle``, ``time``, ``component``, ``code``, ``text``, and its truth: events with
            their parent (columns `EVENT_TRUTH_SCHEMA`; ``kind`` is ``root``, ``caused``, ``background``, ``incident``
            or ``repeat``), edges, and links with ``probability`` and ``delay_seconds`` (median). The cause of a
            repetition is what it repeats.

        Raises:
            ConfigError: An argument is out of range.

        Example:
            >>> found = FaultCodes.random(tied=0, seed=0).simulate(3, seed=1)
            >>> found.log.columns
            ['vehicle', 'time', 'component', 'code', 'text']
        """
        check_range("n_cases", n_cases, low=1, whole=True)
        check_range("seed", seed, low=0, whole=True)
        digits = max(4, len(str(n_cases)))
        generators = [np.random.default_rng([seed, 8, index]) for index in range(n_cases)]
        starts = np.array([int(one.integers(90 * 86_400)) * 1000 for one in generators], dtype=np.int64)
        events, kinds = canonical_events(
            [self._history(one) for one in generators],
            case_names=[f"V{index + 1:0{digits}d}" for index in range(n_cases)],
            type_names=self.names,
            starts_ms=starts,
            tick_ms=max(1, round(self.tick_seconds * 1000)),
        )
        rows = shuffled_rows(events, seed=seed)
        component, code = zip(*(self.types[k] for k in kinds[rows]), strict=True) if len(rows) else ((), ())
        log = pl.DataFrame(
            {
                "vehicle": events["case"].gather(rows),
                "time": events["time"].gather(rows),
                "component": pl.Series(component, dtype=pl.String),
                "code": pl.Series(code, dtype=pl.String),
                "text": self._texts(kinds[rows], np.random.default_rng([seed, 9])),
            }
        )
        columns = {"case": "vehicle", "event": ["component", "code"], "time": "time"}
        edges = caused_edges(events)
        return CausalLog(log, columns, events, edges, self._true_links(edges))

    def _history(self, generator: np.random.Generator) -> list[Occurrence]:
        """Draw the events of one vehicle, each after its cause."""
        end = self.hours * 3600.0
        factor = float(np.exp(generator.normal(0.0, self.spread) - self.spread**2 / 2))
        found: list[Occurrence] = []
        for kind, count in enumerate(generator.poisson(self.rates * factor).tolist()):
            name = "root" if self._follow[kind] else "background"
            found += [Occurrence(float(at), kind, -1, name) for at in generator.uniform(0, end, count)]
        for _ in range(generator.poisson(self.incidents) if self.incidents else 0):
            start, some = generator.uniform(0, end), generator.integers(len(self.incident_classes))
            for kind in self.incident_classes[some]:
                found.append(Occurrence(start + generator.uniform(0, _INCIDENT_SECONDS), kind, -1, "incident"))
        index = 0
        while index < len(found):  # what is appended is looked at in its turn
            event = found[index]
            for link in self._follow[event.kind_of_event] if event.kind != "repeat" else ():
                if generator.random() < link.probability:
                    delay = link.delay_seconds * float(np.exp(generator.normal(0.0, _DELAY_SPREAD)))
                    found.append(Occurrence(event.seconds + delay, link.effect, index, "caused"))
            if self.repeats and generator.random() < self.repeats:
                again = event.seconds + generator.exponential(_REPEAT_SECONDS)
                found.append(Occurrence(again, event.kind_of_event, index, "repeat"))
            index += 1
        return _until(found, end)

    def _texts(self, kinds: NDArray[np.int64], generator: np.random.Generator) -> pl.Series:
        """Write what a person would read beside each code: a symptom of the code, and measured values that vary."""
        volts = generator.normal(12.6, 0.6, len(kinds))
        speed = generator.integers(0, 161, len(kinds))
        texts = [
            f"{self.types[k][0]}: {_SYMPTOMS[k % len(_SYMPTOMS)]}; {v:.1f} V, {s} km/h"
            for k, v, s in zip(kinds.tolist(), volts, speed, strict=True)
        ]
        return pl.Series(texts, dtype=pl.String)

    def _true_links(self, edges: pl.DataFrame) -> pl.DataFrame:
        by_link = edges.group_by("cause", "effect").len("n_events")
        rows = [(self.names[a], self.names[b], probability, delay) for a, b, probability, delay in self.links]
        schema = {"cause": pl.String, "effect": pl.String, "probability": pl.Float64, "delay_seconds": pl.Float64}
        links = pl.DataFrame(rows, schema=schema, orient="row").join(by_link, on=["cause", "effect"], how="left")
        return links.with_columns(pl.col("n_events").fill_null(0).cast(pl.Int64)).sort("cause", "effect")


def _until(found: list[Occurrence], end: float) -> list[Occurrence]:
    """Keep the events before the end. A consequence comes after its cause, so no kept event loses its own."""
    kept = [index for index, event in enumerate(found) if event.seconds < end]
    place = {old: new for new, old in enumerate(kept)} | {-1: -1}
    return [found[index]._replace(parent=place[found[index].parent]) for index in kept]


def _draw_links(n_roots: int, n_cascade: int, n_links: int, generator: np.random.Generator) -> list[FaultLink]:
    """Draw links from lower to higher numbers: one into each type that is no root, then second causes."""
    depth = np.zeros(n_cascade, dtype=np.int64)
    pairs: list[tuple[int, int]] = []
    for effect in range(n_roots, n_cascade):
        able = np.flatnonzero(depth[:effect] < _MAX_DEPTH - 1)
        cause = effect - n_roots if effect < 2 * n_roots else int(generator.choice(able))
        depth[effect] = depth[cause] + 1
        pairs.append((cause, effect))
    free = [
        (a, b)
        for b in range(n_roots, n_cascade)
        for a in range(b)
        if (a, b) not in pairs and depth[a] < depth[b]  # never a step back
    ]
    n_more = n_links - len(pairs)
    if n_more > len(free):
        raise ConfigError(f"n_links must leave room for second causes: {n_more} are wanted and {len(free)} possible")
    pairs += [free[int(i)] for i in generator.choice(len(free), n_more, replace=False)] if n_more else []
    probability = generator.uniform(0.5, 0.95, len(pairs))
    delay = np.exp(generator.uniform(np.log(60.0), np.log(3600.0), len(pairs)))
    return [FaultLink(a, b, float(p), float(d)) for (a, b), p, d in zip(pairs, probability, delay, strict=True)]


def _draw_types(n_types: int, generator: np.random.Generator) -> list[tuple[str, str]]:
    numbers = generator.choice(0x1000, n_types, replace=False) if n_types <= 0x1000 else np.arange(n_types)
    letters = generator.choice(list("BCPU"), n_types)
    return [
        (_COMPONENTS[int(generator.integers(len(_COMPONENTS)))], f"{letter}{0x1000 + number:04X}")
        for letter, number in zip(letters, numbers.tolist(), strict=True)
    ]


def _resolution(fleet: FaultCodes, tied: float, *, seed: int) -> float:
    """Return the tick, in whole seconds, at which a pilot log has this share of ties."""
    histories = [fleet._history(np.random.default_rng([seed, 10, index])) for index in range(_PILOT_CASES)]
    times = [np.sort([event.seconds for event in history]) for history in histories if history]
    total = sum(map(len, times))

    def share(tick: float) -> float:
        return 1.0 - sum(len(np.unique(some // tick)) for some in times) / max(total, 1)

    low, high = 1.0, fleet.hours * 3600.0
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if share(middle) < tied else (low, middle)
    return float(round(high))
