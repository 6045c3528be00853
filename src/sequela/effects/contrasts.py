"""Two questions about one event, answered from the same branches (`docs/method.md`, section 10).

*Presence*: what if something else had happened here? The event is replaced by draws from the proposal, and the effect
is the later event. *State*: what if the same had gone otherwise? The event is replaced by the types that share all its
components but the last, and the effect is how the later event went, given what acted (`StateLaw`). One of the two
decides which pairs are edges; the estimates of both are columns.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from sequela.effects.designs.problem import Design, GivenWhat, Inquiry, Problem
from sequela.effects.designs.single_cause import replaced
from sequela.effects.proposals import Draws, draw_siblings, draw_weighted
from sequela.errors import ConfigError
from sequela.events.hierarchy import Siblings, siblings
from sequela.events.log import event_components
from sequela.events.vocabulary import Vocabulary

CONTRASTS = ("presence", "state")
STATE_WEIGHTS = ("even", "model")
COLUMNS = ("presence_cmi_nats", "state_cmi_nats", "presence_median_nats", "state_median_nats")
"""Columns of the estimate: the divergence of each contrast, and of its median replacement instead of the mean."""


def contrasts(decides: str, *, state_weights: str = "even") -> Design:
    """Return the design that asks for both contrasts at once.

    Args:
        decides: Which of `CONTRASTS` the estimate is of; the other is a column only.
        state_weights: How the states of an event are weighted: ``"even"``, or ``"model"``, by the probability that the
            density gives each of them there.

    Example:
        >>> from sequela.effects.designs import DesignSettings
        >>> from sequela.effects.scorer import answer
        >>> from sequela.events.sequences import Case
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> base = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> world = SoftmaxWorld(base.bias, base.weights, horizon=2, names=["a|ok", "a|failed", "b|ok", "b|failed"])
        >>> case = Case("x", np.array([0, 3, 1], np.int32), None)
        >>> (cells,) = answer([Problem(world, case, np.arange(2), 2, DesignSettings())], contrasts("state"))
        >>> bool((cells.cmi[0] == cells.columns["state_cmi_nats"][0]).all())
        True
    """

    def design(problem: Problem) -> Inquiry:
        found = {}
        for name, draws in (("presence", problem.draw()), ("state", draw_states(problem, state_weights))):
            branches = problem.branches(draws.types)
            scores = yield branches if name == "presence" else GivenWhat(branches)
            log_p = problem.observed(scores.observed)
            found[name] = replaced(problem, draws, log_p, scores.branches)
            found[f"{name} median"] = replaced(problem, draws, log_p, scores.branches, statistic="kl_of_median")
        columns = {
            column: found[name].cmi
            for column, name in zip(COLUMNS, ("presence", "state", "presence median", "state median"), strict=True)
        }
        return replace(found[decides], columns=columns)

    return design


def draw_states(problem: Problem, weights: str = "even") -> Draws:
    """Return the other states of each cause; a cause of one observed state has none, and NaN for its own weight.

    Args:
        problem: What is asked.
        weights: One of `STATE_WEIGHTS`.
    """
    groups = state_groups(problem.density.vocabulary)
    observed, n = problem.ids[problem.causes], problem.settings.n_particles
    if weights == "even":
        return draw_siblings(observed, problem.positions, groups, n, problem.key)
    whole = np.exp(problem.density.conditional(problem.ids, problem.causes, problem.case.times))  # [P, V]
    low, size = groups.low[observed], groups.size[observed]
    place = np.minimum(np.arange(int(groups.size.max())), size[:, None] - 1)  # [P, S]
    members = groups.types[np.minimum(low[:, None] + place, len(groups.types) - 1)]
    real = np.arange(place.shape[1]) < size[:, None]
    mass = np.zeros_like(whole)
    rows = np.broadcast_to(np.arange(len(observed))[:, None], members.shape)
    mass[rows[real], members[real]] = whole[rows[real], members[real]]
    mass /= np.maximum(mass.sum(axis=1, keepdims=True), 1e-300)
    if (size - 1).max(initial=0) > n:
        draws = draw_weighted(observed, problem.positions, mass, n, problem.key)
    else:
        even = draw_siblings(observed, problem.positions, groups, n, problem.key)
        weight = np.where(even.weight > 0, np.take_along_axis(mass, even.types.astype(np.int64), 1), 0.0)
        draws = Draws(even.types, weight, np.zeros_like(weight), mass[np.arange(len(observed)), observed])
    return draws._replace(observed_weight=np.where(size > 1, draws.observed_weight, np.nan))


@lru_cache(maxsize=8)
def state_groups(vocabulary: Vocabulary) -> Siblings:
    """Group the types that share all components but the last, which is their state.

    Raises:
        ConfigError: Event types have one component only.

    Example:
        >>> groups = state_groups(Vocabulary(("get|ok", "put|ok", "get|failed"), (1, 1, 1)))
        >>> groups.size.tolist()
        [2, 1, 2]
    """
    n_real = vocabulary.n_types - vocabulary.has_rare
    most = max(len(event_components(name)) for name in vocabulary.names[:n_real])
    if most < 2:
        raise ConfigError(
            "a contrast of states needs event types of several columns, the last one the state (event=['operation', "
            "'outcome'], --event repeated); these have one column: leave contrast out"
        )
    return siblings(vocabulary, most - 1)
