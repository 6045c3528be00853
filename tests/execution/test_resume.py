"""Killed at any moment, the same command ends with the same files: nothing lost, nothing twice, nothing torn."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sequela.cli.app import app
from sequela.worlds.softmax import SoftmaxWorld

# Runs a command; chunks are made often, and `at` counts renames: the process dies before or after that one.
SCRIPT = """
import os, signal, sys
from sequela.discovery import stream as run
from sequela.execution import map_cases
from sequela.execution.chunks import Chunks
from sequela.cli.app import app
Chunks.seconds, run._ROWS_A_GROUP, map_cases._FIRST_EVENTS = 0.05, 300, 100
map_cases._SHORT_SECONDS = 0.0
at, after, real, count = int(sys.argv[1]), sys.argv[2] == "after", os.replace, 0
def replace(*arguments):
    global count
    count += 1
    if count == at and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*arguments)
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
sys.argv = ["sequela", *sys.argv[3:]]
app()
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    from typer.testing import CliRunner

    folder = tmp_path_factory.mktemp("resume")
    world = SoftmaxWorld.random(30, horizon=3, decay=0.3, seed=0)
    world.to_log(world.sample(60, (1, 30), seed=1)).write_csv(folder / "log.csv")
    fit = ["fit", str(folder / "log.csv"), "--out", str(folder / "model"), "--max-steps", "60", "--quiet"]
    assert CliRunner().invoke(app, fit).exit_code == 0
    return folder


def command(given, verb, out):
    if verb == "discover":
        return ["discover", str(given / "model"), str(given / "log.csv"), "--out", str(out), "--delta", "0.01"]
    if verb == "population":
        return ["population", str(given / "model"), str(given / "log.csv"), "--out", str(out), "--cases", "all"]
    return ["fit", str(given / "log.csv"), "--out", str(out), "--max-steps", "300"]


def start(arguments, at=0, when="before"):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(at), when, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def content(folder):
    """All files, without what differs between two runs that were not killed."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in ("run.json", "density.json"):
        if name in found:
            values = json.loads(found[name])
            for differs in ("seconds", "checksum"):
                values.pop(differs, None)
            found[name] = values
    return found


@pytest.mark.parametrize("verb", [pytest.param("discover", marks=pytest.mark.slow), "population"])
def test_killed_at_a_rename_and_taken_up(given, tmp_path, verb):
    reference = start(command(given, verb, tmp_path / "whole"))
    reference.communicate()
    assert reference.returncode == 0
    killed = start(command(given, verb, tmp_path / "out"), at=6, when="after")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    again = start(command(given, verb, tmp_path / "out"))
    text = again.communicate()[0].decode()
    assert again.returncode == 0, text
    assert "taking up the interrupted" in text
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["discover", "population", "fit"])
def test_killed_at_twenty_random_moments(given, tmp_path, verb):
    started = time.monotonic()
    reference = start(command(given, verb, tmp_path / "whole"))
    reference.communicate()
    assert reference.returncode == 0
    seconds = time.monotonic() - started
    expected = content(tmp_path / "whole")
    rng = np.random.default_rng(0)
    n_killed = n_runs = 0
    while n_killed < 20:
        # Half at any time of the work, half around a rename, where a file could be torn.
        at = int(rng.integers(1, 25)) if rng.random() < 0.5 else 0
        run = start(command(given, verb, tmp_path / "out"), at=at, when=str(rng.choice(["before", "after"])))
        if not at:
            time.sleep(rng.uniform(0.3 * seconds, seconds))
            run.kill()
        run.communicate()
        n_killed += run.returncode == -signal.SIGKILL
        n_runs += run.returncode == 0
        if run.returncode == 0 or (tmp_path / "out").exists():
            assert content(tmp_path / "out") == expected
            import shutil

            shutil.rmtree(tmp_path / "out")
    last = start(command(given, verb, tmp_path / "out"))
    last.communicate()
    assert last.returncode == 0
    assert content(tmp_path / "out") == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]
