"""Columns that look wrong are named; columns that are right are left alone."""

from pathlib import Path

import polars as pl
import pytest

from sequela.events.column_check import suspicious_columns
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld

FOLDERS = [folder / "shared" / "data" for folder in Path(__file__).resolve().parents]
ALARMS = next((found for folder in FOLDERS if (found := folder / "alarms-wireless" / "Alarm.csv").exists()), None)


@pytest.mark.parametrize(("n_types", "n_cases", "length"), [(5, 30, 8), (20, 100, 20), (50, 200, 30)])
@pytest.mark.parametrize("seed", range(3))
def test_swapped_columns_are_named_and_right_ones_are_not(n_types, n_cases, length, seed):
    frame = SoftmaxWorld.random(n_types, horizon=2, seed=seed).simulate(n_cases, length, seed=seed).log
    assert suspicious_columns(read_log(frame)) is None
    said = suspicious_columns(read_log(frame, case="event", event="case"))
    assert said.startswith("'event' as case and 'case' as event look swapped")


def test_many_types_on_few_devices_are_no_reason():
    """Some types are frequent, most are rare: as in the logs of a few servers."""
    events = [f"e{int(300 * (i / 4000) ** 3)}" for i in range(4000)]
    frame = pl.DataFrame({"case": [i % 5 for i in range(4000)], "event": events})
    log = read_log(frame)
    assert log.n_types > 10 * log.n_cases
    assert suspicious_columns(log) is None


def test_an_identifier_is_named():
    frame = pl.DataFrame({"case": ["a", "b"] * 50, "event": [f"id{i // 1.5}" for i in range(100)]})
    assert "looks like an identifier" in suspicious_columns(read_log(frame))
    assert suspicious_columns(read_log(frame.head(10))) is None


def test_names_are_harmless():
    frame = pl.DataFrame({"case": ["a", "b"] * 50, "\x1b[2J": [str(i) for i in range(100)]})
    assert suspicious_columns(read_log(frame, event="\x1b[2J")).isprintable()


@pytest.mark.skipif(ALARMS is None, reason="the shared data is not here")
@pytest.mark.parametrize("swapped", [False, True])
def test_real_alarms(swapped):
    case, event = ("alarm_id", "device_id") if swapped else ("device_id", "alarm_id")
    assert bool(suspicious_columns(read_log(ALARMS, case=case, event=event, time="start_timestamp"))) == swapped
