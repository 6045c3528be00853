"""Root causes: shares by hand, and as a flow that is kept whole."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequela.errors import ConfigError
from sequela.graphs.instance import INSTANCE_SCHEMA, InstanceGraph
from sequela.graphs.root_causes import root_causes


def graph(n_events, edges):
    """Edges are (cause, effect, gain)."""
    rows = [(c, e, f"e{c}", f"e{e}", max(e - c, 0), True, abs(g), 0.0, g) for c, e, g in edges]
    table = pl.DataFrame(rows, schema=INSTANCE_SCHEMA, orient="row")
    return InstanceGraph("case", tuple(f"e{i}" for i in range(n_events)), table)


def test_shares_by_hand():
    # 0 -> 2 (gain 1), 1 -> 2 (gain 3), 2 -> 3 (gain 1), 1 -> 3 (gain 1); 4 made 3 no more likely
    found = root_causes(graph(5, [(0, 2, 1.0), (1, 2, 3.0), (2, 3, 1.0), (1, 3, 1.0)]), 3)
    # 3 gives half to 1 and half to 2; 2 gives a quarter of its half to 0, three quarters to 1
    assert found.rows() == [(1, "e1", 0.875, 1), (0, "e0", 0.125, 2)]


def test_causes_that_make_it_less_likely_explain_nothing():
    assert root_causes(graph(3, [(0, 2, -2.0), (1, 2, 0.5)]), 2)["position"].to_list() == [1]
    assert root_causes(graph(3, [(0, 2, -2.0)]), 2).rows() == [(2, "e2", 1.0, 0)]


def test_directions_within_a_tick_are_followed_unless_they_go_round():
    # The later of two positions of one tick causes the earlier one; what follows a tick comes from all of it.
    assert root_causes(graph(4, [(2, 1, 1.0), (1, 3, 1.0)]), 3).rows() == [(2, "e2", 1.0, 2)]
    assert root_causes(graph(4, [(2, 1, 1.0)]), 1).rows() == [(2, "e2", 1.0, 1)]
    tied = [(0, 1, 1.0), (1, 2, 1.0), (2, 0, 1.0), (2, 3, 1.0)]
    round_about = graph(4, tied)
    table = round_about.edges.with_columns(lag=pl.when(pl.col("effect_position") == 3).then(1).otherwise(0))
    found = root_causes(InstanceGraph("case", round_about.events, table.cast({"lag": pl.Int64})), 3)
    assert found.rows() == [(2, "e2", 1.0, 1)]


def test_edges_without_direction_explain_nothing():
    plain = graph(3, [(0, 1, 1.0), (1, 2, 1.0)])
    table = plain.edges.with_columns(directed=pl.col("effect_position") == 1)
    assert root_causes(InstanceGraph("case", plain.events, table), 2)["position"].to_list() == [2]


@given(st.integers(2, 12), st.data())
def test_shares_sum_to_one_and_roots_have_no_causes(n_events, data):
    pairs = [(c, e) for e in range(n_events) for c in range(e)]
    chosen = data.draw(st.lists(st.sampled_from(pairs), unique=True))
    gains = data.draw(st.lists(st.floats(-3, 3), min_size=len(chosen), max_size=len(chosen)))
    drawn = graph(n_events, [(c, e, g) for (c, e), g in zip(chosen, gains, strict=True)])
    position = data.draw(st.integers(0, n_events - 1))
    found = root_causes(drawn, position)
    assert found["share"].sum() == pytest.approx(1)
    caused = {e for (_, e), g in zip(chosen, gains, strict=True) if g > 0}
    assert not caused & set(found["position"])
    # The same by multiplying along every path.
    into = {e: [(c, g) for (c, x), g in zip(chosen, gains, strict=True) if x == e and g > 0] for e in range(n_events)}

    def walk(at, share):
        if not into[at]:
            yield at, share
        for cause, gain in into[at]:
            yield from walk(cause, share * (gain / sum(g for _, g in into[at])))

    shares = np.zeros(n_events)
    for at, share in walk(position, 1.0):
        shares[at] += share
    np.testing.assert_allclose(shares[found["position"].to_numpy()], found["share"].to_numpy(), atol=1e-12)


def test_position_must_exist():
    with pytest.raises(ConfigError, match="position"):
        root_causes(graph(3, []), 3)
