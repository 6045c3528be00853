"""Vocabulary and ragged sequences."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequela.errors import ConfigError, LogFormatError, VocabularyError
from sequela.events.log import read_log
from sequela.events.sequences import SequenceSet, case_hash
from sequela.events.vocabulary import RARE, Vocabulary
from sequela.files import write_record

LOG = read_log(pl.DataFrame({"case": list("aaabbbbc"), "event": list("xyxzyxxw"), "time": range(8)}))
WORDS = Vocabulary.build(LOG, min_count=2)


def test_most_frequent_first_and_rare_last():
    assert WORDS.names == ("x", "y", RARE)
    assert WORDS.counts == (4, 2, 2)
    assert WORDS.frequencies.tolist() == [0.5, 0.25, 0.25]
    assert {WORDS.pad_id, WORDS.begin_id, WORDS.hidden_id} == {3, 4, 5}


def test_unknown_types_are_counted_or_refused():
    ids, n_unknown = WORDS.encode(pl.Series(["x", "new", "y"]))
    assert (ids.tolist(), n_unknown) == ([0, 2, 1], 1)
    with pytest.raises(VocabularyError, match=r"'alarmm' \(did you mean 'alarm'"):
        Vocabulary(("alarm", "b"), (1, 1)).encode(pl.Series(["alarmm"]))


@pytest.mark.parametrize(("events", "says"), [("xx", r"found 1 \('x'\)"), (["x", RARE], "reserved")])
def test_logs_without_a_vocabulary(events, says):
    with pytest.raises(VocabularyError, match=says):
        Vocabulary.build(read_log(pl.DataFrame({"case": ["a", "a"], "event": list(events)})))


def test_vocabulary_round_trip_and_damage(tmp_path):
    WORDS.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json") == WORDS
    for damage in ("{}", "[", json.dumps({"names": [1, 2], "counts": [1, 2], "has_rare": False})):
        (tmp_path / "v.json").write_text(damage)
        with pytest.raises(VocabularyError, match="is not a vocabulary"):
            Vocabulary.load(tmp_path / "v.json")


def test_ragged_layout():
    sequences = SequenceSet.from_log(LOG, WORDS)
    assert sequences.lengths.tolist() == [3, 4, 1]
    assert [case.ids.tolist() for case in sequences] == [[0, 1, 0], [2, 1, 0, 0], [2]]
    assert sequences[1].name == "b"
    assert sequences[1].times.tolist() == [3, 4, 5, 6]
    taken = sequences.take([2, 0])
    assert [case.name for case in taken] == ["c", "a"]
    assert taken.ids.tolist() == [2, 0, 1, 0]


def test_saved_sets_are_mapped_and_damage_is_refused(tmp_path):
    sequences = SequenceSet.from_log(LOG, WORDS)
    sequences.save(tmp_path / "s")
    again = SequenceSet.load(tmp_path / "s")
    assert isinstance(again.ids, np.memmap)
    assert np.array_equal(again.ids, sequences.ids)
    assert np.array_equal(again.times, sequences.times)
    assert again.case_names.to_list() == ["a", "b", "c"]
    with pytest.raises(ConfigError, match="overwrite"):
        sequences.save(tmp_path / "s")
    np.save(tmp_path / "s" / "offsets.npy", np.array([0, 99], dtype=np.int64))
    with pytest.raises(LogFormatError, match=r"offsets.npy has \d+ bytes, \d+ were written"):
        SequenceSet.load(tmp_path / "s")
    write_record(tmp_path / "s", "sequences.json", json.loads((tmp_path / "s" / "sequences.json").read_text()))
    with pytest.raises(LogFormatError, match="do not fit"):
        SequenceSet.load(tmp_path / "s")
    with pytest.raises(LogFormatError, match="not a saved sequence set"):
        SequenceSet.load(tmp_path / "none")


def many(n):
    offsets = np.arange(n + 1, dtype=np.int64) * 2
    return SequenceSet(np.zeros(2 * n, np.int32), offsets, pl.Series([f"case {i}" for i in range(n)]))


def test_split_depends_on_the_name_alone():
    everything = many(500)
    parts = everything.split((0.8, 0.1, 0.1))
    assert [part.n_cases for part in parts] == pytest.approx([400, 50, 50], abs=20)
    names = [set(part.case_names) for part in parts]
    assert len(set.union(*names)) == sum(map(len, names)) == 500
    subset = everything.take(np.random.default_rng(0).permutation(500)[:300])
    for part, whole in zip(subset.split((0.8, 0.1, 0.1)), names, strict=True):
        assert set(part.case_names) <= whole
    assert set(everything.split((0.8, 0.1, 0.1), seed=1)[1].case_names) != names[1]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(0, 5))
def test_no_part_is_ever_empty_and_no_event_is_lost(n_cases, seed):
    parts = many(n_cases).split((0.8, 0.1, 0.1), seed=seed)
    if n_cases >= 3:
        assert all(part.n_cases for part in parts)
    assert sum(part.n_events for part in parts) == 2 * n_cases


def test_few_cases_are_cut_along_time():
    one = SequenceSet(np.arange(10, dtype=np.int32), np.array([0, 10]), pl.Series(["a"]))
    assert [part.ids.tolist() for part in one.split((0.8, 0.1, 0.1))] == [list(range(8)), [8], [9]]


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.0, 0.0), ()])
def test_bad_shares(shares):
    with pytest.raises(ConfigError, match="shares"):
        many(5).split(shares)


def test_case_hash_is_fixed():
    assert case_hash("28", 0) == case_hash("28", 0) != case_hash("28", 1)
    assert case_hash("28", 0) != case_hash("29", 0)
    assert 0 <= case_hash("x", -5) < 2**64
