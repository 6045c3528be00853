"""Any callable as a density: the scores are those of calling it with one whole past."""

import numpy as np
import polars as pl
import pytest
import torch

import sequela as sq
from sequela.density.base import Branches
from sequela.density.blocks import blocks
from sequela.discovery.plan import plan_discovery
from sequela.errors import ConfigError
from sequela.events.vocabulary import Vocabulary

V, LENGTH = 5, 18
NAMES = [f"e{i}" for i in range(V)]
VOCABULARY = Vocabulary(tuple(NAMES), (0,) * V)
RNG = np.random.default_rng(2)
TABLE = RNG.normal(size=(V + 3, V))
IDS = RNG.integers(0, V, LENGTH).astype(np.int32)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def fading(rows):
    """Answers after every event: a sum over the past in which what is longer ago counts less."""
    total, found = np.zeros((len(rows), V)), []
    for column in np.asarray(rows).T:
        total = 0.8 * total + TABLE[column]
        found.append(total)
    return log_softmax(np.stack(found, axis=1))


def after_the_last(rows):
    return fading(rows)[:, -1]


class Module(torch.nn.Module):
    """The same as a module, with something random in training."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.from_numpy(TABLE).float())
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, rows):
        assert rows.dtype == torch.int64
        n = rows.shape[1]
        past = torch.arange(n)[:, None] - torch.arange(n)
        weight = torch.where(past >= 0, 0.8**past, 0.0).float()
        return self.drop(weight @ self.table[rows]).log_softmax(-1)


KINDS = {
    "every position": lambda: sq.wrap_model(fading, NAMES),
    "last position": lambda: sq.wrap_model(after_the_last, VOCABULARY, batch_size=7),
    "module": lambda: sq.wrap_model(Module(), NAMES, knows_hidden=True),
    "short context": lambda: sq.wrap_model(after_the_last, NAMES, context=8),
    "memory": lambda: sq.wrap_model(after_the_last, NAMES, memory=4, batch_size=5),
    "memory, every position": lambda: sq.wrap_model(fading, NAMES, memory=4),
}


def brute_force(density, past):
    if density.memory is not None:
        row = ([VOCABULARY.begin_id] * density.memory + list(past))[-density.memory :]
    else:
        (block,) = [b for b in blocks(len(past) + 1, density.context) if b.low <= len(past) < b.high]
        row = [VOCABULARY.begin_id, *past[block.begin :]]
    return after_the_last(np.array([row]))[0]


@pytest.mark.parametrize("name", KINDS)
def test_scores_are_those_of_single_calls(name):
    density = KINDS[name]()
    score, whole = density.score(IDS), density.conditional(IDS, np.array([LENGTH, 0, 5, 5]))
    for position in range(LENGTH):
        assert score[position] == pytest.approx(brute_force(density, IDS[:position])[IDS[position]], abs=1e-5)
    for row, position in enumerate([LENGTH, 0, 5, 5]):
        assert np.allclose(whole[row], brute_force(density, IDS[:position]), atol=1e-5)
    rng = np.random.default_rng(3)
    tails = rng.integers(0, V, (9, 4)).astype(np.int32)
    tails[1, 0] = VOCABULARY.hidden_id
    starts = rng.integers(0, LENGTH, 9)
    wanted = rng.random(tails.shape) < 0.7
    found = density.score_branches(IDS, starts, tails)
    for k, start in enumerate(starts):
        for step in range(4):
            target = start + step + 1
            if target < LENGTH:
                expected = brute_force(density, np.concatenate([IDS[:start], tails[k, : step + 1]]))[IDS[target]]
                assert found[k, step] == pytest.approx(expected, abs=1e-5)
            else:
                assert np.isnan(found[k, step])
    some = density.score_branches(IDS, starts, tails, wanted=wanted)
    assert np.allclose(some[wanted], found[wanted], equal_nan=True)
    assert np.isnan(some[~wanted]).all()
    several = density.score_branches_many([Branches(IDS[:3], starts[:0], tails[:0]), Branches(IDS, starts, tails)])
    assert np.allclose(several[1], found, equal_nan=True)
    assert density.score_many([IDS[:0], IDS[:4]])[1] == pytest.approx(score[:4])


def test_a_wrapped_model_discovers_and_plan_says_how():
    log = sq.read_log(pl.DataFrame({"case": ["1"] * LENGTH, "event": [NAMES[i] for i in IDS]}))
    density = KINDS["module"]()
    every, last = (
        sq.discover_log(one, log, particles=4, horizon=3, delta=1e-3, progress=False).edges
        for one in (density, KINDS["last position"]())
    )
    assert every.height > 0
    assert every.select("cause", "effect").equals(last.select("cause", "effect"))
    plan = plan_discovery(density, log, particles=2, calibrate=False)
    assert plan.reruns
    assert "scoring   runs whole sequences again for every branch (exact, slow)" in plan.lines()


def fails(rows):
    raise OSError("the scorer at port 1 is gone\nand a long story")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda rows: TABLE[np.asarray(rows)], "sum to 1; they sum to"),
        (lambda rows: fading(rows)[:, :, :3], r"of shape \(3, 5\) .*got \(3, 33, 3\)"),
        (lambda rows: None, "got NoneType"),
        (lambda rows: np.log(np.eye(V)[rows[:, -1] % V] + 0.0), "finite log-probabilities"),
        (lambda rows: log_softmax(np.random.default_rng().normal(size=(len(rows), V))), "each time"),
        (lambda rows: log_softmax(TABLE[rows[:, -1]] + TABLE[rows[:, -1]].mean(0)), "in company"),
        (lambda rows: fading(rows[:, ::-1])[:, ::-1], "a later event moves"),
        (fails, "cannot be run on a batch of sequences: the scorer at port 1 is gone$"),
    ],
)
def test_what_is_no_model_of_the_next_event_is_refused(model, says):
    with np.errstate(divide="ignore"), pytest.raises(ConfigError, match=says):
        sq.wrap_model(model, NAMES, context=32)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": 3}, "model must be something that can be called"),
        ({"vocabulary": "abc"}, "vocabulary must be"),
        ({"memory": 0}, "memory must be"),
        ({"context": 1}, "context must be"),
        ({"knows_hidden": 1}, "knows_hidden must be"),
    ],
)
def test_arguments(change, says):
    with pytest.raises(ConfigError, match=says):
        sq.wrap_model(**({"model": fading, "vocabulary": NAMES} | change))
