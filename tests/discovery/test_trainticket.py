"""The benchmark on real incidents: on a small folder of its format, and on the data itself where it is present."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from sequela.worlds.incidents import simulate_incident

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SEQUELA_TRAINTICKET", ROOT.parent / "shared" / "data" / "trainticket"))


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "trainticket.py"), *map(str, words)]
    threads = {**os.environ, "POLARS_MAX_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=threads)


def write(folder: Path, spans: dict[str, pl.DataFrame], logs: dict[str, pl.DataFrame]) -> None:
    folder.mkdir()
    for name, tables in (("spans", spans), ("logs", logs)):
        rows = [table.with_columns(window=pl.lit(window)) for window, table in tables.items()]
        pl.concat(rows).write_parquet(folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Four windows: complete, without log lines, without spans, without anything; normal operation elsewhere."""
    base = tmp_path_factory.mktemp("benchmark")
    slow, wrong = simulate_incident("network_delay"), simulate_incident("exception")
    write(base / "data", {"fault-0": slow.window_spans, "fault-1": wrong.window_spans},
          {"fault-1": wrong.window_logs, "fault-2": wrong.window_logs})  # fmt: skip
    names = {"window": [f"fault-{i}" for i in range(4)], "service": [slow.root, wrong.root, wrong.root, "stock"]}
    pl.DataFrame(names).with_columns(kind=pl.lit("any")).write_csv(base / "data" / "faults.csv")
    write(base / "normal", {"normal-1": wrong.normal_spans}, {"normal-1": wrong.normal_logs})
    return base


def test_windows_that_miss_rows_are_scored_and_a_window_without_any_is_a_miss(folders):
    result = run("--data", folders / "data", "--normal", folders / "normal")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "first 3 of 4, among three 3 of 4"
    assert re.search(r"fault-0 .*rank 1 .*do not both have log lines", result.stdout)
    assert re.search(r"fault-2 .*rank 1 .*do not both have spans", result.stdout)
    assert re.search(r"fault-3 .*rank - .*not ranked", result.stdout)


def test_without_normal_operation_or_faults_it_says_so(folders, tmp_path):
    result = run("--data", folders / "data")
    assert result.returncode == 1
    assert "give a folder that has some with --normal FOLDER" in result.stderr
    assert "holds no faults.csv" in run("--data", tmp_path).stderr


@pytest.mark.skipif(not (DATA / "faults.csv").is_file(), reason="the TrainTicket data is not here")
@pytest.mark.slow
def test_goal_on_the_real_incidents():
    result = run("--data", DATA)
    assert result.returncode == 0, result.stderr
    first, three = map(int, re.findall(r"(\d+) of 30", result.stdout.splitlines()[-1]))
    assert first >= 26
    assert three >= 28
