"""What a truncated history does to the CMI, against a bound from the total variation lost (open question 4).

Let ``p, q`` be the two probabilities of a cell under the whole history and ``p', q'`` under the last ``c`` events. By
the mean value theorem along the straight line between them, with ``|p - p'| <= t_p`` and ``|q - q'| <= t_q`` (each at
most the total variation between the two conditionals),

    |KL(p || q) - KL(p' || q')| <= t_p max |logit a - logit b| + t_q max |b - a| / (b (1 - b)),

the maxima over ``a`` between ``p' - t_p`` and ``p' + t_p`` and ``b`` between ``q' - t_q`` and ``q' + t_q``. Both slopes
are largest at ends of those ranges. The bound needs only what the truncated density says and the total variation it
loses, goes to 0 with the latter, and is infinite where a probability could be 0 or 1: there a truncated history can
hide any effect.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from sequela.density.base import Floats, Ids
from sequela.density.window.finite_memory import observed_windows
from sequela.evaluation.experiments.common import Experiment, Plan, Row, lines
from sequela.worlds.softmax import SoftmaxWorld


def truncation_bound(p: Floats, q: Floats, lost_p: Floats, lost_q: Floats) -> Floats:
    """Return how far the CMI of a truncated history can be from that of the whole one, in nats.

    Args:
        p: Probability of the effect with the cause as observed, under the truncated history (any shape).
        q: The same with the cause intervened on.
        lost_p: Total variation between the truncated and the whole conditional behind ``p``.
        lost_q: The same for ``q``.

    Returns:
        The bound (same shape); infinite where a probability could be 0 or 1.

    Source: the docstring of this module.

    Example:
        >>> truncation_bound(np.array([0.5]), np.array([0.5]), np.array([0.0]), np.array([0.0])).tolist()
        [0.0]
    """
    a = [np.clip(p - lost_p, 0.0, 1.0), np.clip(p + lost_p, 0.0, 1.0)]
    b = [np.clip(q - lost_q, 0.0, 1.0), np.clip(q + lost_q, 0.0, 1.0)]
    slope_p, slope_q = np.zeros_like(p), np.zeros_like(q)
    with np.errstate(divide="ignore", invalid="ignore"):
        for one, two in itertools.product(a, b):
            slope_p = np.maximum(slope_p, np.abs(np.log(one) - np.log1p(-one) - np.log(two) + np.log1p(-two)))
            slope_q = np.maximum(slope_q, np.abs(two - one) / (two * (1 - two)))
        # 0 times infinity: nothing is lost on that side.
        result = np.where(lost_p > 0, lost_p * slope_p, 0.0) + np.where(lost_q > 0, lost_q * slope_q, 0.0)
    return np.where(np.isnan(result), np.inf, result)


def rows(plan: Plan) -> Iterator[Row]:
    """An exact density that is shown the last ``c`` events only, as a model with a short context is."""
    horizon, n_types = 6, plan.pick("n_types", 15, 50)
    for seed in plan.seeds:
        for decay in (1.0, 0.2):
            world = SoftmaxWorld.random(n_types, horizon=horizon, decay=decay, weight_scale=1.5, seed=seed)
            cases = world.sample(plan.pick("n_scored", 6, 20), 40, seed=seed + 1)
            for kept in range(1, horizon):
                short = SoftmaxWorld(
                    world.bias,
                    world.weights,
                    horizon=horizon,
                    lag_scale=np.where(np.arange(horizon) < kept, world.lag_scale, 0.0),
                )
                cells = [_cells(world, short, case.ids, kept) for case in cases]
                error, bound, lost = (np.concatenate(part) for part in zip(*cells, strict=True))
                finite = np.isfinite(bound)
                yield {
                    "decay": decay,
                    "context": kept,
                    "seed": seed,
                    "mean_error_nats": float(error.mean()),
                    "error_99_nats": float(np.quantile(error, 0.99)),
                    "mean_lost_variation": float(lost.mean()),
                    "median_bound_nats": float(np.median(bound)),
                    "share_bounded": float(finite.mean()),
                    "n_violations": int((error > bound + 1e-9).sum()),
                }


def _cells(world: SoftmaxWorld, short: SoftmaxWorld, ids: Ids, kept: int) -> tuple[Floats, Floats, Floats]:
    """Return error, bound and lost total variation of every pair with a lag inside the short context."""
    n_types, memory = world.vocabulary.n_types, world.memory
    errors, bounds, losses = [], [], []
    whole, cut = world.truth(ids), short.truth(ids)
    for lag in range(1, kept + 1):
        effect = np.arange(lag, len(ids))
        windows = observed_windows(ids, effect, memory, world.vocabulary.begin_id)
        laws = []
        for replaced in range(n_types + 1):
            if replaced < n_types:
                windows[:, memory - lag] = replaced
            else:
                windows[:, memory - lag] = ids[effect - lag]
            laws.append([np.exp(one.window_conditional(windows)) for one in (world, short)])
        observed, every = laws[-1], np.array(laws[:-1]).mean(axis=0)
        lost_p, lost_q = (0.5 * np.abs(one[0] - one[1]).sum(axis=1) for one in (observed, every))
        row = np.arange(len(effect))
        p, q = observed[1][row, ids[effect]], every[1][row, ids[effect]]
        bounds.append(truncation_bound(p, q, lost_p, lost_q))
        errors.append(np.abs(whole[effect - lag, lag - 1] - cut[effect - lag, lag - 1]))
        losses.append(np.maximum(lost_p, lost_q))
    return np.concatenate(errors), np.concatenate(bounds), np.concatenate(losses)


EXPERIMENT = Experiment(
    name="context",
    question="How wrong does a truncated history make the CMI, and is the bound kept?",
    rows=rows,
    by=("decay", "context"),
    show=(
        "mean_error_nats",
        "error_99_nats",
        "mean_lost_variation",
        "median_bound_nats",
        "share_bounded",
        "n_violations",
    ),
    figure=lambda frame: lines(
        frame,
        "context",
        ("mean_error_nats", "error_99_nats", "median_bound_nats"),
        by="decay",
        log_y=True,
        title="Error from a truncated history, and its bound",
    ),
)
