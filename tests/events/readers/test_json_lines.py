"""JSON lines: all lines decide about names and types."""

import json

import pytest

from sequela.errors import LogFormatError
from sequela.events.log import read_log


def put(folder, content):
    (folder / "log.jsonl").write_bytes(content)
    return folder / "log.jsonl"


def test_types_and_names_that_come_late(tmp_path):
    lines = [{"case": 1, "event": "x", "time": i} for i in range(12_000)]
    lines += [
        {"case": "b", "event": "y", "time": 0.5, "level": "late"},
        {"event": "z", "case": "b", "time": 1, "level": None},
    ]
    path = put(tmp_path, "\n\n".join(map(json.dumps, lines)).encode())
    log = read_log(path)
    assert (log.n_events, log.case("b").events) == (12_002, ["y", "z"])
    with pytest.raises(LogFormatError, match=r"row 1 .*column 'level' is empty"):
        read_log(path, event="level")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"case":1,"event":"x"}\n{"case":1,"ev', "cannot be read as json lines"),
        (b'{"case":1,"event":"x"} {"case":1,"event":"y"}\n', "cannot be read as json lines"),
        (b"[1]\n[2]\n", "cannot be read as json lines"),
        (b'"text"\n', "cannot be read as json lines"),
        (b'{"case":1,"event":"\xe9"}\n{"case":1,"event":"y"}\n', "cannot be read"),
        (b'\xef\xbb\xbf{"case":1,"event":"x"}\n', "byte order mark"),
        (b'{"case":{"a":1},"event":"x"}\n{"case":{"a":1},"event":"y"}\n', "must hold text or numbers"),
        (b"\n\n", "cannot be read|no event|holds no"),
        (b"[" * 200_000, "cannot be read"),
    ],
)
def test_what_is_not_json_lines_is_refused_in_one_line(content, says, tmp_path):
    with pytest.raises(LogFormatError, match=says) as caught:
        read_log(put(tmp_path, content))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
