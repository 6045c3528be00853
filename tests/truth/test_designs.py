"""A three-event world worked by hand."""

from fractions import Fraction

import numpy as np
import pytest

from sequela.density.window.finite_memory import FiniteMemoryDensity
from sequela.discovery.discover import estimate
from sequela.errors import ConfigError
from sequela.events.sequences import Case
from sequela.events.vocabulary import Vocabulary

F = Fraction
FIRST = [F(1, 2), F(1, 4), F(1, 4)]  # P(x_0)
SECOND = [  # P(x_1 | x_0), a row for each x_0
    [F(1, 4), F(1, 2), F(1, 4)],
    [F(1, 3), F(1, 3), F(1, 3)],
    [F(1, 2), F(1, 4), F(1, 4)],
]
LAST = [  # P(x_2 = 2 | x_0, x_1), a row for each x_0
    [F(1, 10), F(6, 10), F(2, 10)],
    [F(3, 10), F(2, 10), F(4, 10)],
    [F(5, 10), F(1, 10), F(9, 10)],
]
IDS = np.array([0, 1, 2], np.int32)
BEGIN, HIDDEN = 4, 5
# What is left when the cause is summed out given everything else (worked out at `test_leave_one_out`).
GIVEN_OTHERS = {(0, 1): F(19, 48), (1, 2): F(3, 8), (0, 2): F(83, 190)}


class ThreeEvents(FiniteMemoryDensity):
    """The law above; of an event that is hidden it knows the exact marginal."""

    memory = 2
    knows_hidden = True
    vocabulary = Vocabulary(("a", "b", "c"), (1, 1, 2))

    def window_conditional(self, windows):
        return np.log(np.array([[float(p) for p in self._row(*map(int, window))] for window in windows]))

    def window_log_prob(self, windows, targets):
        return self.window_conditional(windows)[np.arange(len(targets)), targets]

    @staticmethod
    def _row(before, last):
        if last == BEGIN:
            return FIRST
        if before == BEGIN:
            return [1 - GIVEN_OTHERS[0, 1] - F(1, 8), GIVEN_OTHERS[0, 1], F(1, 8)] if last == HIDDEN else SECOND[last]
        if HIDDEN in (before, last):
            two = GIVEN_OTHERS[1, 2] if last == HIDDEN else GIVEN_OTHERS[0, 2]
        else:
            two = LAST[before][last]
        return [(1 - two) / 2, (1 - two) / 2, two]


def kl(p, q):
    p, q = float(p), float(q)
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def check(found, expected):
    """Compare with ``{(cause, effect): (p, q)}``; everything else must be untested."""
    assert np.isfinite(found.cmi).sum() == len(expected)
    for (cause, effect), (p, q) in expected.items():
        cell = cause, effect - cause - 1
        assert np.exp(found.log_p[cell]) == pytest.approx(float(p), abs=1e-12)
        assert np.exp(found.log_q[cell]) == pytest.approx(float(q), abs=1e-12)
        assert found.cmi[cell] == pytest.approx(kl(p, q), abs=1e-12)
        assert found.pointwise[cell] == pytest.approx(np.log(float(p) / float(q)), abs=1e-12)
        assert found.std_error[cell] == 0.0


def run(**settings):
    return estimate(ThreeEvents(), Case("x", IDS, None), **({"particles": 9} | settings))


def test_atomic_uniform():
    expected = {
        (0, 1): (F(1, 2), (F(1, 2) + F(1, 3) + F(1, 4)) / 3),  # 13/36
        (1, 2): (F(6, 10), (F(1, 10) + F(6, 10) + F(2, 10)) / 3),  # 3/10
        (0, 2): (F(6, 10), (F(6, 10) + F(2, 10) + F(1, 10)) / 3),  # x_1 = b kept: 3/10
    }
    check(run(), expected)


def test_atomic_unigram():
    # Frequencies 1/4, 1/4, 1/2.
    expected = {
        (0, 1): (F(1, 2), F(1, 4) * F(1, 2) + F(1, 4) * F(1, 3) + F(1, 2) * F(1, 4)),  # 1/3
        (1, 2): (F(6, 10), F(1, 4) * F(1, 10) + F(1, 4) * F(6, 10) + F(1, 2) * F(2, 10)),
        (0, 2): (F(6, 10), F(1, 4) * F(6, 10) + F(1, 4) * F(2, 10) + F(1, 2) * F(1, 10)),  # 1/4
    }
    check(run(proposal="unigram"), expected)


LEAVE_ONE_OUT = {
    # Sum over u of P(u) P(b | u): 1/2 1/2 + 1/4 1/3 + 1/4 1/4.
    (0, 1): (F(1, 2), GIVEN_OTHERS[0, 1]),
    # Sum over u of P(u | a) P(c | a, u): 1/4 1/10 + 1/2 6/10 + 1/4 2/10.
    (1, 2): (F(6, 10), GIVEN_OTHERS[1, 2]),
    # x_1 = b is evidence about x_0: weights 1/2 1/2, 1/4 1/3, 1/4 1/4 = 12, 4, 3 parts of 19; 6/10, 2/10, 1/10.
    (0, 2): (F(6, 10), GIVEN_OTHERS[0, 2]),
}


def test_leave_one_out():
    assert GIVEN_OTHERS[0, 1] == F(1, 4) + F(1, 12) + F(1, 16)
    assert GIVEN_OTHERS[1, 2] == F(1, 40) + F(3, 10) + F(1, 20)
    assert GIVEN_OTHERS[0, 2] == (12 * F(6, 10) + 4 * F(2, 10) + 3 * F(1, 10)) / 19
    check(run(design="leave-one-out"), LEAVE_ONE_OUT)


def test_masked_is_leave_one_out_for_a_density_that_knows_hidden_events():
    check(run(design="masked"), LEAVE_ONE_OUT)


def test_staircase():
    everything = sum(sum(row, F(0)) for row in LAST) / 9  # 11/30
    expected = {
        (0, 1): (F(1, 2), F(13, 36)),
        (1, 2): (F(6, 10), F(3, 10)),
        # The event between is noise on both sides: with x_0 = a kept, and without.
        (0, 2): ((F(1, 10) + F(6, 10) + F(2, 10)) / 3, everything),
    }
    check(run(design="staircase"), expected)


def test_mean_of_kl():
    found = run(statistic="both")
    half = F(1, 2)
    assert found.mean_of_kl[0, 0] == pytest.approx((0 + kl(half, F(1, 3)) + kl(half, F(1, 4))) / 3, abs=1e-12)
    assert found.mean_of_kl[0, 0] > found.cmi[0, 0]  # Jensen
    assert np.array_equal(run(statistic="mean_of_kl").cmi, found.mean_of_kl, equal_nan=True)


def test_context_is_never_a_cause():
    found = run(context=1)
    assert np.isnan(found.cmi[0]).all()
    assert found.n_tested == 1


def test_masked_needs_a_density_that_knows_hidden_events():
    density = ThreeEvents()
    density.knows_hidden = False
    with pytest.raises(ConfigError, match="hide > 0"):
        estimate(density, Case("x", IDS, None), design="masked")
