"""Cases with outcomes of known causes: an event, one of several, all of several, or k of n of them bring a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sequela.density.base import Density, Floats, Ids
from sequela.density.outcomes.base import OutcomeHead, count_types
from sequela.errors import ConfigError, check_range
from sequela.events.outcomes import SCHEMA
from sequela.worlds.softmax import SoftmaxWorld

KINDS = ("single", "or", "and", "k-of-n")


@dataclass(frozen=True)
class OutcomeRule:
    """What brings a label: at least ``k`` of some event types.

    Attributes:
        label: Name of the label.
        types: Event types.
        k: How many of them must have come: 1 is "or", all is "and".
        hit: Probability of the label where they have.
        noise: Probability elsewhere.
    """

    label: str
    types: tuple[str, ...]
    k: int = 1
    hit: float = 0.9
    noise: float = 0.05


class OutcomeWorld(OutcomeHead):
    """A world of events and the exact law of outcomes.

    Args:
        world: Where the events come from; the density.
        rules: One a label.

    Raises:
        ConfigError: A rule names a type that the world does not have, or a number is out of range.

    Example:
        >>> world = SoftmaxWorld(np.zeros(3), np.zeros((3, 3)), horizon=1, names=["a", "b", "c"])
        >>> both = OutcomeWorld(world, [OutcomeRule("failure", ("a", "b"), k=2)])
        >>> both.probabilities(np.array([[1, 0, 2, 0], [1, 3, 0, 0]])).tolist()
        [[0.05], [0.9]]
        >>> both.truth(np.array([0, 2, 1], np.int32)).round(2).tolist()
        [[0.85], [0.0], [0.85]]
    """

    def __init__(self, world: SoftmaxWorld, rules: list[OutcomeRule]) -> None:
        self.density: Density = world
        self.world = world
        self.rules = tuple(rules)
        self.labels = tuple(rule.label for rule in rules)
        index = {name: i for i, name in enumerate(world.vocabulary.names)}
        for rule in rules:
            check_range("k", rule.k, low=1, high=len(rule.types), whole=True)
            check_range("hit", rule.hit, low=0, high=1)
            check_range("noise", rule.noise, low=0, high=1)
            missing = sorted(set(rule.types) - set(index))
            if missing:
                raise ConfigError(
                    f"the rule of '{rule.label}' names '{missing[0]}', which is no event type of the world"
                )
        self._columns = [np.array([index[name] for name in rule.types]) for rule in rules]

    @classmethod
    def random(cls, n_types: int = 24, *, seed: int, noise: float = 0.05, hit: float = 0.9) -> OutcomeWorld:
        """Draw a world with one label of each of `KINDS`, and events that only go with their causes.

        A third of the types are rare; the causes are of these. Each cause makes one other rare type likely right after
        it (a symptom, which goes with the label and does nothing), and is itself made likely by a common type, which
        therefore acts on the label only through it.

        Args:
            n_types: Event types, 18 or more.
            seed: Same seed, same world.
            noise: Probability of a label without its causes.
            hit: Probability with them.
        """
        check_range("n_types", n_types, low=18, whole=True)
        rng = np.random.default_rng([seed, 2121])
        n_causes = 8
        order = rng.permutation(n_types)
        causes, symptoms, common = order[:n_causes], order[n_causes : n_causes + 4], order[n_causes + 4 :]
        bias = np.zeros(n_types)
        bias[common] = rng.normal(0, 0.3, len(common))
        bias[causes], bias[symptoms] = -1.2, -2.5
        weights = np.zeros((n_types, n_types))
        weights[np.ix_(common, common)] = rng.normal(0, 1.0, (len(common),) * 2) * (
            rng.random((len(common),) * 2) < 0.2
        )
        for i, cause in enumerate(causes):
            weights[rng.choice(common), cause] += 1.5
            if i % 2 == 0:
                weights[cause, symptoms[i // 2]] += 4.5
        world = SoftmaxWorld(bias, weights, horizon=2, decay=0.7)
        names = [world.vocabulary.names[i] for i in causes]
        parts = {"single": (names[:1], 1), "or": (names[1:3], 1), "and": (names[3:5], 2), "k-of-n": (names[5:8], 2)}
        rules = [OutcomeRule(kind, tuple(types), k, hit, noise) for kind, (types, k) in parts.items()]
        return cls(world, rules)

    @property
    def direct_causes(self) -> set[tuple[str, str]]:
        """Pairs of event type and label where the type is in the rule of the label."""
        return {(name, rule.label) for rule in self.rules for name in rule.types}

    def probabilities(self, counts: Floats) -> Floats:
        """Return the exact probability of each label; see `OutcomeHead.probabilities`."""
        found = np.empty((len(counts), len(self.rules)))
        for column, (rule, types) in enumerate(zip(self.rules, self._columns, strict=True)):
            there = (np.asarray(counts)[:, types] > 0).sum(axis=1) >= rule.k
            found[:, column] = np.where(there, rule.hit, rule.noise)
        return found

    def truth(self, ids: Ids) -> Floats:
        """Return the exact direct effect of each event on each label, by its definition.

        Returns:
            Probability of the label as it is, minus the mean over all other event types in the place of the event
            (float64, ``[L, n_labels]``).
        """
        n = self.world.vocabulary.n_types
        found = np.empty((len(ids), len(self.labels)))
        whole = self.probabilities(count_types([ids], n, -1))[0]
        for i in range(len(ids)):
            others = [np.concatenate([ids[:i], [u], ids[i + 1 :]]) for u in range(n) if u != ids[i]]
            found[i] = whole - self.probabilities(count_types(others, n, -1)).mean(axis=0)
        return found

    def simulate(self, n_cases: int, length: int | tuple[int, int], *, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Draw a log and the table of its outcomes (columns ``case`` and ``label``), for `read_log`."""
        sequences = self.world.sample(n_cases, length, seed=seed)
        counts = count_types([case.ids for case in sequences], self.world.vocabulary.n_types, -1)
        drawn = np.random.default_rng([seed, 2122]).random((n_cases, len(self.labels))) < self.probabilities(counts)
        case, label = np.nonzero(drawn)
        table = pl.DataFrame(
            {"case": sequences.case_names.gather(case), "label": [self.labels[i] for i in label]},
            schema={name: SCHEMA[name] for name in ("case", "label")},
        )
        return self.world.to_log(sequences, seed=seed), table
