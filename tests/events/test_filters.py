"""What is kept of a log: rows, cases, a span of time, attributes; and conditions that are refused."""

import polars as pl
import pytest

import sequela as sq
from sequela.errors import ConfigError, LogFormatError
from sequela.events.filters import where_expression

TABLE = pl.DataFrame(
    {
        "device": ["a1", "a1", "a1", "a2", "a2", "b1", "b1"],
        "code": ["x", "y", "z", "x", "y", "y", "z"],
        "at": ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-01", "2026-01-02", "2026-01-02", "2026-01-03"],
        "state": ["ok", "failed", "ok", "ok", "failed", None, "ok"],
        "ms": [1, 20, 3, 4, 5, 6, 70],
        "site name": ["n", "n", "n", "s", "s", "n", "n"],
    }
)
READ = {"case": "device", "event": "code", "time": "at"}


def kept(**filters):
    return sq.read_log(TABLE, **READ, **filters).frame.select("case", "event").rows()


def test_a_missing_time_is_said_and_its_row_can_be_left_out():
    gap = TABLE.with_columns(pl.when(pl.col("ms") == 20).then(None).otherwise("at").alias("the at"))
    with pytest.raises(LogFormatError, match=r"row 2 .*column 'the at' is empty .*--where '\"the at\" IS NOT NULL'"):
        sq.read_log(gap, **READ | {"time": "the at"})
    assert sq.read_log(gap, **READ | {"time": "the at"}, where='"the at" IS NOT NULL').n_events == 6
    wrong = gap.with_columns(pl.col("the at").replace("2026-01-03", "soon"))
    with pytest.raises(LogFormatError, match=r"row 3 .*'soon' in column 'the at' is not a time"):
        sq.read_log(wrong, **READ | {"time": "the at"}, where='"the at" IS NOT NULL')


def test_cases_times_and_conditions_choose_rows():
    assert kept(only="a*") == [("a1", "x"), ("a1", "y"), ("a1", "z"), ("a2", "x"), ("a2", "y")]
    assert kept(only=["b?", "a2"]) == [("a2", "x"), ("a2", "y"), ("b1", "y"), ("b1", "z")]
    assert kept(since="2026-01-02", only="a1") == [("a1", "y"), ("a1", "z")]
    assert kept(until="2026-01-03", only="a1") == [("a1", "x"), ("a1", "y")]
    assert kept(where="ms > 2 AND NOT state = 'failed'", only="a1") == [("a1", "z")]
    assert kept(where="state == 'failed' or \"site name\" in ('s')") == [("a1", "y"), ("a2", "x"), ("a2", "y")]
    assert kept(where="lower(code) like 'Z' or upper(code) = 'Z'") == [("a1", "z"), ("b1", "z")]
    assert kept(where="CAST(ms AS DOUBLE) / 10 >= 2 and code between 'x' and 'y'") == [("a1", "y")]


def test_a_text_file_says_how_to_compare_numbers(tmp_path):
    TABLE.write_csv(tmp_path / "log.csv")
    found = sq.read_log(tmp_path / "log.csv", **READ, where="CAST(ms AS DOUBLE) > 4")
    assert found.frame["event"].to_list() == ["y", "y", "y", "z"]
    with pytest.raises(ConfigError, match="columns of a text file are text"):
        sq.read_log(tmp_path / "log.csv", **READ, where="ms > 4")


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("(SELECT 1 FROM read_csv('/etc/passwd')) = 1", "no function 'SELECT'|no column 'SELECT'|has no"),
        ("exists (select * from log)", "has no function 'exists'"),
        ("read_csv('/etc/passwd') = 'x'", "has no function 'read_csv'"),
        ("stat = 'ok'", r"has no column 'stat' \(did you mean 'state'"),
        ('state = "ok"', "text stands in single quotes"),
        ("ms", "must be a condition"),
        ("ms >", "cannot be read"),
        ("state = 'ok'; drop", "cannot stand"),
        ("max(ms) > 3", "has no function 'max'"),
        ("state = 'ok' -- comment", "has no column 'comment'"),
        ("x" * 3000, "at most"),
        ("", "cannot be read"),
    ],
)
def test_conditions_that_are_refused(where, why):
    with pytest.raises(ConfigError, match=why):
        where_expression(where, TABLE.schema, "log")


def test_filters_that_leave_nothing_or_make_no_sense():
    with pytest.raises(LogFormatError, match="none of its 7 events"):
        kept(where="ms > 1000")
    with pytest.raises(ConfigError, match="has no case 'c"):
        kept(only="c*")
    with pytest.raises(ConfigError, match="since"):
        kept(since="soon")
    with pytest.raises(ConfigError, match="since and until need times"):
        sq.read_log(TABLE, case="device", event="code", time=False, since="2026-01-01")


def test_attributes_are_carried_along():
    log = sq.read_log(TABLE, **READ, attributes=["state", "ms"])
    assert log.attributes == ["state", "ms"]
    assert log.case("a2").frame.rows() == [("a2", "x", 1767225600.0, "ok", 4), ("a2", "y", 1767312000.0, "failed", 5)]
    with pytest.raises(LogFormatError, match="has no column 'stat'"):
        sq.read_log(TABLE, **READ, attributes="stat")
    with pytest.raises(ConfigError, match="cannot be called 'position'"):
        sq.read_log(TABLE.rename({"ms": "position"}), **READ, attributes="position")
