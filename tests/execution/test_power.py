"""The power is lost at any moment: what was not flushed is gone, and the old or the new result is there, or none.

What a verb does to the disk is recorded through `sequela.files.disk`, and played back to the moment of the loss in two
ways: as a system that keeps the order of names but loses unsynced data (such a file is there, and empty), and as one
that has kept nothing but what was synced. The law is POSIX: `fsync` of a file keeps its data, of a folder its names.
"""

import shutil
from pathlib import Path

import pytest
from test_faults import VERBS, same, small_chunks, with_disk

from sequela import files
from sequela.errors import SequelaError

assert small_chunks  # a fixture that holds here too


class Name:
    """A file: its data now, and as last synced. A folder: its names now, and as last synced."""

    def __init__(self, is_folder):
        self.is_folder = is_folder
        self.now, self.kept = ({}, {}) if is_folder else (b"", b"")


class Recorder(files.Disk):
    """A disk that also keeps what a loss of power would leave, at every operation."""

    def __init__(self, root):
        self.root, self.top, self.losses = root, Name(True), []
        self.take(root, self.top)
        self.sync_all(self.top)

    def take(self, path, name):
        """Read what is on the real disk; new files are not synced."""
        for item in path.iterdir():
            known = name.now.get(item.name)
            if known is None or known.is_folder != item.is_dir():
                known = name.now[item.name] = Name(item.is_dir())
            if known.is_folder:
                self.take(item, known)
            else:
                known.now = item.read_bytes()

    def sync_all(self, name):
        name.kept = dict(name.now) if name.is_folder else name.now
        for each in name.now.values() if name.is_folder else ():
            self.sync_all(each)

    def at(self, path):
        name = self.top
        for part in path.relative_to(self.root).parts:
            name = name.now.setdefault(part, Name(True))
        return name

    def lost(self):
        """Note what would be left now, in both ways."""
        self.losses += [self.left(self.top, "now"), self.left(self.top, "kept")]

    def left(self, name, which):
        if not name.is_folder:
            return name.kept
        return {key: self.left(each, which) for key, each in getattr(name, which).items()}

    def written(self, path):
        if path.is_dir():
            self.take(path, self.at(path))
        else:
            self.at(path.parent).now[path.name] = Name(False)
            self.at(path).now = path.read_bytes()
        self.lost()

    def sync(self, path):
        super().sync(path)
        name = self.at(path)
        name.kept = dict(name.now) if name.is_folder else path.read_bytes()
        self.lost()

    def replace(self, source, target):
        super().replace(source, target)
        self.at(target.parent).now[target.name] = self.at(source.parent).now.pop(source.name)
        self.lost()

    def make_folder(self, path, *, exist_ok=False):
        super().make_folder(path, exist_ok=exist_ok)
        self.at(path)
        self.lost()

    def remove(self, path):
        super().remove(path)
        self.at(path.parent).now.pop(path.name, None)
        self.lost()


def put(folder, left):
    for name, content in left.items():
        if isinstance(content, dict):
            (folder / name).mkdir()
            put(folder / name, content)
        else:
            (folder / name).write_bytes(content)


def check_every_loss(folder, verb, *, overwrite, every):
    run, load = VERBS[verb]
    content = []
    for seed in (0, 1):
        run(folder / f"whole-{seed}", seed, False)
        content.append(load(folder / f"whole-{seed}"))
    there = folder / "there"
    there.mkdir()
    if overwrite:
        shutil.copytree(folder / "whole-0", there / "out")
    disk = Recorder(there)
    assert with_disk(disk, run, there / "out", 1, overwrite) is None
    assert same(load(there / "out"), content[1])
    n_found = 0
    for number, left in enumerate(disk.losses):
        last = number >= len(disk.losses) - 2
        if number % every and not last:
            continue
        again = folder / "again"
        shutil.rmtree(again, ignore_errors=True)
        again.mkdir()
        put(again, left)
        n_found += found(load, again / "out", content, overwrite)
        assert not last or same(load(again / "out"), content[1])  # it said that it was done: nothing is lost
        run(again / "out", 1, True)
        assert same(load(again / "out"), content[1])
        assert [path.name for path in again.iterdir()] == ["out"]
    assert n_found
    return len(disk.losses)


def found(load, out: Path, content, overwrite):
    """Return whether a result is there: the old or the new one, whole; anything else is refused."""
    try:
        now = load(out)
    except (SequelaError, OSError):
        return False
    assert same(now, content[1]) or (overwrite and same(now, content[0]))
    return True


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("verb", "every"), [("discover", 31), ("save", 3), ("sequences", 3)])
def test_some_losses_of_power(tmp_path, verb, every, overwrite):
    assert check_every_loss(tmp_path, verb, overwrite=overwrite, every=every) > 20


@pytest.mark.slow
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("verb", ["discover", "population", "fit"])
def test_every_loss_of_power(tmp_path, verb, overwrite):
    assert check_every_loss(tmp_path, verb, overwrite=overwrite, every=1) > 20
