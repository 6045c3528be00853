"""A world whose only effect goes through time: the cause decides how soon the next event comes, and that what it is."""

import numpy as np
import polars as pl
import pytest

from conftest import vocabulary_of
from sequela.density.training.fit import fit
from sequela.density.window.finite_memory import FiniteMemoryDensity
from sequela.discovery.discover import estimate
from sequela.events.log import read_log
from sequela.events.sequences import Case

CAUSE, EFFECT, SOON = 0, 1, 10.0
SOON_AFTER = np.array([0.9, 0.1, 0.1, 0.0, 0.0, 0.0])  # by the last event; none before the first
NEXT = np.array([[0.45, 0.1, 0.45], [0.1, 0.8, 0.1]])  # by whether it comes soon


QUICK = {"max_steps": 2, "width": 4, "device": "cpu"}


class Exact(FiniteMemoryDensity):
    """The exact law, given the time of the next event or with that time integrated out."""

    memory, vocabulary = 1, vocabulary_of(3)
    fingerprint = "mediator"

    def __init__(self, uses_times):
        self.uses_times = uses_times

    def window_conditional(self, windows):
        soon = SOON_AFTER[windows[:, -1]]
        return np.log(np.stack([1 - soon, soon], axis=1) @ NEXT)

    def timed_conditional(self, windows, gaps):
        if gaps is None:
            return self.window_conditional(windows)
        return np.log(NEXT[((gaps[:, -1] < SOON) & (windows[:, -1] < 3)).astype(int)])

    def timed_log_prob(self, windows, gaps, targets):
        return self.timed_conditional(windows, gaps)[np.arange(len(windows)), targets]

    def window_log_prob(self, windows, targets):
        return self.timed_log_prob(windows, None, targets)


def test_an_effect_through_time_counts_without_times_only():
    case = Case("a", np.array([2, CAUSE, EFFECT, 2], np.int32), np.array([0.0, 50.0, 51.0, 90.0]))
    total, direct = (estimate(Exact(uses), case, particles=2, screening=0) for uses in (False, True))
    p, q = 0.9 * 0.8 + 0.1 * 0.1, (0.73 + 2 * (0.1 * 0.8 + 0.9 * 0.1)) / 3
    assert total.cmi[1, 0] == pytest.approx(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    assert total.cmi[1, 0] == pytest.approx(0.288, abs=1e-3)
    assert direct.cmi[1, 0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("mediates", [True, False])
def test_fit_says_that_effects_through_time_do_not_count(mediates, capsys):
    rng = np.random.default_rng(0)
    rows = []
    for case in range(60):
        last, now = 2, 0.0
        for _ in range(20):
            soon = rng.random() < (SOON_AFTER[last] if mediates else 0.4)
            now += rng.uniform(0, SOON) if soon else rng.uniform(20, 90)
            last = rng.choice(3, p=NEXT[int(soon)])
            rows.append({"case": f"c{case}", "event": f"e{last}", "time": now})
    density = fit(read_log(pl.DataFrame(rows)), **QUICK)
    assert density.uses_times
    assert ("how soon the next event comes do not count" in capsys.readouterr().err) == mediates


@pytest.mark.parametrize("tells", ["state", "what"])
def test_times_that_tell_how_an_event_went_are_left_out(tells, capsys):
    """Soon is how it went, or which of two it was: only the first would hide effects on how it went."""
    rng = np.random.default_rng(0)
    soon, other = rng.random((2, 60 * 20)) < 0.4
    words = {"what": np.where(soon, "put", "get"), "state": np.where(other, "failed", "ok")}
    if tells == "state":
        words = {"what": np.where(other, "put", "get"), "state": np.where(soon, "failed", "ok")}
    seconds = np.where(soon, rng.uniform(0, SOON, len(soon)), rng.uniform(20, 90, len(soon))).cumsum()
    log = pl.DataFrame({"case": np.repeat(np.arange(60), 20), "time": seconds, **words})
    columns = {"case": "case", "time": "time", "event": "what", "state": "state"}
    density = fit(read_log(log, **columns), **QUICK)
    assert density.uses_times == (tells == "what")
    assert ("the time before an event tells how it went" in capsys.readouterr().err) == (tells == "state")
    assert fit(read_log(log, **columns), times=True, **QUICK).uses_times
    assert fit(read_log(log, **(columns | {"event": ["state", "what"], "state": None})), **QUICK).uses_times
