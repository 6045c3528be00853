"""Bets on the presence of event types, and sets of causes, by hand and by enumeration."""

import numpy as np
import pytest

from sequela.evidence.outcome_bets import PresenceLaw, presence_bets
from sequela.evidence.outcome_sets import interaction, sufficient


class Head:
    """Any function of counts as a model of one label."""

    labels = ("l",)

    def __init__(self, function):
        self.probabilities = lambda counts: function(np.asarray(counts))[:, None]


def test_the_expected_bet_is_one_whatever_the_model_of_the_label():
    law = PresenceLaw(np.array([0.3, -0.5]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    wrong = Head(lambda counts: 0.1 + 0.8 * (counts[:, 0] > 0) * (counts[:, 1] == 0))
    for other in (False, True):
        for label in (False, True):  # the label says nothing of type 0
            pi = law.probabilities(np.array([[True, other]]))[0, 0]
            e = [
                np.exp(presence_bets(wrong, law, np.array([[came, other]]), np.array([[label]]), np.array([[True]])))[
                    0, 0
                ]
                for came in (False, True)
            ]
            assert (1 - pi) * e[0] + pi * e[1] == pytest.approx(1)


def test_what_is_not_asked_bets_nothing_and_cases_multiply():
    law = PresenceLaw(np.zeros(2), np.zeros((2, 2)))
    head = Head(lambda counts: 0.1 + 0.8 * (counts[:, 0] > 0))
    present, labels = np.array([[True, False], [False, True], [True, True]]), np.array([[True], [False], [True]])
    each = [presence_bets(head, law, present[[i]], labels[[i]], np.array([[True]])) for i in range(3)]
    asked = np.array([[True], [True], [False]])
    np.testing.assert_allclose(presence_bets(head, law, present, labels, asked), each[0] + each[1])
    assert (each[0] + each[1])[0, 0] == pytest.approx(2 * np.log(0.05 + 0.95 * 1.8))
    assert (each[0] + each[1])[1, 0] == pytest.approx(0)


def test_the_law_of_presence_is_that_of_the_data():
    rng = np.random.default_rng(1)
    first = rng.random(4000) < 0.4
    second = rng.random(4000) < np.where(first, 0.8, 0.1)
    law = PresenceLaw.fit(np.stack([first, second], axis=1))
    p = law.probabilities(np.array([[True, False], [False, False]]))
    np.testing.assert_allclose(p[:, 1], [0.8, 0.1], atol=0.04)
    assert np.diag(law.weights).tolist() == [0, 0]


def test_sufficient_sets_by_hand():
    both = lambda counts: np.where((counts[:, 0] > 0) & (counts[:, 1] > 0), 0.9, 0.05)  # noqa: E731
    either = lambda counts: np.where((counts[:, 0] > 0) | (counts[:, 1] > 0), 0.9, 0.05)  # noqa: E731
    row = np.array([1.0, 2.0, 1.0])
    assert sufficient(both, row, [0, 1, 2], 0.02) == [0, 1]
    assert len(sufficient(either, row, [0, 1, 2], 0.02)) == 1
    assert sufficient(both, np.array([1.0, 0.0, 1.0]), [0, 1, 2], 0.02) == []
    counts = np.tile(row, (20, 1))
    assert interaction(both, counts, 0, 1) == pytest.approx((0.85, 0))
    assert interaction(either, counts, 0, 1) == pytest.approx((-0.85, 0))
