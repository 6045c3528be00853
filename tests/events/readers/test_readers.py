"""Every format gives every row, a name is a name, and a file that is not whole is refused."""

import contextlib
import gzip
import io
import os
import random
import sys
import threading
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from formats import KINDS, PACKERS, ROWS, WRITERS, as_csv, as_parquet, as_xes
from sequela.errors import ConfigError, LogFormatError
from sequela.events.log import read_log
from sequela.events.readers import READERS, read_table


def put(folder, suffix, packing="", rows=ROWS, name="log"):
    path = folder / f"{name}{suffix}{packing}"
    path.write_bytes(PACKERS[packing](WRITERS[suffix](rows)))
    return path


def read(path, **arguments):
    case = "case:case" if ".xes" in str(path) else "case"
    return read_log(path, case=case, event="event", time="time", **arguments)


def rows_of(log):
    return [(case, event, f"{time:g}") for case, event, time in log.frame.iter_rows()]


@pytest.mark.parametrize(("suffix", "packing"), KINDS)
def test_rows_in_are_rows_out(suffix, packing, tmp_path):
    assert rows_of(read(put(tmp_path, suffix, packing))) == ROWS


@pytest.mark.parametrize(("suffix", "packing"), KINDS)
def test_every_cut_is_refused_or_leaves_whole_rows(suffix, packing, tmp_path):
    """Text without compression has no mark at its end: a cut between rows cannot be seen, any other can."""
    path = put(tmp_path, suffix, packing)
    content = path.read_bytes()
    read_all = []
    step = 1 if suffix in (".csv", ".tsv", ".jsonl") else 7
    for length in range(1, len(content) - (suffix == ".xes" and not packing), step):  # XES ends in a line end
        path.write_bytes(content[:length])
        with contextlib.suppress(LogFormatError):
            read_all.append((length, rows_of(read(path))))
    silent = [length for length, rows in read_all if rows != ROWS]
    if packing or suffix in (".parquet", ".xes"):
        assert silent == []
        assert not (packing and read_all)
    else:
        ends = {length for length in range(len(content)) if content[length - 1 : length] == b"\n"}
        ends |= {end - 1 for end in ends}
        assert set(silent) <= ends


def test_concatenated_members_are_all_read(tmp_path):
    header, *lines = as_csv(ROWS).splitlines(keepends=True)
    for packing, pack in list(PACKERS.items())[1:]:
        path = tmp_path / f"log.csv{packing}"
        path.write_bytes(pack(header) + pack(b"".join(lines[:3])) + pack(b"".join(lines[3:])))
        assert rows_of(read(path)) == ROWS
        path.write_bytes(path.read_bytes() + b"junk")
        with pytest.raises(LogFormatError, match="cut or damaged"):
            read(path)


def test_a_flipped_byte_in_gzip_is_refused(tmp_path):
    path = put(tmp_path, ".csv", ".gz", [("a", f"e{i % 7}", str(i)) for i in range(500)])
    content = bytearray(path.read_bytes())
    for place in random.Random(0).sample(range(10, len(content)), 50):
        content[place] ^= 4
        path.write_bytes(content)
        with pytest.raises(LogFormatError):
            read(path)
        content[place] ^= 4


def test_what_the_name_says_and_what_the_file_is(tmp_path):
    (tmp_path / "log.csv").write_bytes(gzip.compress(as_csv(ROWS)))
    assert rows_of(read(tmp_path / "log.csv")) == ROWS
    (tmp_path / "plain.csv.gz").write_bytes(as_csv(ROWS))
    with pytest.raises(LogFormatError, match="not compressed with gzip, as its name says"):
        read(tmp_path / "plain.csv.gz")
    (tmp_path / "log.parquet.gz").write_bytes(gzip.compress(as_parquet(ROWS)))
    with pytest.raises(LogFormatError, match="unpack it"):
        read(tmp_path / "log.parquet.gz")


@pytest.mark.parametrize("suffix", list(WRITERS))
@pytest.mark.parametrize("name", ["log*", "data[1]", "a?", "x{a,b}", "~", "per=cent%20", "_hidden", ".hidden"])
def test_a_name_is_no_pattern(suffix, name, tmp_path):
    folder = tmp_path / "[proj]=1"
    folder.mkdir()
    path = put(folder, suffix, rows=ROWS, name=name)
    for other in ("log_private", "data1", "ab", "xa", "xb"):
        put(folder, suffix, rows=[("z", "secret", "9")] * 2, name=other)
    assert rows_of(read(path)) == ROWS


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no names that are not text")
@pytest.mark.parametrize("suffix", list(WRITERS))
def test_a_name_that_is_no_text(suffix, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe9"))
    folder.mkdir()
    path = put(folder, suffix)
    assert rows_of(read(path)) == ROWS
    path.write_bytes(b"")
    with pytest.raises(LogFormatError, match="is empty") as caught:
        read(path)
    assert str(caught.value).encode()


def test_a_pattern_is_refused_with_a_hint(tmp_path):
    put(tmp_path, ".csv")
    with pytest.raises(LogFormatError, match="patterns are not expanded here, give a list of files"):
        read_log(tmp_path / "*.csv")


def test_several_files(tmp_path):
    paths = [put(tmp_path, ".csv", rows=ROWS[:2], name="one"), put(tmp_path, ".csv", ".gz", ROWS[2:], "two")]
    assert rows_of(read(paths)) == ROWS
    assert read_table(paths).n_rows == 5
    assert "one.csv' and 1 more" in read(paths).source
    swapped = as_csv([(time, event, case) for case, event, time in ROWS[2:]]).replace(
        b"case,event,time", b"time,event,case"
    )
    (tmp_path / "two.csv").write_bytes(swapped)
    assert rows_of(read([paths[0], tmp_path / "two.csv"])) == ROWS
    (tmp_path / "odd.csv").write_text("case,event,at\na,x,1\n")
    with pytest.raises(LogFormatError, match=r"one\.csv' and '.*odd\.csv' have different columns: 'at'"):
        read([paths[0], tmp_path / "odd.csv"])
    with pytest.raises(ConfigError, match="twice"):
        read([paths[0], tmp_path / "." / "one.csv"])
    with pytest.raises(ConfigError, match="empty"):
        read([])


def test_several_files_of_other_types(tmp_path):
    paths = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    frame = pl.DataFrame({"case": [1, 1], "event": ["x", "y"], "time": [1, 2]})
    frame.write_parquet(paths[0])
    frame.with_columns(case=pl.lit("b"), time=pl.col("time") + 0.5).write_parquet(paths[1])
    assert rows_of(read(paths)) == [("1", "x", "1"), ("1", "y", "2"), ("b", "x", "1.5"), ("b", "y", "2.5")]
    frame.with_columns(time=pl.lit([1])).write_parquet(paths[1])
    with pytest.raises(LogFormatError, match="values of different kinds") as caught:
        read(paths)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize(("suffix", "packing"), KINDS)
def test_a_pipe_is_read_once(suffix, packing, tmp_path):
    content = put(tmp_path, suffix, packing).read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    case = "case:case" if suffix == ".xes" else "case"
    log = read_log(tmp_path / "pipe", case=case, event="event", time="time", file_format=suffix)
    writer.join()
    assert rows_of(log) == ROWS


@pytest.mark.parametrize(("suffix", "packing"), KINDS)
def test_standard_input(suffix, packing, tmp_path, monkeypatch):
    content = put(tmp_path, suffix, packing).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    case = "case:case" if suffix == ".xes" else "case"
    log = read_log("-", case=case, event="event", time="time", file_format=None if suffix == ".csv" else suffix[1:])
    assert rows_of(log) == ROWS
    assert log.source == "standard input"


def test_standard_input_leaves_nothing_behind(tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(as_xes(ROWS))))
    assert rows_of(read_log("-", case="case:case", event="event", time="time", file_format=".XES")) == ROWS
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(LogFormatError, match="standard input is empty"):
        read_log("-")
    assert list(tmp_path.iterdir()) == []


def test_the_format_can_be_named(tmp_path):
    path = put(tmp_path, ".jsonl")
    path = path.rename(tmp_path / "log.dat")
    assert rows_of(read(path, file_format="jsonl")) == ROWS
    with pytest.raises(LogFormatError, match=r"unknown format '\.dat'; allowed are \.csv"):
        read(path)
    with pytest.raises(ConfigError, match="the format is for files"):
        read_log(pl.DataFrame({"case": ["a"]}), file_format="csv")


def test_fewer_rows_than_counted_are_refused(tmp_path, monkeypatch):
    path = put(tmp_path, ".csv")

    def forgetful(source):
        table = READERS[".tsv"](source)
        return table._replace(frame=table.frame.head(4))

    monkeypatch.setitem(READERS, ".csv", forgetful)
    with pytest.raises(LogFormatError, match="has 5 rows, of which 4 could be read"):
        read(path)


def test_messages_show_no_control_characters(tmp_path):
    path = tmp_path / "a\x1b]0;title\x07.csv"
    path.write_text("a\x1b]0;x\x07," + "b" * 10_000 + "\n1,2\n")
    with pytest.raises(LogFormatError) as caught:
        read_log(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    with pytest.raises(LogFormatError) as caught:
        read_log(path, case="case\x1b[2J")
    assert str(caught.value).isprintable()


def test_patterns_are_read_where_they_are_asked_for(tmp_path):
    for name, rows in (("b.csv", ROWS[2:]), ("a.csv", ROWS[:2])):
        (tmp_path / name).write_bytes(WRITERS[".csv"](rows))
    (tmp_path / "c.csv").mkdir()
    frame = read_table(tmp_path / "*.csv", glob=True).frame.collect()
    assert frame.rows() == ROWS
    with pytest.raises(LogFormatError, match="no file"):
        read_table(tmp_path / "*.csv")
    with pytest.raises(LogFormatError, match="no file matches"):
        read_table([tmp_path / "a.csv", tmp_path / "x*"], glob=True)


def test_addresses_are_fetched(tmp_path):
    import fsspec

    store = fsspec.filesystem("memory")
    for name, content in (
        ("log.csv.gz", gzip.compress(WRITERS[".csv"](ROWS))),
        ("log.parquet", WRITERS[".parquet"](ROWS)),
    ):
        store.pipe(f"/bucket/{name}", content)
        table = read_table(f"memory://bucket/{name}")
        assert table.name == f"'{name}'"
        assert table.frame.collect().rows() == ROWS
    with pytest.raises(LogFormatError, match=r"'none\.csv' cannot be fetched: FileNotFoundError"):
        read_table("memory://bucket/none.csv")
    with pytest.raises(LogFormatError, match="another package"):
        read_table("s3://key:secret@bucket/log.csv")


def test_damaged_parquet_is_refused_and_ends_no_process(tmp_path):
    """Damaged pages ended the process in polars, or came back as other values; text that is not UTF-8 did so later."""
    whole = as_parquet([(f"case {i % 5}", f"event {i % 7}", str(i)) for i in range(300)])
    path, rng, n_refused = tmp_path / "log.parquet", random.Random(0), 0
    for _ in range(200):
        content = bytearray(whole)
        content[rng.randrange(4, len(whole) // 2)] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            rows = sorted(read(path).frame.select("case", "event").iter_rows())
        except LogFormatError:
            n_refused += 1
            continue
        table = pq.read_table(path).to_pydict()
        assert rows == sorted(zip(table["case"], table["event"], strict=True))
    assert n_refused > 20
    table = pa.table({"case": ["a", "a"], "event": pa.array([b"x", b"\xff"]).view(pa.string()), "time": ["1", "2"]})
    pq.write_table(table, path)
    with pytest.raises(LogFormatError, match=r"UTF-?8"):
        read(path)


def test_what_a_damaged_table_of_a_result_says_is_harmless(tmp_path, monkeypatch):
    """A library quotes bytes of the file in its message."""
    from sequela.events.readers import parquet

    path = tmp_path / "x.parquet"
    path.write_bytes(as_parquet(ROWS))
    assert parquet.read_table(path).rows() == ROWS

    def refuse(*rest):
        raise pa.ArrowInvalid("don't know what type: \x0f\nmore")

    monkeypatch.setattr(parquet, "_decoded", refuse)
    for read in (parquet.read_table, parquet.check_table):
        with pytest.raises(ValueError, match=r"^x\.parquet is damaged: don't know what type: \\x0f$"):
            read(path)
