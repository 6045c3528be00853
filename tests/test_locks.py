"""One writer per output; a lock ends with the process that holds it, however that ends."""

import json
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from sequela.density.training.fit import fit
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.files import whole_file, whole_folder
from sequela.locks import lock_path, locked
from sequela.progress import Silent
from sequela.worlds.softmax import SoftmaxWorld

HOLDER = """
import sys, time
from sequela.locks import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    run = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "out")], stdout=subprocess.PIPE)
    assert run.stdout.readline() == b"held\n"
    yield run
    run.kill()
    run.communicate()


def test_a_second_process_is_refused_at_once_and_told_who_writes(tmp_path, holder):
    with pytest.raises(ConfigError, match=rf"process {holder.pid} on host .* since"), locked(tmp_path / "out"):
        pass
    with pytest.raises(ConfigError, match="is being written"), whole_file(tmp_path / "out"):
        pass
    with pytest.raises(ConfigError, match="is being written"), whole_folder(tmp_path / "out", marker="m"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]
    with locked(tmp_path / "other"):
        pass


def test_a_killed_holder_is_no_obstacle(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert lock_path(tmp_path / "out").exists()
    with locked(tmp_path / "out"):
        assert json.loads(lock_path(tmp_path / "out").read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_process_ids_decide_nothing(tmp_path):
    """A lock file of another container may name a process id that lives here, or one that does not."""
    for pid in (os.getpid(), 1, 2**22):
        lock_path(tmp_path / "out").write_text(json.dumps({"pid": pid, "host": "elsewhere", "since": ""}))
        with locked(tmp_path / "out"):
            pass
    lock_path(tmp_path / "out").write_bytes(b"\xff")
    with locked(tmp_path / "out"), locked(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_temporary_files_of_a_living_writer_stay_and_those_of_dead_ones_go(tmp_path, holder):
    """Whatever process id is in their name."""
    names = [f".out.{pid}-0123.partial" for pid in (os.getpid(), 1, 2**22)]
    for name in names:
        (tmp_path / name).write_text("x")
    with pytest.raises(ConfigError, match="is being written"), whole_file(tmp_path / "out"):
        pass
    assert all((tmp_path / name).exists() for name in names)
    holder.kill()
    holder.wait()
    with whole_file(tmp_path / "out") as temporary:
        temporary.write_text("y")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_thread_is_refused_and_the_same_one_is_not(tmp_path):
    errors = []

    def other():
        try:
            with locked(tmp_path / "out"):
                pass
        except ConfigError as error:
            errors.append(str(error))

    with locked(tmp_path / "out"):
        with locked(tmp_path / "." / "out"):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another thread" in errors[0]
    with locked(tmp_path / "out"):
        pass


def test_a_linked_folder_is_the_same_output(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with locked(tmp_path / "real" / "out"):
        thread = threading.Thread(target=lambda: caught.append(_refused(tmp_path / "link" / "out")))
        caught = []
        thread.start()
        thread.join()
    assert caught == [True]


def _refused(path):
    try:
        with locked(path):
            return False
    except ConfigError:
        return True


def test_where_no_lock_can_be_made_one_line_says_so(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file" / "out"):
        pass


def test_fit_holds_the_lock_while_it_trains(tmp_path, holder):
    world = SoftmaxWorld.random(4, horizon=2, seed=0)
    log = read_log(world.to_log(world.sample(12, 6, seed=1)))
    given = {"max_steps": 1, "width": 4, "device": "cpu", "progress": False}
    with pytest.raises(ConfigError, match="is being written"):
        fit(log, out=tmp_path / "out", **given)
    holder.kill()
    holder.wait()
    seen = []
    reporter = SimpleNamespace(say=lambda text: seen.append(lock_path(tmp_path / "out").exists()), bar=Silent().bar)
    fit(log, out=tmp_path / "out", **(given | {"progress": reporter}))
    assert seen
    assert all(seen)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
