"""Fixed-point sums: exact additions, one stated rounding, and no silent overflow."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequela.errors import SequelaError
from sequela.evidence.fixed_point import (
    add_limbs,
    add_units,
    from_limbs,
    from_units,
    to_limbs,
    to_units,
)

BETS = st.lists(st.floats(-700, 700), min_size=1, max_size=40)
REALS = st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=40)
ONE = np.array([0])


def cut(data, n):
    """Return a random order of n things, cut into runs."""
    order = data.draw(st.permutations(range(n)))
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1)))) if n > 1 else []
    return [order[low:high] for low, high in zip([0, *cuts], [*cuts, n], strict=True)]


@given(REALS, st.data())
def test_any_partition_and_order_gives_the_same_limbs(values, data):
    given_limbs = to_limbs(np.array(values))
    whole = add_limbs(given_limbs, ONE)
    sums = [add_limbs(given_limbs[:, run], ONE) for run in cut(data, len(values))]
    total = add_limbs(np.concatenate(sums, axis=1), ONE)
    assert total.tobytes() == whole.tobytes()
    exact = sum(map(Fraction, values))
    held = Fraction(int(total[0, 0]), 2**12) + Fraction(int(total[1, 0]), 2**52)
    assert abs(held - exact) <= Fraction(len(values), 2**53)
    assert abs(float(from_limbs(total)[0]) - math.fsum(values)) <= len(values) * 2.0**-53 + 2 * math.ulp(float(exact))


@given(BETS, st.data())
def test_any_partition_and_order_gives_the_same_units_and_never_more_than_the_bets(values, data):
    units = to_units(np.array(values), down=True)[None]
    whole = add_units(units, ONE)
    sums = [add_units(units[:, run], ONE) for run in cut(data, len(values))]
    total = add_units(np.concatenate(sums, axis=1), ONE)
    assert total.tobytes() == whole.tobytes()
    exact, held = sum(map(Fraction, values)), Fraction(int(total[0, 0]), 2**32)
    assert exact - Fraction(len(values), 2**32) <= held <= exact
    assert Fraction(float(from_units(total[0], down=True)[0])) <= held


@given(st.integers(-(2**61), 2**61))
def test_large_units_become_floats_that_are_not_larger(units):
    value = Fraction(float(from_units(np.array([units]), down=True)[0]))
    exact = Fraction(units, 2**32)
    assert value <= exact
    assert exact - value <= Fraction(math.ulp(float(exact)))


def test_the_rounding_by_hand():
    assert to_units(np.array([2.0**-33, -(2.0**-33), 3 * 2.0**-33])).tolist() == [0, 0, 2]  # ties to even
    assert to_units(np.array([2.0**-33, -(2.0**-33)]), down=True).tolist() == [0, -1]
    assert to_limbs(np.array([-(2.0**-60)])).tolist() == [[0], [0]]  # a low limb of 2^40 is carried
    assert from_limbs(to_limbs(np.array([-3.25, 1e-3]))).tolist() == [-3.25, pytest.approx(1e-3, abs=2.0**-53)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**50])
def test_what_does_not_fit_is_an_error(value):
    with pytest.raises(SequelaError, match="fixed-point"):
        to_units(np.array([0.0, value]))
    with pytest.raises(SequelaError, match="fixed-point"):
        to_limbs(np.array([0.0, value]))


def test_a_sum_that_does_not_fit_is_an_error():
    most = np.full((1, 9), 2**59, np.int64)
    assert add_units(most[:, :3], ONE).tolist() == [[3 * 2**59]]
    with pytest.raises(SequelaError, match="fixed-point"):
        add_units(most, ONE)
    limbs = np.stack([most[0], most[0] * 0])
    with pytest.raises(SequelaError, match="fixed-point"):
        add_limbs(limbs, ONE)
    assert add_units(most[:, :0], np.zeros(0, np.int64)).shape == (1, 0)


def test_runs_are_added_separately():
    values = np.array([[1, 2, 3, 4], [10, 20, 30, 40]])
    assert add_units(values, np.array([0, 1, 3])).tolist() == [[1, 5, 4], [10, 50, 40]]
