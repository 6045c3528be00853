"""Spans and log lines as calls: exact small tables by hand."""

from __future__ import annotations

import polars as pl
import pytest

from sequela.errors import ConfigError, LogFormatError
from sequela.events.trace_files import read_folder, read_normal_and_window
from sequela.events.traces import TraceColumns, read_traces, template

MS = 1_000_000


def spans(*rows: tuple[str, str, str, str, int, int], trace: str = "t") -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"TraceID": trace, "SpanID": span, "ParentID": parent, "PodName": f"{service}-7d-abc",
             "OperationName": name, "StartTimeUnixNano": start * MS, "EndTimeUnixNano": end * MS}
            for span, parent, service, name, start, end in rows
        ]
    )  # fmt: skip


SHOP = spans(
    ("a", "root", "web", "/buy", 0, 100),
    ("b", "a", "web", "Buy.run", 5, 95),
    ("c", "b", "web", "HTTP GET", 10, 60),
    ("d", "c", "stock", "/stock", 20, 50),
    ("e", "d", "stock", "SELECT", 25, 40),
    ("f", "b", "web", "HTTP POST", 60, 90),
    ("g", "f", "pay", "/pay", 61, 89),
)


def logs(*rows: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"TimeUnixNano": number, "PodName": f"{service}-7d-abc", "TraceID": "t", "SpanID": span, "message": text}
            for number, (span, service, text) in enumerate(rows)
        ]
    )


def test_one_row_a_call_with_times_by_hand() -> None:
    calls = read_traces(SHOP).calls.sort("start")
    assert calls["service"].to_list() == ["web", "stock", "pay"]
    assert calls["caller"].to_list() == [None, "web", "web"]
    assert calls["request"].to_list() == [None, "HTTP GET", "HTTP POST"]
    assert calls["duration"].to_list() == [100.0, 30.0, 28.0]
    assert calls["transport"].to_list() == [None, 20.0, 2.0]
    assert calls["parent_call"].to_list() == [None, 0, 0]
    assert calls["called"].to_list() == ["1 × pay /pay ; 1 × stock /stock", "", ""]
    assert calls["behaviour"][1] == "1 × span SELECT"


def test_own_time_leaves_out_children_and_spans_that_wait_for_others() -> None:
    work = {row["operation"]: row["own"] for row in read_traces(SHOP).work.iter_rows(named=True)}
    assert work == {"/buy": 10.0, "Buy.run": 10.0, "/stock": 15.0, "SELECT": 15.0, "/pay": 28.0}


def test_log_lines_belong_to_the_call_of_their_span() -> None:
    own = ("b", "web", "10:00:01.5 INFO Buy#3 order: 17")
    lines = logs(own, ("e", "stock", "INFO read"), ("?", "web", "INFO lost"))
    traces = read_traces(SHOP, lines)
    behaviours = dict(traces.calls.select("service", "behaviour").iter_rows())
    assert "1 × log INFO Buy# order" in behaviours["web"]
    assert behaviours["stock"] == "1 × log INFO read ; 1 × span SELECT"
    assert traces.notes == ["1 log lines name no span that is there and were left out"]


def test_rows_stored_twice_count_once_and_lines_written_twice_count_twice() -> None:
    lines = logs(("e", "stock", "INFO read"), ("e", "stock", "INFO read"))
    once, twice = read_traces(SHOP, lines), read_traces(pl.concat([SHOP, SHOP]), pl.concat([lines, lines]))
    assert once.calls.equals(twice.calls)
    assert "2 × log INFO read" in once.calls.filter(service="stock")["behaviour"].item()
    assert twice.notes == [
        "7 spans repeated an identifier and were left out", "2 log lines were stored twice and are counted once",
    ]  # fmt: skip


def test_a_span_without_its_parent_begins_a_call() -> None:
    calls = read_traces(SHOP.filter(pl.col("SpanID") != "c")).calls
    assert calls.filter(service="stock")["caller"].to_list() == [None]


def test_without_spans_the_lines_of_one_span_are_a_call() -> None:
    calls = read_traces(None, logs(("a", "web", "INFO x"), ("a", "web", "INFO y"), ("b", "db", "INFO z"))).calls
    assert sorted(calls.select("service", "behaviour").iter_rows()) == [
        ("db", "1 × log INFO z"), ("web", "1 × log INFO x ; 1 × log INFO y"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("2023-01-29 16:42:22,382 INFO a.B#12 [pay][id: 7]", "INFO a.B# [pay][id"),
        ("user 4d2a46c7-71cb-4cf1-b5bb-b68406d9da6f left", "user # left"),
        ("sizes 1, 2, 33 of 7", "sizes # of #"),
        ("", ""),
    ],
)
def test_templates(message: str, expected: str) -> None:
    assert pl.DataFrame({"m": [message]}).select(template(pl.col("m"))).item() == expected


def test_what_one_side_lacks_is_left_out_of_both_and_said() -> None:
    lines = logs(("e", "stock", "INFO read"))
    normal, window = read_normal_and_window((SHOP, lines), (SHOP, None))
    assert not normal.has_logs
    assert normal.calls.equals(window.calls)
    assert window.notes == ["normal operation and the window do not both have log lines: judged without"]
    with pytest.raises(LogFormatError, match="neither spans nor log lines in common"):
        read_normal_and_window((SHOP, None), (None, lines))


def test_a_span_that_ends_before_it_starts_counts_as_0_ms_and_is_said() -> None:
    traces = read_traces(spans(("a", "root", "w", "x", 3, 1)))
    assert traces.calls["duration"].to_list() == [0.0]
    assert traces.notes == ["1 spans end before they start and count as 0 ms"]


def test_event_log_has_a_row_a_call() -> None:
    log = read_traces(SHOP).to_log()
    assert log.columns == ["service", "operation", "behaviour", "case", "time", "event_id", "parent"]
    assert log["service"].to_list() == ["web", "stock", "pay"]


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(LogFormatError, match=r"spans has no column 'ParentID'; it has .*"):
        read_traces(SHOP.drop("ParentID"))
    with pytest.raises(LogFormatError, match="neither a span nor a log line"):
        read_traces(None)
    with pytest.raises(LogFormatError, match="whole nanoseconds"):
        read_traces(SHOP.with_columns(pl.col("EndTimeUnixNano").cast(pl.Float64)))
    with pytest.raises(LogFormatError, match="1 rows have no trace"):
        read_traces(pl.concat([SHOP, SHOP.head(1).with_columns(TraceID=pl.lit(None, pl.String))]))
    with pytest.raises(LogFormatError, match="circle"):
        read_traces(spans(("a", "c", "w", "x", 0, 1), ("b", "a", "w", "x", 0, 1), ("c", "b", "w", "x", 0, 1)))
    with pytest.raises(ConfigError, match="instance_suffix"):
        TraceColumns(instance_suffix="(")


def test_folders(tmp_path) -> None:
    lines = logs(("e", "stock", "INFO read"))
    with pytest.raises(LogFormatError, match="neither spans nor logs"):
        read_folder(tmp_path)
    SHOP.with_columns(window=pl.lit("w-1")).write_csv(tmp_path / "spans.csv")
    lines.with_columns(window=pl.lit("w-2")).write_parquet(tmp_path / "logs.parquet")
    found = read_folder(tmp_path)
    assert found[0] is not None
    assert read_traces(*found).calls.equals(read_traces(SHOP, lines).calls)
    chosen = read_folder(tmp_path, None, "window", "w-1*")
    assert [None if table is None else table.height for table in chosen] == [7, 0]
    with pytest.raises(LogFormatError, match="no row has window like 'x'"):
        read_folder(tmp_path, None, "window", "x")
    with pytest.raises(LogFormatError, match=r"no column 'wind'.*did you mean 'window'"):
        read_folder(tmp_path, None, "wind", "x")
    with pytest.raises(LogFormatError, match="no file or folder"):
        read_folder(tmp_path / "none")
