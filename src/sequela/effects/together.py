"""Several designs of one sequence at once: a branch that more than one of them asks for is scored once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sequela.density.base import Branches, Density
from sequela.density.runtime.network_density import within_memory
from sequela.density.runtime.threads import right_threads
from sequela.effects.cmi import CMIEstimate
from sequela.effects.designs import DESIGNS, Problem, default_proposal, make_design
from sequela.effects.encoding import encode_case
from sequela.effects.scorer import Band
from sequela.effects.settings import Settings
from sequela.errors import ConfigError, check_choice
from sequela.events.log import EventLog
from sequela.events.sequences import Case, case_hash


def estimate_designs(
    density: Density,
    case: EventLog | Case | Sequence[str],
    designs: Sequence[str] = ("atomic", "leave-one-out"),
    **settings: Any,
) -> dict[str, CMIEstimate]:
    """Estimate the conditional mutual information of one sequence by several designs.

    The same numbers as `sequela.estimate` for each design (to 1e-5 nats), for less: designs whose replacements are
    enumerated, or drawn from the same proposal, ask for the same branches. The prefix runs once for all.

    Args:
        density: A trained density, or a world.
        case: The log of one case, or a list of event types in time order.
        designs: Names of designs, each once.
        **settings: As for `sequela.estimate`, but ``design`` and ``screening``; ``proposal`` is for some.

    Returns:
        The banded arrays of each design, by its name.

    Raises:
        ConfigError: A design is unknown or named twice, or a setting is not allowed.

    Example:
        >>> from sequela.worlds.softmax import SoftmaxWorld
        >>> world = SoftmaxWorld.random(4, horizon=2, seed=0)
        >>> found = estimate_designs(world, ["e0", "e1", "e2"], particles=4)
        >>> sorted(found), found["atomic"].cmi.shape
        (['atomic', 'leave-one-out'], (3, 2))
    """
    if not designs or len(set(designs)) < len(designs) or {"design", "screening"} & settings.keys():
        raise ConfigError(f"designs must name one or more designs, each once, without screening; got {list(designs)}")
    chosen = {}
    for name in designs:
        check_choice("design", name, DESIGNS)
        proposal = settings.get("proposal") if name in ("atomic", "staircase") else None
        chosen[name] = Settings(**(settings | {"design": name, "proposal": proposal}))
    if "masked" in chosen and not density.knows_hidden:
        raise ConfigError("the design 'masked' needs a density trained with hidden events (fit with hide > 0)")
    one, _ = encode_case(density, case)
    first = next(iter(chosen.values()))
    horizon = first.horizon_for(density, len(one.ids))
    bands = {name: Band(one, horizon, own) for name, own in chosen.items()}
    causes = np.arange(first.context, len(one.ids) - 1)
    allotments = [own.allotment(density, horizon, len(one.ids)) for own in chosen.values()]
    density = within_memory(
        density, min(each.model_bytes for each in allotments), longest=len(one.ids), horizon=horizon
    )
    size = min(
        each.n_cells // (own.particles_for(density) * horizon)
        for each, own in zip(allotments, chosen.values(), strict=True)
    )
    size = max(1, size // len(chosen))
    with right_threads():
        for low in range(0, len(causes), size):
            made = {}
            for name, own in chosen.items():
                problem = Problem(
                    density, one.ids, causes[low : low + size], horizon, own.context,
                    default_proposal(name, own.proposal), own.particles, case_hash(one.name, own.seed), own.statistic,
                    one.times, own.excludes_effect_type, own.kept_components,
                )  # fmt: skip
                made[name] = make_design(name, problem)
            asked = [design.branches() for design in made.values()]
            shared, places = _distinct(asked)
            (scores,), (answer,) = density.score_both([shared])
            for (name, design), place in zip(made.items(), places, strict=True):
                bands[name].put(design.problem, design.cells(scores, answer[place]), chosen[name].particles)
    return {name: band.estimate() for name, band in bands.items()}


def _distinct(asked: Sequence[Branches]) -> tuple[Branches, list[np.ndarray[Any, Any]]]:
    """Return the distinct branches of one sequence, and where each of those asked for stands among them."""
    rows = np.concatenate([np.concatenate([one.starts[:, None], one.tails], axis=1) for one in asked])
    distinct, place = np.unique(rows, axis=0, return_inverse=True)
    shared = Branches(
        asked[0].ids, distinct[:, 0], np.ascontiguousarray(distinct[:, 1:], dtype=np.int32), asked[0].times
    )
    return shared, np.split(place.ravel(), np.cumsum([len(one.starts) for one in asked])[:-1])
