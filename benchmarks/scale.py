"""How cost grows: with sequence length, with the vocabulary, and over a million events.

    python benchmarks/scale.py length          # 64 to 4,096 events, horizon 8: slope on log-log axes
    python benchmarks/scale.py vocabulary      # 100 to 29,100 types, beside the output layer alone
    python benchmarks/scale.py peak            # share of a plain batched forward's rate, same model and tokens
    python benchmarks/scale.py million         # a million events, window backbone, leave-one-out, to a folder
    python benchmarks/scale.py threads         # fit with one thread (what it takes) and with all; with other work

One thread unless --threads says otherwise; medians of --repeats runs. Weights are random: cost does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import torch

from sequela import estimate, read_log
from sequela.density.decoder.huggingface import HuggingFaceDensity
from sequela.density.window.density import WindowDensity
from sequela.density.window.network import WindowConfig, WindowNetwork
from sequela.discovery.stream import discover_to
from sequela.events.sequences import Case
from sequela.events.vocabulary import Vocabulary

RESULTS = Path(__file__).parent / "results"


def window(n_types: int) -> WindowDensity:
    torch.manual_seed(0)
    network = WindowNetwork(WindowConfig(n_types, n_types + 3, 8, 64, 128, wide=n_types <= 2000))
    torch.nn.init.normal_(network.head.weight, std=0.2)
    return WindowDensity(network, vocabulary_of(n_types), knows_hidden=True)


def llama(n_types: int, *, context: int = 256, width: int = 128, layers: int = 2) -> HuggingFaceDensity:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=n_types + 3, hidden_size=width, intermediate_size=width * 8 // 3, num_hidden_layers=layers,
        num_attention_heads=width // 32, max_position_embeddings=2 * context + 2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    tokens = np.arange(n_types)
    return HuggingFaceDensity(
        model, vocabulary_of(n_types), tokens=tokens, begin_token=n_types + 1, context=context, device="cpu"
    )


def vocabulary_of(n_types: int) -> Vocabulary:
    return Vocabulary(tuple(f"e{i}" for i in range(n_types)), (1,) * n_types)


def case_of(length: int, n_types: int) -> Case:
    return Case("case", np.random.default_rng(0).integers(0, n_types, length).astype(np.int32), None)


def seconds(call: Callable[[], Any], repeats: int) -> float:
    call()
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def slope(x: list[float], y: list[float]) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def length(repeats: int) -> list[dict[str, Any]]:
    rows = []
    for name, density in (("window", window(1000)), ("llama, context 256", llama(1000))):
        sizes = [64, 256, 1024, 4096]
        cost = [
            seconds(lambda d=density, n=n: estimate(d, case_of(n, 1000), particles=8, horizon=8), repeats)
            for n in sizes
        ]  # fmt: skip
        rows += [
            {"what": name, "length": n, "seconds": value, "slope": slope(sizes, cost)}
            for n, value in zip(sizes, cost, strict=True)
        ]
    return rows


def vocabulary(repeats: int) -> list[dict[str, Any]]:
    rows = []
    for n_types in (100, 1000, 5000, 29_100):
        for name, density in (("window", window(n_types)), ("llama", llama(n_types))):
            ours = seconds(lambda d=density, n=n_types: estimate(d, case_of(64, n), particles=8, horizon=6), repeats)
            hidden, weight = torch.randn(63 * 8 * 6, 128), torch.randn(n_types, 128)

            def head(hidden: torch.Tensor = hidden, weight: torch.Tensor = weight) -> None:
                for part in hidden.split(128):
                    (part @ weight.T).logsumexp(1)

            rows.append(
                {"what": name, "n_types": n_types, "seconds": ours, "output_layer_seconds": seconds(head, repeats)}
            )
    return rows


@torch.inference_mode()
def peak(repeats: int) -> list[dict[str, Any]]:
    """Model steps a second of discovery and of a plain batched forward with all logits, in turns."""
    rows = []
    for width, layers, particles in ((128, 2, 8), (256, 6, 32)):
        density, case = llama(1000, width=width, layers=layers), case_of(64, 1000)
        n_steps = sum(min(6, 63 - j) for j in range(63)) * particles + 64
        tokens = torch.randint(0, 1000, (n_steps // 64, 64))
        ours, plain = [], []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            estimate(density, case, particles=particles, horizon=6)
            between = time.perf_counter()
            density.model(input_ids=tokens, use_cache=False).logits.logsumexp(-1)
            ours.append(between - started)
            plain.append(time.perf_counter() - between)
        a, b = statistics.median(ours[1:]), statistics.median(plain[1:])  # the first warms up
        rate = tokens.numel() / b
        rows.append(
            {"width": width, "layers": layers, "steps": n_steps, "seconds": a, "plain_seconds": b,
             "share": n_steps / a / rate}
        )  # fmt: skip
    return rows


def million(particles: int, design: str, threads: int, n_events: int) -> list[dict[str, Any]]:
    n_types, size = 100, 64
    density = window(n_types)
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "case": np.repeat(np.arange(n_events // size), size),
            "event": rng.integers(0, n_types, n_events // size * size),
        }
    ).with_columns(event="e" + pl.col("event").cast(pl.String))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.parquet"
        frame.write_parquet(path)
        del frame
        log = read_log(path)
        process, held, stop = psutil.Process(), [], threading.Event()

        def watch() -> None:
            while not stop.wait(1.0):
                held.append(process.memory_info().rss)

        before = process.memory_info().rss
        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.perf_counter()
        result = discover_to(density, log, Path(folder) / "out", design=design, particles=particles, progress=False)
        spent = time.perf_counter() - started
        stop.set()
        watcher.join()
    parts = np.array_split(np.array(held), 4)
    return [
        {
            "events": log.n_events, "n_types": n_types, "design": design, "particles": particles, "threads": threads,
            "seconds": spent, "minutes": spent / 60, "edges": result.run.counts.n_edges,
            "peak_mb_above": (max(held) - before) / 1e6,
            **{f"mean_mb_quarter_{i + 1}": (float(p.mean()) - before) / 1e6 for i, p in enumerate(parts)},
        }
    ]  # fmt: skip


FIT = """
import sys, time, torch
from sequela import fit, read_log
from sequela.worlds.softmax import SoftmaxWorld
world = SoftmaxWorld.random(100, horizon=3, seed=0)
log = read_log(world.to_log(world.sample(400, 40, seed=1)))
started = time.perf_counter()
density = fit(log, max_steps=60, progress=False)
print(time.perf_counter() - started, density.fingerprint)
"""


def threads(repeats: int) -> list[dict[str, Any]]:
    """Time `fit` in processes of their own, in turns, with as many other busy processes as there are processors."""
    n = len(os.sched_getaffinity(0))
    ways = {
        "one": ("1", "PASSIVE"), f"{n}, spinning": (str(n), "ACTIVE"), f"{n}, sleeping": (str(n), "PASSIVE"),
    }  # fmt: skip
    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    rows, weights = [], set()
    for n_busy in (0, n):
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_busy)]
        spent: dict[str, list[float]] = {name: [] for name in ways}
        load = os.getloadavg()[0]
        for _ in range(repeats):
            for name, (count, wait) in ways.items():
                # Torch comes first: the policy is the one given here.
                own = free | {"OMP_WAIT_POLICY": wait, "OMP_NUM_THREADS": count}
                done = subprocess.run([sys.executable, "-c", FIT], env=own, capture_output=True, text=True, check=True)
                seconds_, weight = done.stdout.split()
                spent[name].append(float(seconds_))
                weights.add(weight)
        for one in busy:
            one.kill()
        rows += [
            {"threads": name, "busy_processes": n_busy, "load_before": load, "seconds": statistics.median(values),
             "longest_seconds": max(values), "repeats": repeats}
            for name, values in spent.items()
        ]  # fmt: skip
    return [row | {"same_weights": len(weights) == 1} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["length", "vocabulary", "peak", "million", "threads"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--particles", type=int, default=8)
    parser.add_argument("--design", default="leave-one-out")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.what == "million":
        rows = million(arguments.particles, arguments.design, arguments.threads, arguments.events)
    else:
        rows = {"length": length, "vocabulary": vocabulary, "peak": peak, "threads": threads}[arguments.what](
            arguments.repeats
        )
    table = pl.DataFrame(rows)
    with pl.Config(tbl_cols=-1, tbl_rows=-1, tbl_width_chars=180):
        print(table)
    out = arguments.out or RESULTS / f"scale_{arguments.what}.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    table.write_csv(out)


if __name__ == "__main__":
    main()
