"""A log that is read and sorted a piece at a time is the log that is read whole."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequela.errors import LogFormatError
from sequela.events import rows, vocabulary
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet
from sequela.events.vocabulary import Vocabulary

ROW = st.tuples(st.sampled_from("abcde"), st.sampled_from(["x", "y", "é", "<"]), st.integers(0, 9))
TIMES = {
    "numbers": lambda i: 1_790_000_000 + i,
    "text of numbers": lambda i: str(1_790_000_000_000 + i),
    "dates in digits": lambda i: 20260101 + i,
    "zoned": lambda i: f"2026-01-0{i % 9 + 1}T10:00:00Z",
    "local": lambda i: f"2026-01-0{i % 9 + 1} 10:00",
    "two units": lambda i: 1_790_000_000 * (1000 if i == 9 else 1),
    "some zoned": lambda i: "2026-01-01" + ("T10:00:00Z" if i == 9 else ""),
    "some no time": lambda i: "soon" if i == 9 else "2026-01-01",
    "some that look like dates": lambda i: 20260101 if i == 9 else 1_000_000 + i,
    "counters near dates": lambda i: 20260131 + i,
}


def read(frame, **arguments):
    try:
        log = read_log(frame, case="case", event=["event", "case"], **arguments)
    except LogFormatError as error:
        return str(error)
    known = Vocabulary(("x|a", "y|b", "<rare>"), (1, 1, 1), has_rare=True)
    sequences = SequenceSet.from_log(log, known)
    return [*log.frame.rows(), log.n_ties, sequences.ids.tolist(), sequences.n_unknown]


@settings(max_examples=60, deadline=None)
@given(
    some=st.lists(ROW, min_size=1, max_size=20), kind=st.sampled_from(list(TIMES)), piece=st.integers(1, 7),
    ties=st.sampled_from(["order", "unordered"]), time=st.sampled_from(["time", False]),
)  # fmt: skip
def test_in_pieces_as_a_whole(some, kind, piece, ties, time):
    frame = pl.DataFrame(some, schema=["case", "event", "time"], orient="row")
    frame = frame.with_columns(time=pl.Series([TIMES[kind](i) for i in frame["time"]]))
    whole = read(frame, time=time, ties=ties)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_PIECE", piece)
        patch.setattr(vocabulary, "_PIECE", piece)
        assert read(frame, time=time, ties=ties) == whole
        assert read(frame.lazy(), time=time, ties=ties) == whole


def test_pieces_are_read_at_all(monkeypatch):
    """The test above would pass if they never were."""
    heights = []
    in_pieces = rows._in_pieces

    def counted(table, frame, convert):
        def also(piece):
            heights.append(piece.height)
            return convert(piece)

        return in_pieces(table, frame, also)

    monkeypatch.setattr(rows, "_PIECE", 4)
    monkeypatch.setattr(rows, "_in_pieces", counted)
    frame = pl.DataFrame({"case": ["b", "a"] * 5, "event": list("xyzxyzxyzx"), "time": range(10)})
    log = read_log(frame)
    assert sum(heights) == 10
    assert max(heights) <= 4
    assert log.frame["case"].to_list() == ["a"] * 5 + ["b"] * 5
    assert log.frame.dtypes == [pl.String, pl.String, pl.Float64]
