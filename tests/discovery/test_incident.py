"""Where an incident began: simulated faults with a known root."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

import sequela as sq
from sequela.discovery.incident import IncidentSettings, explain_incident
from sequela.discovery.surprise import KINDS
from sequela.errors import ConfigError
from sequela.events.trace_files import read_normal_and_window
from sequela.events.traces import Traces, read_traces
from sequela.worlds.incidents import FAULTS, simulate_incident

KIND_OF = {"network_delay": "arrival", "cpu_contention": "work", "exception": "behaviour", "missing_call": "called",
           "absent": "called"}  # fmt: skip


def read(fault: str, seed: int = 0) -> tuple[Traces, Traces, str]:
    log = simulate_incident(fault, seed=seed)
    pairs = (log.normal_spans, log.normal_logs), (log.window_spans, log.window_logs)
    return *read_normal_and_window(*pairs), log.root


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", range(3))
def test_root_is_first_by_the_right_evidence(fault: str, seed: int) -> None:
    normal, window, root = read(fault, seed)
    incident = explain_incident(normal, window)
    first = incident.suspects[0]
    assert first.service == root
    assert first.evidence[0].kind == KIND_OF[fault]
    assert first.score > 2 * incident.suspects[1].score
    late = {f"w{number}" for number in range(20, 80)}
    assert set(first.evidence[0].examples) <= late


def test_a_window_of_normal_operation_surprises_nobody() -> None:
    """The largest score of a healthy window stays below those of faults (2.2 and more) in 11 of 12."""
    high = 0
    for seed in range(12):
        log = simulate_incident("exception", n_window=2, seed=seed)
        other = simulate_incident("exception", n_window=2, seed=100 + seed)
        incident = explain_incident(*read_normal_and_window(
            (log.normal_spans, log.normal_logs), (other.normal_spans, other.normal_logs)))  # fmt: skip
        high += incident.suspects[0].score > 2.2
    assert high <= 1


def test_a_service_that_is_gone_is_named_though_the_window_has_no_row_of_it() -> None:
    normal, window, _ = read("exception")
    gone = replace(window, calls=window.calls.filter(pl.col("service") != "store"))
    incident = explain_incident(normal, gone)
    store = next(suspect for suspect in incident.suspects if suspect.service == "store")
    assert store.evidence[0].sentence == "store was not called in 80 requests; in normal operation 120 of 120 call it"


def test_what_a_callee_did_new_excuses_its_callers() -> None:
    """The error of `price` makes `shop` log an error too: `shop` answers for it only where `price` did nothing new."""
    log = simulate_incident("exception")
    failed = log.window_logs.filter(pl.col("message").str.contains("failed"))["TraceID"]
    shop = (pl.col("PodName").str.starts_with("shop")) & pl.col("TraceID").is_in(failed.implode())
    message = pl.when(shop & pl.col("message").str.contains("done")).then(pl.lit("ERROR no price")).otherwise("message")
    lines = log.window_logs.with_columns(message=message)
    assert lines.filter(pl.col("message") == "ERROR no price").height == 60
    normal = read_traces(log.normal_spans, log.normal_logs)
    incident = explain_incident(normal, read_traces(log.window_spans, lines))
    assert incident.suspects[0].service == "price"
    shop_kinds = [each.kind for each in incident.suspects if each.service == "shop" for each in each.evidence]
    assert "behaviour" not in shop_kinds


def test_a_caller_that_waits_for_all_its_callees_is_the_cause_and_not_they() -> None:
    normal, window, _ = read("exception")
    by_shop = pl.col("caller") == "shop"
    slow = window.calls.with_columns(transport=pl.when(by_shop).then(pl.col("transport") + 50).otherwise("transport"))
    settings = IncidentSettings(kinds=("arrival", "calling"))
    incident = explain_incident(normal, replace(window, calls=slow), settings=settings)
    assert incident.suspects[0].service == "shop"
    assert incident.suspects[0].score > 3 * incident.suspects[1].score


def test_only_logs_or_only_spans() -> None:
    log = simulate_incident("exception")
    for normal, window in (
        ((None, log.normal_logs), (None, log.window_logs)),
        ((log.normal_spans, log.normal_logs), (pl.DataFrame(), log.window_logs)),
    ):
        incident = explain_incident(*read_normal_and_window(normal, window))
        assert incident.suspects[0].service == "price"
    log = simulate_incident("network_delay")
    incident = explain_incident(*read_normal_and_window((log.normal_spans, log.normal_logs), (log.window_spans, None)))
    assert incident.suspects[0].service == "stock"
    assert "window: normal operation and the window do not both have log lines: judged without" in incident.notes


def test_ranking_is_the_same_for_rows_in_any_order() -> None:
    log = simulate_incident("cpu_contention", seed=4)
    normal = read_traces(log.normal_spans, log.normal_logs)
    one = explain_incident(normal, read_traces(log.window_spans, log.window_logs))
    shuffled = [table.sample(fraction=1, shuffle=True, seed=1) for table in (log.window_spans, log.window_logs)]
    two = explain_incident(normal, read_traces(*shuffled))
    assert two.table["service"].to_list() == one.table["service"].to_list()
    assert two.table["score"].to_list() == pytest.approx(one.table["score"].to_list())


def test_table_and_plain_values() -> None:
    normal, window, _ = read("exception")
    incident = sq.explain_incident(normal, window)
    assert incident.table.columns == ["rank", "service", "score", *KINDS]
    row = incident.table.row(0, named=True)
    assert row["score"] == pytest.approx(sum(row[kind] ** 2 for kind in KINDS) ** 0.5)
    assert incident.to_dict()["suspects"][0]["evidence"][0]["kind"] == "behaviour"
    assert "60 of 80 calls, 0 of 120 in normal operation" in incident.suspects[0].evidence[0].sentence


def test_errors_name_what_is_wrong() -> None:
    normal, window, _ = read("exception")
    with pytest.raises(ConfigError, match="no service in common"):
        explain_incident(normal, replace(window, calls=window.calls.with_columns(service=pl.lit("x"))))
    with pytest.raises(ConfigError, match="has logs, the other has none"):
        explain_incident(normal, replace(window, has_logs=False))
    with pytest.raises(ConfigError, match="kinds must be some of behaviour, called"):
        IncidentSettings(kinds=("magic",))
    with pytest.raises(ConfigError, match="time_drift must be a number, above 0; got -1"):
        IncidentSettings(time_drift=-1)
