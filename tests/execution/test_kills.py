"""Killed anywhere, again and again, the same command ends with the same files; beside another one it is refused.

A thousand kills and two hundred pairs: ``make kills`` (``pytest -m slow tests/execution/test_kills.py``).
"""

import os
import shutil
import time

import numpy as np
import pytest
from warm import Warm, content

from sequela.density.training.fit import fit
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a warm process needs os.fork")
WORLD = SoftmaxWorld.random(5, horizon=2, decay=0.2, seed=0)
N_KILLS = {"discover": 300, "population": 250, "fit": 250, "run": 200}
VERBS = tuple(N_KILLS)
_MOST = dict.fromkeys(VERBS, 150) | {"run": 330}
"""Operations on the disk at which a job may die; one that has fewer ends well."""


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("warm")
    WORLD.to_log(WORLD.sample(24, (2, 8), seed=1)).write_csv(folder / "log.csv")
    fit(read_log(folder / "log.csv"), out=folder / "model", max_steps=6, width=4, device="cpu", progress=False)
    server = Warm(folder)
    yield server
    server.close()


@pytest.fixture(scope="module")
def whole(warm):
    """What every verb writes where nothing disturbs it, and how long that takes."""

    class Whole(dict):
        def __missing__(self, key):
            verb, seed = key
            started = time.monotonic()
            assert warm.run({"verb": verb, "seed": seed, "out": warm.folder / f"{verb}-{seed}"}) == [(0, "")]
            self[key] = content(warm.folder / f"{verb}-{seed}"), time.monotonic() - started
            return self[key]

    return Whole()


@pytest.mark.parametrize(("verb", "n_kills", "seed"), [
    ("discover", 5, 0), ("fit", 3, 0),
    *(pytest.param(verb, 50, seed, marks=pytest.mark.slow) for verb, n in N_KILLS.items() for seed in range(n // 50)),
])  # fmt: skip
def test_killed_again_and_again(warm, whole, tmp_path, verb, n_kills, seed):
    old, expected = whole[verb, 0][0], whole[verb, 1][0]
    assert old != expected
    rng = np.random.default_rng([n_kills, seed])
    out, n_killed, n_done, overwrite = tmp_path / "out", 0, 0, False
    while n_killed < n_kills:
        job = {"verb": verb, "seed": 1, "out": out, "overwrite": overwrite}
        if rng.random() < 0.5:
            job |= {"at": int(rng.integers(1, _MOST[verb])), "when": str(rng.choice(["before", "half", "after"]))}
        else:
            job["kill"] = float(rng.uniform(0, whole[verb, 1][1]))
        ((code, said),) = warm.run(job)
        assert code in (0, -9), said
        n_killed += code == -9
        if code == 0:
            assert content(out) == expected
            assert [path.name for path in tmp_path.iterdir()] == ["out"]
            n_done += 1
        elif out.exists() and verb != "run":  # the folder of a run says itself that it is unfinished
            assert content(out) in (old, expected)
        if code == 0 or (out.exists() and content(out) == expected):
            start_anew(warm, verb, out, overwrite := not overwrite)
    assert warm.run({"verb": verb, "seed": 1, "out": out, "overwrite": True}) == [(0, "")]
    assert content(out) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def start_anew(warm, verb, out, with_old):
    """Remove all, or put the result of another seed in its place."""
    for path in out.parent.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if with_old:
        shutil.copytree(warm.folder / f"{verb}-0", out)


@pytest.mark.parametrize("n_pairs", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_random_pairs_on_shared_outputs(warm, whole, tmp_path, n_pairs):
    rng = np.random.default_rng(n_pairs)
    folder, counts = tmp_path / "shared", {"written": 0, "refused": 0}
    for _ in range(n_pairs):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (two_writers if rng.random() < 0.6 else writer_and_reader)(warm, whole, folder, rng, counts)
    assert counts["written"] >= n_pairs
    assert counts["refused"] >= n_pairs // 8  # they did meet


def two_writers(warm, whole, folder, rng, counts):
    """One of them is refused, or both write, one after the other; what is there is whole."""
    out = folder / "out"
    same = str(rng.choice(VERBS, p=[0.4, 0.3, 0.2, 0.1]))
    jobs = [
        {
            "verb": same if rng.random() < 0.7 else str(rng.choice(VERBS)), "seed": int(rng.integers(2)),
            "overwrite": bool(rng.random() < 0.5), "after": float(rng.random() * 0.05), "out": out,
        }
        for _ in range(2)
    ]  # fmt: skip
    answers = warm.run(*jobs)
    check_answers(answers, counts)
    written = [job for job, (code, _) in zip(jobs, answers, strict=True) if code == 0]
    assert written, answers
    assert content(out) in [whole[job["verb"], job["seed"]][0] for job in written], answers
    assert [path.name for path in folder.iterdir()] == ["out"]


def writer_and_reader(warm, whole, folder, rng, counts):
    """What is exported while a result is replaced is the old or the new one."""
    name = str(rng.choice(["x.csv", "x.graphml", "x.html"]))
    verb = "report" if name == "x.html" else "export"
    expected = []
    for seed in (0, 1):
        assert whole["discover", seed]
        kept = warm.folder / f"{seed}-{name}"
        if not kept.exists():
            found = str(warm.folder / f"discover-{seed}")
            assert warm.run({"verb": verb, "found": found, "out": kept}) == [(0, "")]
        expected.append(kept.read_bytes())
    shutil.copytree(warm.folder / "discover-0", folder / "out")
    writer = {"verb": "discover", "seed": 1, "overwrite": True, "out": folder / "out"}
    reader = {"verb": verb, "found": str(folder / "out"), "out": folder / name, "after": float(rng.random() * 0.3)}
    answers = warm.run(writer, reader, reader | {"after": float(rng.random() * 0.3)})
    check_answers(answers, counts)
    assert answers[0] == (0, "")
    assert content(folder / "out") == whole["discover", 1][0]
    if (folder / name).exists():
        assert (folder / name).read_bytes() in expected
    assert {path.name for path in folder.iterdir()} <= {"out", name}


def check_answers(answers, counts):
    """A job ends well, or is refused in one line."""
    for code, said in answers:
        assert code in (0, 1), said
        assert (code == 0) == (said == ""), said
        assert "\n" not in said
        counts["written" if code == 0 else "refused"] += 1
