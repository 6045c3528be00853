"""A warm process that forks a child for every job, so that a thousand of them can be killed.

Everything is imported in it and nothing computed, since threads do not survive a fork. It reads lists of jobs, one a
line, starts each list together, and answers with how each job ended: 0, 1 (refused, with a line) or -9 (killed).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

SERVER = """
import json, os, signal, sys, time
from pathlib import Path
import torch, torch._dynamo, torch._inductor, torch.onnx, transformers, accelerate
import pyarrow.compute, pyarrow.parquet, scipy.stats
import polars as pl
torch.set_num_threads(1)
import sequela as sq
from sequela import files
from sequela.density.checkpoint import load_density
from sequela.density.training import recipe
from sequela.density.training.fit import fit
from sequela.discovery import stream
from sequela.discovery.run import run
from sequela.discovery.population import discover_population
from sequela.errors import SequelaError
from sequela.events.log import read_log
from sequela.execution import chunks, map_cases
from sequela.graphs.exports import export
from sequela.graphs.saved import load_results
from sequela.reports.page import report

stream._ROWS_A_GROUP, map_cases._FIRST_EVENTS, map_cases._SHORT_SECONDS = 300, 60, 0.0
chunks.Chunks.seconds = 0.0


class Dying(files.Disk):
    '''Kills the process at an operation: before it, when half of a file is written, or after it.'''

    def __init__(self, at, when):
        self.at, self.when, self.count = at, when, 0

    def step(self, call, path=None):
        self.count += 1
        if self.count == self.at and self.when != "after":
            if self.when == "half" and path is not None:
                for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
                    os.truncate(file, file.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        found = call()
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return found


for name in ("written", "sync", "replace", "make_folder", "remove", "read"):
    def method(self, path, *rest, _real=getattr(files.Disk, name), _name=name, **more):
        return self.step(lambda: _real(self, path, *rest, **more), path if _name == "written" else None)
    setattr(Dying, name, method)


def work(job):
    torch.manual_seed(0)
    given = {"overwrite": job.get("overwrite", False), "progress": False}
    verb, out, seed = job["verb"], job["out"], job.get("seed", 0)
    if verb == "export":
        return export(load_results(job["found"]), out)
    if verb == "report":
        return report(load_results(job["found"]), out)
    log = read_log(job["log"])
    if verb == "fit":
        return fit(log, out=out, seed=seed, max_steps=6, width=4, device="cpu", **given)
    if verb == "run":
        return run(log, out=out, seed=seed, max_steps=4, folds=2, particles=4, delta=0.001, device="cpu", **given)
    density = load_density(job["model"], device="cpu")
    if verb == "discover":
        return stream.discover_to(density, log, out, seed=seed, particles=4, delta=0.001, **given)
    return discover_population(density, log, cases="all", out=out, seed=seed, particles=4, **given)


def child(job):
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    if job.get("at"):
        disk = Dying(job["at"], job["when"])
        for module in [module for name, module in sys.modules.items() if name.startswith("sequela")]:
            if getattr(module, "disk", None) is files.Disk or isinstance(getattr(module, "disk", None), files.Disk):
                module.disk = disk
    code, text = 0, ""
    try:
        time.sleep(job.get("after", 0))
        work(job)
    except (SequelaError, OSError) as error:
        code, text = 1, str(error)
    except BaseException as error:
        code, text = 2, repr(error)
    Path(job["said"]).write_text(text)
    os._exit(code)


print(json.dumps(len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 1), flush=True)
for line in sys.stdin:
    running, ended = {}, {}
    for number, job in enumerate(json.loads(line)):
        pid = os.fork()
        if pid == 0:
            child(job)
        running[pid] = number, time.monotonic() + job.get("kill", 1e9)
    while running:
        for pid, (number, end) in list(running.items()):
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
            if (found := os.waitpid(pid, os.WNOHANG))[0]:
                ended[number] = os.waitstatus_to_exitcode(found[1])
                del running[pid]
        time.sleep(0.001)
    print(json.dumps([ended[number] for number in sorted(ended)]), flush=True)
"""


class Warm:
    """The client of the warm process."""

    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.n_threads = json.loads(self.process.stdout.readline())

    def run(self, *jobs):
        """Run jobs together; return (exit code, what it said) of each."""
        jobs = [
            {"log": str(self.folder / "log.csv"), "model": str(self.folder / "model")}
            | job
            | {"said": str(self.folder / f"said-{number}"), "out": str(job["out"])}
            for number, job in enumerate(jobs)
        ]
        for job in jobs:
            Path(job["said"]).write_text("")
        self.process.stdin.write(json.dumps(jobs) + "\n")
        self.process.stdin.flush()
        codes = json.loads(self.process.stdout.readline())
        return [(code, Path(job["said"]).read_text()) for code, job in zip(codes, jobs, strict=True)]

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def content(path):
    """What a file or folder holds, without what differs between two runs that were not disturbed.

    A lock file that a killed process left is no part of it.
    """
    if path.is_file():
        return path.read_bytes()
    found = {}
    for file in path.rglob("*"):
        if file.is_file() and file.suffix != ".lock":
            name, read = file.relative_to(path).as_posix(), file.read_bytes()
            unfinished = any(part.startswith(".") for part in name.split("/"))  # of a killed process
            found[name] = plain(json.loads(read)) if file.suffix == ".json" and not unfinished else read
    return found


def plain(value):
    """Leave out how long it took, and the checksums of records that say so."""
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in ("seconds", "checksum")}
        return {
            key: plain(each) for key, each in kept.items() if not (key.endswith(".json") and "blake2b" in str(each))
        }
    return [plain(each) for each in value] if isinstance(value, list) else value
