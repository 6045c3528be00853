"""The README's commands and example do what it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sequela.cli.app import app
from sequela.worlds.softmax import SoftmaxWorld

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_example_runs(tmp_path):
    (example,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cause_position" in done.stdout
    assert (tmp_path / "summary.graphml").is_file()


def test_shell_example_runs(tmp_path, monkeypatch):
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("sequela ")]
    assert [line.split()[1] for line in commands] == [
        "fit",
        "discover",
        "simulate",
        "fit",
        "discover",
        "evaluate",
        "experiment",
    ]
    monkeypatch.chdir(tmp_path)
    world = SoftmaxWorld.random(5, horizon=2, seed=0)
    frame = world.to_log(world.sample(30, 8, seed=1))
    frame.rename({"case": "device_id", "event": "alarm_id", "time": "start_timestamp"}).write_csv("alarms.csv")
    for line in commands:
        result = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 0, result.output
    assert (tmp_path / "results" / "edges.parquet").is_file()
    assert (tmp_path / "truth.parquet").is_file()


@pytest.mark.parametrize("target", ["demo", "test", "lint", "test-slow", "bench"])
def test_make_targets_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
