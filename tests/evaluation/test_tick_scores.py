"""Edges in logs with ties, by hand."""

from __future__ import annotations

import json
import math

import polars as pl
import pytest

from sequela.errors import LogFormatError
from sequela.evaluation.metrics import Scores
from sequela.evaluation.ties import score_directed, score_events, score_roots

# Case a: tick 0 holds x; tick 1 holds y, y, z; tick 2 holds w.
EVENTS = pl.DataFrame(
    {
        "case": ["a"] * 5,
        "position": range(5),
        "tick": [0, 1, 1, 1, 2],
        "event": ["x", "y", "y", "z", "w"],
        "cause_position": [None, 0, None, 1, 3],
        "root_position": [0, 0, 2, 0, 0],
    }
)


def _edges(rows, directed=None):
    table = pl.DataFrame(
        rows, schema=["case", "cause_position", "effect_position", "cause", "effect"], orient="row"
    ).cast({"cause_position": pl.Int64, "effect_position": pl.Int64})
    return table if directed is None else table.with_columns(directed=pl.Series(directed, dtype=pl.Boolean))


TRUTH = _edges([("a", 0, 1, "x", "y"), ("a", 1, 3, "y", "z"), ("a", 3, 4, "z", "w")])


def test_everything_by_hand():
    """x -> y by the other y (the same); y - z undirected; w <- z reversed; x -> z wrong."""
    found = _edges(
        [("a", 0, 2, "x", "y"), ("a", 3, 2, "z", "y"), ("a", 4, 3, "w", "z"), ("a", 0, 3, "x", "z")],
        [True, False, True, True],
    )
    got = score_events(found, TRUTH, EVENTS)
    events = got.events
    assert (events.n_directed, events.n_undirected, events.n_correct, events.n_half, events.n_reversed) == (
        3,
        1,
        1,
        1,
        1,
    )
    assert events.precision == pytest.approx(1.5 / 4)
    assert events.recall == pytest.approx(1.5 / 3)
    assert events.f1 == pytest.approx(2 * 1.5 / 7)
    assert events.adjacency == Scores.from_counts(n_true=3, n_predicted=4, n_correct=3)
    assert events.direction_accuracy == 0.5
    assert events.reversed_share == 0.25
    assert got.within.n_half == got.within.n_undirected == got.within.n_true == 1
    assert got.between.n_reversed == 1
    assert got.recall_by_lag == {0: (0.5, 1), 1: (0.5, 2)}
    assert got.links.adjacency.n_correct == 3
    json.dumps(got.to_dict())


def test_positions_inside_a_tick_mean_nothing():
    """The file has z, y, y where the truth has y, y, z."""
    found = _edges([("a", 0, 2, "x", "y"), ("a", 3, 1, "y", "z"), ("a", 1, 4, "z", "w")])
    got = score_events(found, TRUTH, EVENTS)
    assert got.events.f1 == got.between.f1 == got.within.f1 == got.links.f1 == 1.0
    assert set(got.recall_by_lag.values()) == {(1.0, 1), (1.0, 2)}


def test_two_edges_between_the_same_names_count_once():
    found = _edges([("a", 0, 1, "x", "y"), ("a", 0, 2, "x", "y")])
    assert score_events(found, TRUTH, EVENTS).events.n_directed == 1


def test_both_directions_are_one_right_and_one_wrong():
    got = score_directed([("a", "b"), ("b", "a")], [("a", "b")], [("a", "b")])
    assert (got.n_correct, got.n_undirected, got.n_reversed, got.n_half) == (1, 0, 1, 0)
    assert (got.precision, got.recall) == (0.5, 1.0)
    assert got.adjacency.f1 == 1.0


def test_an_undirected_edge_in_either_order_is_one():
    got = score_directed([], [("a", "b"), ("b", "a")], [("a", "b")])
    assert (got.n_undirected, got.n_half, got.precision, got.recall) == (1, 1, 0.5, 0.5)
    assert math.isnan(got.direction_accuracy)


def test_empty_tables():
    none = TRUTH.clear()
    assert score_events(none, none, EVENTS).events.f1 == 1.0
    assert score_events(none, TRUTH, EVENTS).events.recall == 0.0
    assert score_events(TRUTH, none, EVENTS).events.precision == 0.0


def test_bad_tables_are_named():
    with pytest.raises(LogFormatError, match="found edges has no column 'effect'"):
        score_events(TRUTH.drop("effect"), TRUTH, EVENTS)
    with pytest.raises(LogFormatError, match="'w' at position 1"):
        score_events(_edges([("a", 0, 1, "x", "w")]), TRUTH, EVENTS)
    with pytest.raises(LogFormatError, match="position 9"):
        score_events(_edges([("a", 0, 9, "x", "w")]), TRUTH, EVENTS)


def test_roots_by_hand():
    # Caused: positions 1 (root 0), 3 (root 0), 4 (root 0). Right, wrong, absent.
    found = pl.DataFrame({"case": ["a", "a"], "position": [1, 3], "root_position": [0, 2]})
    assert score_roots(found, EVENTS) == pytest.approx(1 / 3)
    assert math.isnan(score_roots(found, EVENTS.with_columns(cause_position=pl.lit(None, dtype=pl.Int64))))
    with pytest.raises(LogFormatError, match="twice"):
        score_roots(pl.concat([found, found]), EVENTS)
    with pytest.raises(LogFormatError, match="position"):
        score_roots(found.with_columns(position=pl.lit(7) + pl.col("position")), EVENTS)
