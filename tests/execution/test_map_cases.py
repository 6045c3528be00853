"""One way to run over cases: every case once, the same table whatever the ranges, chunks and interruptions."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from sequela.errors import ConfigError, SequelaError
from sequela.events.sequences import SequenceSet
from sequela.execution.chunks import Chunks
from sequela.execution.engines import ENGINES, start_engine
from sequela.execution.map_cases import Piece, map_cases


def some_cases(lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    names = pl.Series([f"c{i}" for i in range(len(lengths))], dtype=pl.String)
    return SequenceSet(np.arange(offsets[-1], dtype=np.int32), offsets, names)


CASES = some_cases(np.random.default_rng(0).integers(1, 90, 60))


@dataclass
class Handle:
    here: int = 10


@dataclass
class Squares:
    """One row an event; stops after some calls."""

    left: int = 10**9
    n_calls: int = 0
    n_cases: int = 0

    def __call__(self, model, cases):
        self.n_calls += 1
        if self.n_calls > self.left:
            raise KeyboardInterrupt
        self.n_cases += cases.n_cases
        rows = pl.DataFrame({"case": cases.case_names, "value": np.diff(cases.offsets) * model})
        return rows, {"n_cases": cases.n_cases, "n_events": cases.n_events}

    def join(self, tables):
        return pl.concat([pl.DataFrame(schema={"case": pl.String, "value": pl.Int64}), *tables])


EXPECTED = Squares()(10, CASES)[0]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(Chunks, "seconds", 0.0)
    monkeypatch.setattr("sequela.execution.map_cases._FIRST_EVENTS", 50)


def joined(chunks):
    return Squares().join([chunk.read() for chunk in chunks])


def total(chunks, name="n_events"):
    return sum(chunk.counts[name] for chunk in chunks)


def at_random(task, model, cases, gaps):
    """An engine whose ranges come back in any order."""
    rng = np.random.default_rng(0)
    ranges = []
    for low, high in gaps:
        cuts = np.unique([low, high, *rng.integers(low, high, 9)])
        ranges += list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))
    for i in rng.permutation(len(ranges)):
        low, high = ranges[i]
        yield Piece(low, high, *task(model.here, cases.take(range(low, high))))


@pytest.mark.parametrize("engine", [None, at_random])
@pytest.mark.parametrize("on_disk", [False, True])
def test_every_case_once_and_in_order(tmp_path, engine, on_disk):
    told = []
    chunks = Chunks(tmp_path) if on_disk else None
    found = map_cases(
        Squares(),
        Handle(),
        CASES,
        engine=engine,
        chunks=chunks,
        update=lambda n, counts: told.append((n, dict(counts))),
    )
    assert joined(found).equals(EXPECTED)
    assert total(found) == CASES.n_events
    assert (len(found) > 1) == on_disk  # in memory all is one table
    assert told[-1] == (60, {"n_cases": 60, "n_events": CASES.n_events})
    assert [n for n, _ in told] == sorted({n for n, _ in told})


@pytest.mark.parametrize("engine", [None, at_random])
def test_interrupted_anywhere_nothing_is_lost_and_nothing_twice(tmp_path, engine):
    n_calls = 0
    for left in (1, 2, 1, 3, 10**9):
        task = Squares(left)
        try:
            found = map_cases(task, Handle(), CASES, engine=engine, chunks=Chunks(tmp_path))
        except KeyboardInterrupt:
            assert not list(tmp_path.glob(".*"))
        n_calls += task.n_calls
    assert joined(found).equals(EXPECTED)
    assert total(found, "n_cases") == 60
    again = Squares()
    assert joined(map_cases(again, Handle(), CASES, chunks=Chunks(tmp_path))).equals(EXPECTED)
    assert again.n_calls == 0


def test_long_cases_and_no_cases():
    lengths = [1, 5000, 1, 1]
    found = map_cases(Squares(), Handle(), some_cases(lengths))
    assert joined(found)["value"].to_list() == [10 * n for n in lengths]
    assert map_cases(Squares(), Handle(), CASES.take(range(0))) == []


@pytest.mark.parametrize("ranges", [[(0, 30)], [(0, 30), (20, 60)], [(0, 60), (60, 61)]])
def test_an_engine_that_loses_or_repeats_cases_is_found_out(ranges):
    def wrong(task, model, cases, gaps):
        return [Piece(low, high, pl.DataFrame({"case": ["a"], "value": [1]}), {}) for low, high in ranges]

    with pytest.raises(RuntimeError, match="cover 60 cases once"):
        map_cases(Squares(), Handle(), CASES, engine=wrong)


DAMAGES = {
    "truncated": lambda path: path.with_suffix(".parquet").write_bytes(path.with_suffix(".parquet").read_bytes()[:-9]),
    "empty table": lambda path: path.with_suffix(".parquet").write_bytes(b""),
    "no table": lambda path: path.with_suffix(".parquet").unlink(),
    "empty counts": lambda path: path.write_bytes(b""),
    "no object": lambda path: path.write_text("[1]"),
    "other counts": lambda path: path.write_text(path.read_text().replace('"n_cases": ', '"n_cases": 1')),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_chunks_are_done_again(tmp_path, damage):
    map_cases(Squares(), Handle(), CASES, chunks=Chunks(tmp_path))
    path = sorted(tmp_path.glob("*.json"))[2]
    low, high = map(int, path.stem.split("-"))
    DAMAGES[damage](path)
    said, task = [], Squares()
    found = map_cases(task, Handle(), CASES, chunks=Chunks(tmp_path, said.append))
    assert task.n_cases == high - low
    assert ["damaged" in text for text in said] == [True]
    assert joined(found).equals(EXPECTED)
    assert total(found) == CASES.n_events


def test_flipped_bits_of_a_chunk_are_found(tmp_path):
    chunks = Chunks(tmp_path)
    chunks.add(0, 2, pl.DataFrame({"case": ["a", "b"], "value": [1, 2]}), {"n_cases": 2})
    (json_path,), (table_path,) = tmp_path.glob("*.json"), tmp_path.glob("*.parquet")
    files = {path: path.read_bytes() for path in (json_path, table_path)}
    for path, content in files.items():
        for bit in range(0, 8 * len(content), 13):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            found = Chunks(tmp_path).done()
            # A flip that changes nothing that is read, such as white space, is no damage.
            assert not found or (found[0].counts == {"n_cases": 2} and path == json_path)
            for name, whole in files.items():
                name.write_bytes(whole)
    assert Chunks(tmp_path).done()[0].read()["value"].to_list() == [1, 2]


def test_a_chunk_that_is_damaged_after_it_was_checked_is_no_result(tmp_path):
    found = map_cases(Squares(), Handle(), CASES, chunks=Chunks(tmp_path))
    path = sorted(tmp_path.glob("*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(SequelaError, match="damaged on the disk"):
        found[0].read()


def test_another_job_starts_anew(tmp_path):
    out = tmp_path / "out"
    map_cases(Squares(), Handle(), CASES, chunks=Chunks.open(out, "a", doing="testing"))
    assert len(Chunks.open(out, "a", doing="testing").done()) > 3
    assert Chunks.open(out, "b", doing="testing").done() == []
    map_cases(Squares(), Handle(), CASES, chunks=Chunks.open(out, None, doing="testing"))
    assert Chunks.open(out, None, doing="testing").done() == []  # one that cannot be told apart is never taken up


def test_engines_are_named():
    assert tuple(ENGINES) == ("local", "ray")
    with pytest.raises(ConfigError, match="did you mean 'ray'"):
        start_engine("rya")
