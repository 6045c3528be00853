"""What a GPU does with this code: precision, compiled code, cases and trained events a second, two processes, the peer.

    python benchmarks/gpu.py [--quick] [--only ROW ...] [--device cuda] [--peer PEER_PYTHON]

One function a row; each measures or fails by itself, and what broke is stored beside what was measured. Without a GPU
the rows run on the processor, which checks this script, and those that need one are stored as skipped. Networks are
untrained: speed does not depend on what the weights say. ``--peer`` is as for `benchmarks/engine.py`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch

import sequela as sq
from sequela.density.base import Density
from sequela.density.runtime.compiled import with_compilation
from sequela.density.runtime.network_density import NetworkDensity
from sequela.density.runtime.precision import with_precision
from sequela.density.window.density import WindowDensity
from sequela.density.window.network import WindowConfig, WindowNetwork
from sequela.events.vocabulary import Vocabulary

sys.path.insert(0, str(Path(__file__).parent))
from engine import SETTINGS, compare, make_model

RESULTS = Path(__file__).parent / "results" / "gpu.csv"
ROOT = Path(__file__).parents[1]
Measured = Iterator[tuple[str, str, float]]
"""Setting, measure with its unit, value."""


class SkippedRowError(Exception):
    """A row cannot run here; the text says why."""


@dataclass(frozen=True)
class Sizes:
    """How much the rows compute.

    Attributes:
        device: Where.
        n_types: Vocabularies.
        width: Of the networks.
        n_cases: Cases discovered.
        length: Events of each.
        steps: Of training.
        repeats: Of what is timed; medians are stored.
        peer: Python of an environment with seq2cause, if there is one.
        tests: What of the tests is run.
    """

    device: str
    n_types: tuple[int, ...] = (1000, 29_100)
    width: int = 256
    n_cases: int = 64
    length: int = 64
    steps: int = 300
    repeats: int = 5
    peer: str | None = None
    tests: tuple[str, ...] = ("tests/density", "tests/effects")

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU of NVIDIA's."""
        return self.device.startswith("cuda")


def quick(sizes: Sizes) -> Sizes:
    """Return sizes that take seconds on a processor."""
    return replace(
        sizes, n_types=(40,), width=16, n_cases=2, length=12, steps=3, repeats=1, tests=("tests/test_locks.py",)
    )


def window(n_types: int, sizes: Sizes) -> WindowDensity:
    """Return an untrained window density."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = WindowConfig(n_types, n_types + 3, 8, min(sizes.width // 2, 128), sizes.width, wide=n_types <= 2000)
        network = WindowNetwork(config)
    vocabulary = Vocabulary(tuple(f"e{i}" for i in range(n_types)), (1,) * n_types)
    return WindowDensity(network, vocabulary, device=sizes.device)


def llama(n_types: int, sizes: Sizes) -> NetworkDensity:
    """Return an untrained Llama of two layers as a density."""
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder), {"n_types": n_types, "width": max(sizes.width // 2, 32), "layers": 2})
        return sq.wrap_huggingface(folder, {f"e{i}": i for i in range(n_types)}, device=sizes.device)


BACKBONES: dict[str, Callable[[int, Sizes], NetworkDensity]] = {"window": window, "llama": llama}


def random_log(n_types: int, n_cases: int, length: int) -> sq.EventLog:
    """Return a log of events drawn evenly; every type occurs where there is room."""
    rng = np.random.default_rng(0)
    events = np.concatenate([rng.permutation(n_types), rng.integers(0, n_types, n_cases * length)])[: n_cases * length]
    case = np.repeat(np.arange(n_cases), length)
    return sq.read_log(pl.DataFrame({"case": case.astype(str), "event": [f"e{i}" for i in events]}), time=False)


def seconds(call: Callable[[], object], sizes: Sizes) -> float:
    """Return the median wall time of a call, after one that warms up."""
    found = []
    for _ in range(sizes.repeats + 1):
        started = time.perf_counter()
        call()
        if sizes.on_gpu:
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return statistics.median(found[1:])


def scores(density: Density, sizes: Sizes) -> np.ndarray:
    """Return the log-probabilities of one random sequence."""
    ids = np.random.default_rng(1).integers(0, density.vocabulary.n_types, sizes.length).astype(np.int32)
    return density.score(ids)


def run_tests(sizes: Sizes) -> Measured:
    """Run the tests of densities and effects, which take a GPU by themselves where they name no device."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *sizes.tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    if done.returncode:
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        raise RuntimeError("; ".join([last, *failed])[:2000])
    yield last, "failed_tests", 0.0


def precisions(sizes: Sizes) -> Measured:
    """Compare 16-bit numbers with float32: time of a discovery, and how far a log-probability moves."""
    n_types = sizes.n_types[0]
    log = random_log(n_types, sizes.n_cases, sizes.length)
    for name, make in BACKBONES.items():
        density = make(n_types, sizes)
        expected = scores(density, sizes)
        for precision in ("float32", "bfloat16", "float16"):
            rough = with_precision(density, precision)
            yield f"{name} {precision}", "moved_nats", float(np.abs(scores(rough, sizes) - expected).max())
            taken = seconds(partial(sq.discover_log, rough, log, progress=False), sizes)
            yield f"{name} {precision}", "cases_a_second", sizes.n_cases / taken


def compiled(sizes: Sizes) -> Measured:
    """Compile the window density (as CUDA graphs on a GPU) and compare."""
    log = random_log(sizes.n_types[0], sizes.n_cases, sizes.length)
    density = window(sizes.n_types[0], sizes)
    if not sizes.on_gpu:
        raise SkippedRowError("for GPUs only: on a processor it gains too little (docs/engine.md)")
    expected, started = scores(density, sizes), time.perf_counter()
    fast = with_compilation(density)
    yield "window", "compile_seconds", time.perf_counter() - started
    if not fast.runtime.compiled:
        raise RuntimeError("the compiled code was refused; the warning above says why")
    yield "window", "moved_nats", float(np.abs(scores(fast, sizes) - expected).max())
    for name, one in (("plain", density), ("compiled", fast)):
        taken = seconds(partial(sq.discover_log, one, log, progress=False), sizes)
        yield f"window {name}", "cases_a_second", sizes.n_cases / taken


def discovery(sizes: Sizes) -> Measured:
    """Count cases a second, with defaults, and the most memory of the GPU."""
    for n_types in sizes.n_types:
        log = random_log(n_types, sizes.n_cases, sizes.length)
        for name, make in BACKBONES.items():
            density = make(n_types, sizes)
            if sizes.on_gpu:
                torch.cuda.reset_peak_memory_stats()
            taken = seconds(partial(sq.discover_log, density, log, progress=False), sizes)
            yield f"{name} {n_types}", "cases_a_second", sizes.n_cases / taken
            if sizes.on_gpu:
                yield f"{name} {n_types}", "peak_mb", torch.cuda.max_memory_allocated() / 1e6


def training(sizes: Sizes) -> Measured:
    """Count trained events a second, the judging of the model at the end included."""
    for n_types in sizes.n_types:
        log = random_log(n_types, max(20, sizes.n_cases), max(sizes.length, 2 * n_types // max(20, sizes.n_cases)))
        for backbone in BACKBONES:
            for precision in ("float32", "bfloat16"):
                settings = {"backbone": backbone, "precision": precision, "max_steps": sizes.steps}
                settings |= {"width": sizes.width, "patience": 10_000, "progress": False, "device": sizes.device}
                started = time.perf_counter()
                density = sq.fit(log, **settings)
                events = density.info["training"]["batch_size"] * sizes.steps
                if backbone == "llama":  # its examples are blocks of events
                    events *= min(256, sizes.length)
                yield f"{backbone} {n_types} {precision}", "events_a_second", events / (time.perf_counter() - started)


def two_processes(sizes: Sizes) -> Measured:
    """Train by two processes, on two GPUs or with gloo; the saved density must score."""
    if sizes.on_gpu and torch.cuda.device_count() < 2:
        raise SkippedRowError("one GPU only")
    with tempfile.TemporaryDirectory() as folder:
        log, out = Path(folder) / "log.csv", Path(folder) / "model"
        random_log(sizes.n_types[0], max(20, sizes.n_cases), sizes.length).frame.select("case", "event").write_csv(log)
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "--no-python",
            "--",
        ]
        command += [
            sys.executable,
            "-m",
            "sequela",
            "fit",
            str(log),
            "--case",
            "case",
            "--event",
            "event",
            "--out",
            str(out),
        ]
        command += ["--width", str(sizes.width), "--max-steps", str(sizes.steps)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({} if sizes.on_gpu else {"ACCELERATE_USE_CPU": "true"})
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise RuntimeError(done.stderr[-1000:])
        yield "window", "seconds", time.perf_counter() - started
        if not np.isfinite(scores(sq.load_density(out, device=sizes.device), sizes)).all():
            raise RuntimeError("the density that two processes trained scores NaN")


def peer(sizes: Sizes) -> Measured:
    """Time one case against seq2cause on the same device, weights and particles."""
    if sizes.peer is None:
        raise SkippedRowError("no --peer")
    for name in [name for name in SETTINGS if name != "memory"]:
        row = compare(name, sizes.peer, sizes.repeats, device=sizes.device)
        for measure in ("ours_seconds", "theirs_seconds", "times_faster"):
            yield name, measure, row[measure]


ROWS: dict[str, Callable[[Sizes], Measured]] = {
    "tests": run_tests, "precision": precisions, "compiled": compiled, "discovery": discovery, "training": training,
    "two_processes": two_processes, "peer": peer,
}  # fmt: skip


def measure(name: str, sizes: Sizes) -> pl.DataFrame:
    """Run one row; what was measured before it broke is kept."""
    device = torch.cuda.get_device_name(sizes.device) if sizes.on_gpu else sizes.device
    common = {"row": name, "device": device, "torch": str(torch.__version__)}
    found: list[dict[str, object]] = []
    try:
        for setting, what, value in ROWS[name](sizes):
            found.append(common | {"setting": setting, "measure": what, "value": float(value), "broke": ""})
            print(found[-1], flush=True)
    except SkippedRowError as reason:
        found.append(common | {"setting": "", "measure": "skipped", "value": None, "broke": str(reason)})
    except Exception as error:  # the next rows are wanted whatever broke in this one
        text = f"{type(error).__name__}: {error}"
        found.append(common | {"setting": "", "measure": "broke", "value": None, "broke": text[:2000]})
    if found[-1]["broke"]:
        print(found[-1], flush=True)
    schema = {**dict.fromkeys(("row", "device", "torch", "setting", "measure"), pl.String), "value": pl.Float64}
    return pl.DataFrame(found, schema=schema | {"broke": pl.String})


def main() -> None:
    """Run what the command line asks for; ends with 1 where something broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--quick", action="store_true", help="sizes that take seconds on a processor")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--peer")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    sizes = Sizes(arguments.device, peer=arguments.peer)
    rows = []
    for name in arguments.only:
        rows.append(measure(name, quick(sizes) if arguments.quick else sizes))
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        pl.concat(rows).write_csv(arguments.out)
    sys.exit(int(any((one["measure"] == "broke").any() for one in rows)))


if __name__ == "__main__":
    main()
