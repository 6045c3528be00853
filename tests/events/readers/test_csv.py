"""Text tables: what is counted is what Python's own reader counts, and what is no table is refused."""

import csv
import io
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sequela.errors import LogFormatError
from sequela.events.log import read_log
from sequela.events.readers import read_table
from sequela.events.readers import source as sources

CELL = st.text(alphabet='ab ,;"\n\r\té|', max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=12), block=st.integers(1, 40), crlf=st.booleans()
)
def test_counts_and_cells_are_those_of_another_reader(rows, block, crlf, tmp_path_factory):
    text = io.StringIO()
    end = "\r\n" if crlf else "\n"
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("case", "event", "x"), *rows])
    path = tmp_path_factory.mktemp("csv") / "log.csv"
    path.write_bytes(text.getvalue().encode())
    before, sources._BLOCK = sources._BLOCK, block
    try:
        table = read_table(path)
    finally:
        sources._BLOCK = before
    expected = list(csv.reader(io.StringIO(text.getvalue(), newline="")))[1:]
    assert table.n_rows == len(expected) == len(rows)
    got = table.frame.collect()
    assert [[cell or "" for cell in row] for row in got.iter_rows()] == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\n", "line 1 is blank"),
        (b"\n\n\n", "line 1 is blank"),
        (b"\ncase,event\na,x\na,y\n", "line 1 is blank"),
        (b"case,event\ra,x\ra,y\r", "carriage returns"),
        (b'case,event\na,x\na,"y\n', "ends within quotes"),
        (b'case,event\na,x\na,"y\nb,z\nb,z\n', "ends within quotes"),
        (b"case,event,time\na,x,1\na,y", "ends within a row: its last row has 2 of 3 values"),
        (b"case,event\na,x\na\rb,y\n", "line 3: a carriage return within a row"),
        (b"case,event\r\na,x\r\na,y\r", "line 3: a carriage return within a row"),
        (b'case,event,n\na,5" x,1\nb,6" y,2\n', "line 2: a quote within a value"),
        (b'case,event\na,x\na,"y" "z,w"\n', "line 3: a quote within a value"),
        (b'case,event\na, "y,z"\na,b\n', "line 2: a quote within a value"),
        (b'case,event\na,x"b""c,d"\na,b\n', "line 2: a quote within a value"),
        (b"case,event\na,x\na,\xe9\n", "UTF-8"),
        (b"case,ev\xe9nt\na,x\na,y\n", "UTF-8"),
        (b"\xff\xfec\0a\0", "UTF-16"),
        (b'case,event\na,"x"y\na,z\n', "line 2: a quote within a value"),
        (b'case,event\na,"q"nan"q"\na,z\n', "line 2: a quote within a value"),
        (b'case,event\nb,bx"\ra,b"\na,z\n', "line 2: a quote within a value"),
        (b"case,event\na,x\n\na,y\n", r"row 2 .*'case' is empty"),
        (b"\x00" * 100, "name the case column"),
        (b"a" * 200_000 + b"\n", "line 1 is no header"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(content, says, tmp_path):
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(LogFormatError, match=says) as caught:
        read_log(tmp_path / "log.csv")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_marks_and_line_ends(tmp_path):
    path = tmp_path / "log.csv"
    for content in (b"\xef\xbb\xbfcase,event\na,x\na,y\n", b"case,event\r\na,x\r\na,y", b"case;event\na;x\na;y\n"):
        path.write_bytes(content)
        assert read_log(path).events == ["x", "y"]
    (tmp_path / "log.tsv").write_bytes(b"case\tevent,with comma\na\tx\na\ty\n")
    assert read_log(tmp_path / "log.tsv", event="event,with comma").events == ["x", "y"]


def test_what_is_read_is_what_another_reader_reads(tmp_path):
    """Text with quotes, separators and line ends anywhere: refused, or read as Python's own reader does."""
    rng = random.Random(0)
    counts = {"read": 0, "refused": 0}
    for _ in range(500):
        sizes = [rng.randrange(1, 7) for _ in range(rng.randrange(1, 5))]
        rows = ["".join(rng.choices('ab",\r ', [9, 9, 2, 3, 1, 1], k=size)) for size in sizes]
        text = "case,event\n" + "\n".join(rows) + rng.choice(["\n", ""])
        (tmp_path / "log.csv").write_bytes(text.encode())
        try:
            table = read_table(tmp_path / "log.csv")
            got = table.frame.collect()
            assert got.height == table.n_rows
        except (LogFormatError, pl.exceptions.PolarsError):
            counts["refused"] += 1
            continue
        theirs = [[*row, "", ""][:2] for row in csv.reader(io.StringIO(text, newline=""))][1:]
        assert [[cell or "" for cell in row] for row in got.iter_rows()] == theirs, repr(text)
        counts["read"] += 1
    assert min(counts.values()) > 60
