"""Two writers on one output: one of them is refused, and what is there is the whole result of the other."""

import json
import subprocess
import sys

import numpy as np
import pytest

from sequela.graphs.population import PopulationGraph
from sequela.graphs.run_record import verify_results
from sequela.graphs.saved import load_results

# Runs jobs that it reads line by line; two of them work at the same time.
WORKER = """
import json, sys, time
import torch
from sequela.density.window.density import WindowDensity
from sequela.density.window.network import WindowConfig, WindowNetwork
from sequela.discovery.population import discover_population
from sequela.discovery.stream import discover_to
from sequela.errors import ConfigError
from sequela.events.log import read_log
from sequela.execution import chunks, map_cases
from sequela.graphs.population import PopulationGraph
from sequela.worlds.softmax import SoftmaxWorld

chunks.Chunks.seconds, map_cases._FIRST_EVENTS, map_cases._SHORT_SECONDS = 0.0, 60, 0.0
WORLD = SoftmaxWorld.random(6, horizon=3, decay=0.2, sparsity=0.6, seed=0)
LOG = read_log(WORLD.to_log(WORLD.sample(40, (1, 15), seed=1)))
torch.manual_seed(0)
torch.set_num_threads(1)
network = WindowNetwork(WindowConfig(6, 9, 4, 16, 32))
torch.nn.init.normal_(network.head.weight, std=0.7)
DENSITY = WindowDensity(network, WORLD.vocabulary, knows_hidden=True)

def run(job):
    given = {"overwrite": job["overwrite"], "progress": False, "particles": 4, "seed": job["seed"], "delta": 0.001}
    try:
        if job["verb"] == "discover":
            discover_to(DENSITY, LOG, job["out"], **given)
        else:
            discover_population(DENSITY, LOG, cases="all", out=job["out"], **given)
        return "written"
    except ConfigError as error:
        return str(error)

print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    time.sleep(job["after"])
    print(json.dumps(run(job)), flush=True)
"""


class Worker:
    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, **job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def workers():
    both = [Worker(), Worker()]
    for worker in both:
        assert worker.process.stdout.readline() == "ready\n"
    yield both
    for worker in both:
        worker.process.stdin.close()
        worker.process.stdout.close()
        worker.process.wait()


def table(folder):
    found = load_results(folder)
    return found.pairs if isinstance(found, PopulationGraph) else found.edges


def key(job):
    return job["verb"], job["seed"]


@pytest.mark.parametrize("n_pairs", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_random_pairs_of_commands_on_one_output(workers, tmp_path, n_pairs):
    whole = {}
    for verb in ("discover", "population"):
        for seed in (0, 1):
            out = tmp_path / f"{verb}-{seed}"
            workers[0].start(verb=verb, seed=seed, out=str(out), overwrite=False, after=0)
            assert workers[0].answer() == "written"
            whole[verb, seed] = table(out)
    assert not whole["discover", 0].equals(whole["discover", 1])
    rng = np.random.default_rng(n_pairs)
    n_refused = n_written = 0
    for number in range(n_pairs):
        out = tmp_path / "shared" / f"out-{number}"
        jobs = [
            {
                "verb": str(rng.choice(["discover", "discover", "population"])),
                "seed": int(rng.integers(2)),
                "overwrite": bool(rng.random() < 0.5),
                "after": float(rng.random() * 0.02),
                "out": str(out),
            }
            for _ in workers
        ]
        for worker, job in zip(workers, jobs, strict=True):
            worker.start(**job)
        answers = [worker.answer() for worker in workers]
        written = [job for job, answer in zip(jobs, answers, strict=True) if answer == "written"]
        assert written, answers
        for answer in answers:
            assert answer == "written" or "is being written by process" in answer or "already holds" in answer, answer
        assert any(table(out).equals(whole[key(job)]) for job in written)
        assert verify_results(out)["damage"].null_count() == verify_results(out).height
        assert [path.name for path in out.parent.iterdir()] == [out.name]
        out.rename(tmp_path / f"done-{number}")
        n_written += len(written)
        n_refused += 2 - len(written)
    assert n_refused >= n_pairs // 4  # they did meet
