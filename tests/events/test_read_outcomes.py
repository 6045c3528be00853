"""Outcomes of cases: read from a column or a table, and only what came before them counts."""

import numpy as np
import polars as pl
import pytest

import sequela as sq
from sequela.errors import ConfigError, LogFormatError
from sequela.events.outcome_rows import outcome_rows
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary

FRAME = pl.DataFrame(
    {
        "case": ["a", "a", "a", "b", "b", "b", "c", "c"],
        "event": ["x", "y", "x", "x", "z", "z", "y", "y"],
        "time": [0, 10, 20, 100, 110, 120, 0, 500],
        "claim": ["engine", None, "door", None, None, None, "engine", "engine"],
    }
)


def rows(log, labels):
    vocabulary = Vocabulary(("x", "y", "z"), (3, 3, 2))
    return outcome_rows(SequenceSet.from_log(log, vocabulary), log.outcomes, labels, 4)


def test_a_column_gives_several_labels_a_case():
    log = sq.read_log(FRAME, outcome="claim")
    assert log.outcomes.select("case", "label").rows() == [("a", "door"), ("a", "engine"), ("c", "engine")]
    assert log.case("a").outcomes.height == 2
    found = rows(log, ("engine",))
    assert found.counts.toarray().tolist() == [[2, 1, 0, 0], [1, 0, 2, 0], [0, 2, 0, 0]]
    assert found.labels[:, 0].tolist() == [True, False, True]
    assert found.asked.all()


def test_a_table_with_times_counts_what_came_before():
    table = pl.DataFrame({"case": ["a", "a", "c", "q"], "label": ["e", "e", "f", "e"], "time": [15, 5, 600, 1]})
    log = sq.read_log(FRAME, outcomes=table)
    assert log.outcomes.rows() == [("a", "e", 5.0), ("c", "f", 600.0)]  # the first of one label in a case
    assert any("not in the log" in note for note in log.notes)
    found = rows(log, ("e", "f"))
    asked = found.asked[:, 0]
    # a is cut at 5 s; so long after their start b and c are cut as well, though they have no such label
    assert found.counts.toarray()[asked].tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    assert found.labels[asked, 0].tolist() == [True, False, False]
    assert found.n_events[found.asked[:, 1]].tolist() == [3, 3, 2]


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"outcome": "clam"}, LogFormatError, "no column 'clam' for the outcome"),
        ({"outcome": "claim", "outcomes": FRAME}, ConfigError, "not both"),
        ({"outcomes": FRAME}, LogFormatError, "columns case, label and"),
        ({"outcomes": pl.DataFrame({"case": ["q"], "label": ["e"]})}, LogFormatError, "none of its cases is in"),
        ({"outcomes": pl.DataFrame({"case": ["a"], "label": ["e"], "time": [1]}), "time": False}, ConfigError,
         "the log has no times"),
        ({"outcomes": pl.DataFrame({"case": ["a"], "label": ["e"], "time": ["soon"]})}, LogFormatError, "time"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(given, error, says):
    with pytest.raises(error, match=says):
        sq.read_log(FRAME, **given)


def test_cuts_of_cases_without_the_label_follow_those_with_it():
    rng = np.random.default_rng(0)
    n = 400
    frame = pl.DataFrame({"case": [f"c{i}" for i in range(n) for _ in range(10)], "event": ["x", "y"] * (5 * n),
                          "time": [1.0 * k for _ in range(n) for k in range(10)]})  # fmt: skip
    ill = [f"c{i}" for i in range(0, n, 2)]
    table = pl.DataFrame({"case": ill, "label": ["e"] * len(ill), "time": rng.uniform(2, 9, len(ill))})
    found = rows(sq.read_log(frame, outcomes=table), ("e",))
    with_it, without = (found.n_events[found.labels[:, 0] == has] for has in (True, False))
    assert abs(with_it.mean() - without.mean()) < 0.4
