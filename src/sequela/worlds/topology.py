"""Alarms that travel: from component to component inside an entity, and from an entity to its neighbours.

Each entity (a device, a machine, a site) is a case. Its components are joined by a topology, and an alarm brings alarms
only of components that are joined to its own. Some alarms bring others at each neighbouring entity. Both tables of
neighbours are what a user would know beside the log. The truth is the parentage of the simulation, across cases.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from sequela.errors import ConfigError, check_range
from sequela.worlds.parentage import EDGE_TRUTH_SCHEMA, CausalLog, number_events, shuffled_rows

_COMPONENTS = ("antenna", "battery", "board", "clock", "fan", "link", "modem", "power", "radio", "router")
_DELAY_SPREAD = 0.6
_EPOCH_MS = 1_704_067_200_000  # 2024-01-01


class AlarmLink(NamedTuple):
    """An alarm of type `cause` brings one of type `effect`: in the same entity, or (`across`) at each neighbour."""

    cause: int
    effect: int
    probability: float
    delay_seconds: float
    across: bool = False


class Alarm(NamedTuple):
    """One simulated alarm: seconds, entity, type, and the number of the alarm that brought it or -1."""

    seconds: float
    entity: int
    kind: int
    parent: int


class AlarmTopology:
    """Entities in a network, whose alarms cause each other within an entity and at its neighbours.

    Args:
        types: ``(component, alarm)`` of each event type.
        rates: Spontaneous alarms an entity, of each type (``[n_types]``, at least 0).
        links: What brings what. They must make no circle, so that cascades end.
        joined: Pairs of components that are joined; every link within an entity lies in one component or between two
            that are joined.
        degree: Neighbours of an entity, on average (at least 2: entities stand in a ring, the rest are drawn).
        hours: How long the network is watched.
        tick_seconds: Resolution of the clock, at least 0.001.

    Raises:
        ConfigError: An argument is out of range, links make a circle, or one leaves the topology.

    Example:
        >>> across = [AlarmLink(0, 1, 1.0, 5.0, across=True)]
        >>> network = AlarmTopology([("link", "down"), ("link", "remote")], [0.5, 0.0], across, [])
        >>> found = network.simulate(10, seed=0)
        >>> bool((found.edges["case"] != found.edges["cause_case"]).all())
        True
    """

    def __init__(
        self,
        types: Sequence[tuple[str, str]],
        rates: ArrayLike,
        links: Sequence[AlarmLink],
        joined: Sequence[tuple[str, str]],
        *,
        degree: float = 3.0,
        hours: float = 72.0,
        tick_seconds: float = 1.0,
    ) -> None:
        check_range("degree", degree, low=2)
        check_range("hours", hours, low=0, above=True)
        check_range("tick_seconds", tick_seconds, low=0.001)
        self.types = [(str(component), str(alarm)) for component, alarm in types]
        self.names = [f"{component}|{alarm}" for component, alarm in self.types]
        self.rates = np.asarray(rates, dtype=np.float64)
        self.links = [AlarmLink(*link) for link in links]
        self.joined = {frozenset(pair) for pair in joined}
        self.degree, self.hours, self.tick_seconds = float(degree), float(hours), float(tick_seconds)
        self._check()

    def _check(self) -> None:
        n_types = len(self.types)
        if len(set(self.names)) != n_types or any("|" in text for pair in self.types for text in pair):
            raise ConfigError("types must hold each (component, alarm) once, without the sign |")
        if self.rates.shape != (n_types,) or not (np.isfinite(self.rates) & (self.rates >= 0)).all():
            raise ConfigError(f"rates must be {n_types} numbers of at least 0, one a type; got {self.rates.tolist()}")
        below = np.zeros((n_types, n_types), dtype=bool)
        for link in self.links:
            if not (0 <= link.cause < n_types and 0 <= link.effect < n_types):
                raise ConfigError(f"links must join types of 0 … {n_types - 1}; got {link}")
            check_range("probability of a link", link.probability, low=0, high=1)
            check_range("delay_seconds of a link", link.delay_seconds, low=0)
            ends = frozenset(self.types[one][0] for one in (link.cause, link.effect))
            if not link.across and len(ends) == 2 and ends not in self.joined:
                raise ConfigError(f"a link within an entity must follow the topology; {sorted(ends)} are not joined")
            below[link.cause, link.effect] = True
        reach = below
        for _ in range(n_types):
            reach = reach | (reach @ below)
        if reach.diagonal().any():
            raise ConfigError("links must make no circle, so that cascades end")

    @classmethod
    def random(
        cls,
        n_types: int = 40,
        *,
        n_components: int = 8,
        n_links: int = 16,
        n_across: int = 6,
        equal_strengths: bool = False,
        alarms_per_entity: float = 60.0,
        background: float = 0.4,
        degree: float = 3.0,
        hours: float = 72.0,
        tick_seconds: float = 1.0,
        seed: int,
    ) -> AlarmTopology:
        """Draw a network.

        Args:
            n_types: Event types, shared out among the components.
            n_components: Components, joined as a tree with two chords.
            n_links: Links within an entity.
            n_across: Links to neighbours.
            equal_strengths: Whether a cause acts at each neighbour as often as within an entity (with a probability
                of 0.4 to 0.9) rather than less often (0.2 to 0.4).
            alarms_per_entity: Mean number of alarms of an entity.
            background: Share of the alarms that neither cause nor are caused.
            degree: Neighbours of an entity, on average.
            hours: How long the network is watched.
            tick_seconds: Resolution of the clock.
            seed: Same seed, same network.

        Raises:
            ConfigError: An argument is out of range, or the topology has no room for the links.

        Example:
            >>> network = AlarmTopology.random(seed=0)
            >>> len(network.links), sum(link.across for link in network.links)
            (22, 6)
        """
        check_range("n_components", n_components, low=3, whole=True)
        check_range("n_types", n_types, low=2 * n_components, whole=True)
        check_range("n_links", n_links, low=0, whole=True)
        check_range("n_across", n_across, low=0, whole=True)
        check_range("alarms_per_entity", alarms_per_entity, low=0, above=True)
        check_range("background", background, low=0, high=1)
        check_range("seed", seed, low=0, whole=True)
        generator = np.random.default_rng([seed, 14])
        names = [
            _COMPONENTS[i % len(_COMPONENTS)] + ("" if i < len(_COMPONENTS) else str(i)) for i in range(n_components)
        ]
        joined = _draw_topology(names, generator)
        types = [(names[i % n_components], f"A{100 + i}") for i in range(n_types)]
        n_active = max(2, round(0.7 * n_types))
        order = generator.permutation(n_types)[:n_active]  # links go forward in this order
        links = _draw_links(types, order, joined, n_links, n_across, equal_strengths, generator)
        mean = np.zeros((n_types, n_types))
        for link in links:
            mean[link.cause, link.effect] += link.probability * (degree if link.across else 1.0)
        caused = mean.sum(axis=0) > 0
        active = caused | (mean.sum(axis=1) > 0)
        shape = np.where(active, np.where(caused, 0.1, 1.0), 0.0) * np.exp(generator.normal(0, 0.3, n_types))
        family = np.linalg.solve(np.eye(n_types) - mean, np.ones(n_types))
        rates = np.zeros(n_types)
        quiet = ~active
        if active.any():
            share = 1.0 - background if quiet.any() else 1.0
            rates += shape * share * alarms_per_entity / (shape @ family)
        if quiet.any():
            zipf = 1.0 / (1.0 + np.arange(int(quiet.sum())))
            share = background if active.any() else 1.0
            rates[quiet] = zipf / zipf.sum() * share * alarms_per_entity
        return cls(types, rates, links, joined, degree=degree, hours=hours, tick_seconds=tick_seconds)

    def simulate(self, n_cases: int = 100, *, seed: int) -> CausalLog:
        """Draw a network of entities and the log of its alarms.

        Args:
            n_cases: Entities, at least 3.
            seed: Same seed, same log.

        Returns:
            Log with the columns ``entity``, ``time``, ``component``, ``alarm``, and its truth. Positions are within
            the entity; events and edges say which entity the cause is of (``cause_case``; null: no cause), events
            also ``root_case``. The ``lag`` of an edge counts ticks of the effect's entity if both are of one entity
            and is null otherwise; ``seconds`` is the time between. Beside the log: ``neighbours`` (entity, neighbour)
            and ``components`` (component, neighbour), each pair once in both directions.

        Raises:
            ConfigError: An argument is out of range.

        Example:
            >>> found = AlarmTopology.random(seed=0).simulate(5, seed=1)
            >>> sorted(found.known), found.log.columns
            (['components', 'neighbours'], ['entity', 'time', 'component', 'alarm'])
        """
        check_range("n_cases", n_cases, low=3, whole=True)
        check_range("seed", seed, low=0, whole=True)
        generator = np.random.default_rng([seed, 15])
        neighbours = _draw_network(n_cases, self.degree, generator)
        alarms = self._alarms(neighbours, generator)
        digits = max(3, len(str(n_cases - 1)))
        entities = pl.Series([f"N{i:0{digits}d}" for i in range(n_cases)], dtype=pl.String)
        events, kinds = self._events(alarms, entities)
        edges = _edges(events)
        rows = shuffled_rows(events, seed=seed)
        component, alarm = (pl.Series([pair[i] for pair in self.types], dtype=pl.String) for i in (0, 1))
        log = pl.DataFrame(
            {
                "entity": events["case"].gather(rows),
                "time": events["time"].gather(rows),
                "component": component.gather(kinds[rows]),
                "alarm": alarm.gather(kinds[rows]),
            }
        )
        pairs = [(entities[a], entities[b]) for a, some in enumerate(neighbours) for b in some]
        beside = sorted((a, b) for pair in self.joined for a, b in (sorted(pair), sorted(pair, reverse=True)))
        text = pl.String()
        known = {
            "neighbours": pl.DataFrame(pairs, schema={"entity": text, "neighbour": text}, orient="row"),
            "components": pl.DataFrame(beside, schema={"component": text, "neighbour": text}, orient="row"),
        }
        columns = {"case": "entity", "event": ["component", "alarm"], "time": "time"}
        return CausalLog(log, columns, events, edges, self._true_links(edges), known)

    def _alarms(self, neighbours: list[list[int]], generator: np.random.Generator) -> list[Alarm]:
        """Draw all alarms of the network in time order, so that each comes after its cause."""
        end = self.hours * 3600.0
        follow: list[list[AlarmLink]] = [[] for _ in self.types]
        for link in self.links:
            follow[link.cause].append(link)
        waiting: list[tuple[float, int, Alarm]] = []
        for entity in range(len(neighbours)):
            for kind, count in enumerate(generator.poisson(self.rates).tolist()):
                for at in generator.uniform(0, end, count).tolist():
                    heapq.heappush(waiting, (at, len(waiting), Alarm(at, entity, kind, -1)))
        found: list[Alarm] = []
        pushed = len(waiting)
        while waiting:
            at, _, alarm = heapq.heappop(waiting)
            if at >= end:
                break
            number = len(found)
            found.append(alarm)
            for link in follow[alarm.kind]:
                for entity in neighbours[alarm.entity] if link.across else [alarm.entity]:
                    if generator.random() < link.probability:
                        later = at + link.delay_seconds * float(np.exp(generator.normal(0.0, _DELAY_SPREAD)))
                        heapq.heappush(waiting, (later, pushed, Alarm(later, entity, link.effect, number)))
                        pushed += 1
        return found

    def _events(self, alarms: list[Alarm], entities: pl.Series) -> tuple[pl.DataFrame, NDArray[np.int64]]:
        """Return all events in canonical order, and the number of the type of each."""
        entity, kind, parent = (
            np.array([getattr(one, name) for one in alarms], dtype=np.int64) for name in ("entity", "kind", "parent")
        )
        tick_ms = max(1, round(self.tick_seconds * 1000))
        stamp = np.array([int(one.seconds * 1000) // tick_ms * tick_ms for one in alarms], dtype=np.int64)
        number = number_events(entity, stamp, kind, parent, self.names)
        order = number.order
        cause, root = parent[order], number.root[order]
        acts = {link.cause for link in self.links}
        events = pl.DataFrame(
            {
                "case": entities.gather(entity[order]),
                "position": number.position[order],
                "tick": number.tick[order],
                "time": pl.Series(_EPOCH_MS + stamp[order], dtype=pl.Int64).cast(pl.Datetime("ms")),
                "event": pl.Series(self.names, dtype=pl.String).gather(kind[order]),
                "kind": ["caused" if alarms[i].parent >= 0 else "root" if alarms[i].kind in acts else "background"
                         for i in order.tolist()],
                "cause_case": entities.gather(entity[cause]),
                "cause_position": number.position[cause],
                "root_case": entities.gather(entity[root]),
                "root_position": number.position[root],
                "depth": number.depth[order],
            },
            schema_overrides={"kind": pl.String()},
        )  # fmt: skip
        caused = pl.Series(cause >= 0)
        hidden = [pl.when(caused).then(name).alias(name) for name in ("cause_case", "cause_position")]
        return events.with_columns(hidden), kind[order]

    def _true_links(self, edges: pl.DataFrame) -> pl.DataFrame:
        across = (pl.col("case") != pl.col("cause_case")).alias("across")
        counts = edges.group_by("cause", "effect", across).len("n_events")
        rows = [(self.names[a], self.names[b], across, p, delay) for a, b, p, delay, across in self.links]
        schema = {
            "cause": pl.String(), "effect": pl.String(), "across": pl.Boolean(), "probability": pl.Float64(),
            "delay_seconds": pl.Float64(),
        }  # fmt: skip
        links = pl.DataFrame(rows, schema=schema, orient="row").join(
            counts, on=["cause", "effect", "across"], how="left"
        )
        return links.with_columns(pl.col("n_events").fill_null(0).cast(pl.Int64)).sort("cause", "effect", "across")


def _edges(events: pl.DataFrame) -> pl.DataFrame:
    """Return the edges that events know of, across entities too."""
    causes = events.select(
        cause_case="case", cause_position="position", cause="event", cause_tick="tick", before="time"
    )
    caused = events.filter(pl.col("cause_position").is_not_null()).rename(
        {"position": "effect_position", "event": "effect", "tick": "effect_tick"}
    )
    joined = caused.join(causes, on=["cause_case", "cause_position"], how="left", maintain_order="left")
    inside = pl.col("case") == pl.col("cause_case")
    return joined.with_columns(
        lag=pl.when(inside).then(pl.col("effect_tick") - pl.col("cause_tick")),
        same_tick=pl.col("time") == pl.col("before"),
        seconds=(pl.col("time") - pl.col("before")).dt.total_milliseconds() / 1000,
    ).select("cause_case", *EDGE_TRUTH_SCHEMA, "seconds")


def _draw_network(n_entities: int, degree: float, generator: np.random.Generator) -> list[list[int]]:
    """Draw neighbours: a ring, and random pairs until the mean degree is reached."""
    pairs = {frozenset((i, (i + 1) % n_entities)) for i in range(n_entities)}
    wanted = min(round(degree * n_entities / 2), n_entities * (n_entities - 1) // 2)
    while len(pairs) < wanted:
        a, b = (int(one) for one in generator.integers(n_entities, size=2))
        if a != b:
            pairs.add(frozenset((a, b)))
    found: list[list[int]] = [[] for _ in range(n_entities)]
    for pair in pairs:
        a, b = sorted(pair)
        found[a].append(b)
        found[b].append(a)
    return [sorted(some) for some in found]


def _draw_topology(names: Sequence[str], generator: np.random.Generator) -> list[tuple[str, str]]:
    """Draw a tree over components and two chords."""
    pairs = [(names[int(generator.integers(i))], names[i]) for i in range(1, len(names))]
    free = [(a, b) for i, b in enumerate(names) for a in names[:i] if (a, b) not in pairs]
    return pairs + [free[int(i)] for i in generator.permutation(len(free))[:2]]


def _draw_links(
    types: Sequence[tuple[str, str]],
    order: NDArray[np.int64],
    joined: Sequence[tuple[str, str]],
    n_links: int,
    n_across: int,
    equal_strengths: bool,
    generator: np.random.Generator,
) -> list[AlarmLink]:
    """Draw links forward in an order of the types: within the topology, and to neighbours."""
    near = {frozenset(pair) for pair in joined}
    forward = [(int(a), int(b)) for i, a in enumerate(order) for b in order[i + 1 :]]
    inside = [pair for pair in forward if types[pair[0]][0] == types[pair[1]][0] or frozenset(
        (types[pair[0]][0], types[pair[1]][0])
    ) in near]  # fmt: skip
    if n_links > len(inside) or n_across > len(forward) - n_links:
        raise ConfigError(
            f"n_links and n_across must fit the topology: {len(inside)} and {len(forward) - n_links} pairs are "
            f"possible; got {n_links} and {n_across}"
        )
    some = [inside[int(i)] for i in generator.choice(len(inside), n_links, replace=False)] if n_links else []
    rest = [pair for pair in forward if pair not in some]
    far = [rest[int(i)] for i in generator.choice(len(rest), n_across, replace=False)] if n_across else []
    found = []
    for (a, b), across in [(pair, False) for pair in some] + [(pair, True) for pair in far]:
        low, high = (0.2, 0.4) if across and not equal_strengths else (0.4, 0.9)
        chance = float(generator.uniform(low, high))
        found.append(AlarmLink(a, b, chance, float(np.exp(generator.uniform(np.log(10), np.log(300)))), across))
    return found
