"""Reading logs: every format gives the same log, and every fault names itself."""

import datetime as dt

import polars as pl
import pytest

from sequela.errors import ConfigError, LogFormatError
from sequela.events.log import read_log

TABLE = pl.DataFrame(
    {
        "device": ["b", "a", "b", "a", "a"],
        "code": ["007", "x,y", "9", "007", "ü"],
        "at": [
            "2026-01-01T00:00:05",
            "2026-01-01T00:00:03",
            "2026-01-01T00:00:01",
            "2026-01-01T00:00:03",
            "2026-01-01",
        ],
    }
)
COLUMNS = {"case": "device", "event": "code", "time": "at"}
EVENTS = [("a", "ü"), ("a", "007"), ("a", "x,y"), ("b", "9"), ("b", "007")]
XES = """<?xml version="1.0" encoding="UTF-8"?><log xes.version="1.0">
<trace><string key="concept:name" value="a"/>{}</trace></log>"""
XES_EVENT = (
    '<event><string key="concept:name" value="{}"/><date key="time:timestamp" value="2026-01-01T00:00:0{}Z"/></event>'
)


def rows(log):
    return list(log.frame.select("case", "event").iter_rows())


def write(path, kind):
    if kind == "csv":
        TABLE.write_csv(path / "log.csv")
    elif kind == "csv.gz":
        import gzip

        (path / "log.csv.gz").write_bytes(gzip.compress(TABLE.write_csv().encode()))
    elif kind == "tsv":
        TABLE.write_csv(path / "log.tsv", separator="\t")
    elif kind == "semicolon":
        TABLE.write_csv(path / "log.csv", separator=";")
    elif kind == "jsonl":
        TABLE.write_ndjson(path / "log.jsonl")
    elif kind == "parquet":
        TABLE.with_columns(pl.col("device").cast(pl.Categorical)).write_parquet(path / "log.parquet")
    (found,) = path.iterdir()
    return found


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "semicolon", "jsonl", "parquet"])
def test_every_file_format(kind, tmp_path):
    log = read_log(write(tmp_path, kind), **COLUMNS)
    assert rows(log) == EVENTS
    assert log.n_ties == 1
    assert (log.n_cases, log.n_events, log.n_types) == (2, 5, 4)


@pytest.mark.parametrize("convert", [lambda t: t, lambda t: t.lazy(), lambda t: t.to_pandas()])
def test_every_frame(convert):
    pytest.importorskip("pandas")
    assert rows(read_log(convert(TABLE), **COLUMNS)) == EVENTS


def test_xes_with_its_own_names(tmp_path):
    pytest.importorskip("r4pm")
    (tmp_path / "log.xes").write_text(XES.format(XES_EVENT.format("late", 9) + XES_EVENT.format("soon", 1)))
    log = read_log(tmp_path / "log.xes")
    assert rows(log) == [("a", "soon"), ("a", "late")]


def test_process_mining_names_are_recognised():
    log = read_log(TABLE.rename({"device": "case:concept:name", "code": "concept:name", "at": "time:timestamp"}))
    assert rows(log) == EVENTS
    assert log.columns["time"] == "time:timestamp"


@pytest.mark.parametrize(
    "values",
    [
        ["1970-01-01T00:00:02Z", "1970-01-01T01:00:01+01:00", "1970-01-01 00:00:00.500 UTC"],
        ["2", "1", "0.5"],
        [2.0, 1.0, 0.5],
        [dt.datetime(1970, 1, 1, 0, 0, 2), dt.datetime(1970, 1, 1, 0, 0, 1), dt.datetime(1970, 1, 1, 0, 0, 0, 500_000)],
    ],
)
def test_times(values):
    log = read_log(pl.DataFrame({"case": ["a"] * 3, "event": list("zyx"), "time": values}))
    assert log.events == ["x", "y", "z"]
    assert log.frame["time"].to_list() == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("factor", [1, 1000, 10**6, 10**9])
def test_epoch_units_are_told_apart(factor):
    stamps = [1_790_000_000 * factor, 1_790_000_001 * factor]
    log = read_log(pl.DataFrame({"case": ["a", "a"], "event": ["x", "y"], "time": stamps}))
    assert log.frame["time"].to_list() == [1_790_000_000.0, 1_790_000_001.0]


def test_zoned_datetimes_and_own_formats():
    zoned = pl.Series(["1970-01-01T01:00:00", "1970-01-02"]).str.to_datetime(format=None, strict=False)
    zoned = pl.Series([dt.datetime(1970, 1, 1, 1), dt.datetime(1970, 1, 2)]).dt.replace_time_zone("Europe/Paris")
    frame = pl.DataFrame({"case": ["a", "a"], "event": ["x", "y"], "time": zoned})
    assert read_log(frame).frame["time"].to_list() == [0.0, 82_800.0]
    frame = pl.DataFrame({"case": ["a", "a"], "event": ["x", "y"], "time": ["02/01/1970 00:00", "01/01/1970 01:00"]})
    assert read_log(frame, time_format="%d/%m/%Y %H:%M").frame["time"].to_list() == [3600.0, 86_400.0]


def test_without_times_row_order_is_the_order():
    for log in (read_log(TABLE, case="device", event="code"), read_log(TABLE, **(COLUMNS | {"time": False}))):
        assert rows(log) == [("a", "x,y"), ("a", "007"), ("a", "ü"), ("b", "007"), ("b", "9")]
        assert not log.has_times


def test_combined_columns_cannot_be_confused():
    frame = pl.DataFrame({"case": ["a"] * 3, "x": ["p|q", "p", "p"], "y": ["r", "q|r", "q"]})
    log = read_log(frame, case="case", event=["x", "y"])
    assert log.n_types == 3
    assert log.events[2] == "p|q"


def test_numbers_as_cases_read_as_text():
    frame = pl.DataFrame({"case": [28.0, 28.0, 3.5], "event": ["x", "y", "z"]})
    assert read_log(frame).case("28").events == ["x", "y"]
    assert read_log(frame).case("3.5").n_events == 1


def test_missing_case_suggests_the_nearest():
    with pytest.raises(LogFormatError, match=r"no case 'device-1' \(did you mean 'device-11'"):
        read_log(pl.DataFrame({"case": ["device-11", "device-11"], "event": ["x", "y"]})).case("device-1")


def text(content, name="log.csv"):
    def make(path):
        (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return path / name

    return make


@pytest.mark.parametrize(
    ("make", "arguments", "says"),
    [
        (
            text("device,code\na,x\na,y\n"),
            {"case": "devise", "event": "code"},
            r"log\.csv.*'devise'.*did you mean 'device'",
        ),
        (text("device,code\na,x\na,y\n"), {}, "name the case column.*device, code"),
        (text(""), {}, r"log\.csv' is empty"),
        (text("case,event\n"), {}, "no event"),
        (text("case,event\na,x\nb,x\n"), {}, "no case with two events.*'case'"),
        (
            text("case,event,time\na,x,2026-01-01\na,y,soon\n"),
            {},
            r"row 2 .*'soon' in column 'time' is not a time.*ISO",
        ),
        (text("case,event,time\na,x,2026-01-01\na,y,\n"), {}, r"row 2 .*column 'time'"),
        (text("case,event,time\na,x,1\na,y,nan\n"), {}, r"row 2 .*is not a time"),
        (text("case,event\na,x\na,\n"), {}, r"row 2 .*column 'event' is empty \(1 such"),
        (text("case,event\na,x\n ,y\na,z\n"), {}, r"row 2 .*column 'case' is empty"),
        (text("case,event,event\na,x,y\n"), {}, "line 1: the column name 'event' occurs twice"),
        (text("case,event\na,é\na,x\n".encode("latin-1")), {}, r"log\.csv' .*(UTF-8|utf8)"),
        (text("case,event\na,x\n".encode("utf-16")), {}, "UTF-16"),
        (text("case,event\na,x\na,y,z\n"), {}, r"log\.csv' cannot be read"),
        (text("{", "log.jsonl"), {}, r"log\.jsonl' cannot be read as json lines"),
        (text("PAR1 nonsense", "log.parquet"), {}, r"log\.parquet' cannot be read as parquet"),
        (text(XES.format(XES_EVENT)[:200], "log.xes"), {}, "cannot be read as xes"),
        (text("x", "log.docx"), {}, r"unknown format '\.docx'; allowed are \.csv"),
        (lambda path: path, {}, "is a directory"),
        (lambda path: path / "none.csv", {}, "no file"),
    ],
)
def test_faults_name_themselves(make, arguments, says, tmp_path):
    source = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LogFormatError, match=says):
        read_log(source, **arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_truncated_parquet(tmp_path):
    TABLE.write_parquet(tmp_path / "log.parquet")
    content = (tmp_path / "log.parquet").read_bytes()
    (tmp_path / "log.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(LogFormatError, match=r"log\.parquet' cannot be read as parquet"):
        read_log(tmp_path / "log.parquet")


@pytest.mark.parametrize(
    ("source", "arguments", "kind", "says"),
    [
        (3, {}, ConfigError, "source must be .*; got 3"),
        (TABLE, {"case": "device", "event": []}, ConfigError, "at least one column"),
        (TABLE, {"case": "device", "event": "code", "time": True}, ConfigError, "column name, False"),
        (pl.DataFrame({"case": [[1], [1]], "event": ["x", "y"]}), {}, LogFormatError, "must hold text or numbers"),
        (pl.DataFrame({"case": ["a", "a"], "event": ["x", "y"], "time": [[1], [2]]}), {}, LogFormatError, "not times"),
    ],
)
def test_wrong_kinds(source, arguments, kind, says):
    with pytest.raises(kind, match=says):
        read_log(source, **arguments)


def test_a_last_column_with_the_name_and_the_values_of_a_state_is_taken_for_one():
    table = pl.DataFrame(
        {"case": [1] * 4, "operation": ["get", "get", "put", "put"], "Status": ["ok", "no"] * 2, "code": list("abcd")}
    )
    log = read_log(table, event=["operation", "Status"])
    assert log.columns["state"] == "Status"
    assert any("'Status' says how an event went" in note for note in log.notes)
    assert read_log(table, like=log).columns["state"] == "Status"
    for event in (["Status", "operation"], ["operation", "code"], "Status"):
        assert read_log(table, event=event).columns["state"] is None
    for status in (["ok", "ok", "no", "no"], ["ok", "ok", "ok", "ok"]):  # each operation has one
        same = read_log(table.with_columns(Status=pl.Series(status)), event=["operation", "Status"])
        assert same.columns["state"] is None
        assert not same.notes


def test_the_state_is_the_last_component():
    table = pl.DataFrame({"case": [1, 1], "outcome": ["ok", "error"], "operation": ["read", "write"]})
    for event in ("operation", ["operation", "outcome"], ["outcome", "operation"]):
        log = read_log(table, event=event, state="outcome")
        assert log.events == ["read|ok", "write|error"]
        assert log.columns["event"] == ["operation", "outcome"]
        assert log.columns["state"] == "outcome"
    with pytest.raises(ConfigError, match="only event column"):
        read_log(table, event="outcome", state="outcome")
    with pytest.raises(LogFormatError, match=r"no column 'outcom' for the state .*did you mean 'outcome'"):
        read_log(table, event="operation", state="outcom")
