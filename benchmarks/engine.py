"""Discovery side by side with seq2cause on the same Llama weights: time and peak memory.

    python benchmarks/engine.py --peer PEER_PYTHON [--repeats 5] [--only NAME]

PEER_PYTHON is the Python of an environment with seq2cause (see `benchmarks/peers/README.md`). Both sides run in
processes of their own, one thread each, in turns: ours, theirs, ours, … so that both meet the same noise. Beside the
wall times stand processor times, which other work on the machine moves less, and the time of the bare matrix products
of the tail steps: the limit of any engine that computes all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SETTINGS: dict[str, dict[str, Any]] = {
    "base": {"n_types": 1000, "length": 64, "particles": 8, "layers": 2, "width": 128, "target": 25},
    "long": {"n_types": 1000, "length": 256, "particles": 2, "layers": 2, "width": 128, "target": 40},
    "vocabulary": {"n_types": 29_100, "length": 64, "particles": 2, "layers": 2, "width": 128, "target": 20},
    "deep": {"n_types": 1000, "length": 64, "particles": 32, "layers": 6, "width": 256, "target": 20},
    "memory": {"n_types": 29_100, "length": 64, "particles": 32, "layers": 2, "width": 128, "target": 300e6},
}
HORIZON = 6
AS_LONG_AS = 0.5
"""Seconds of calls that one of our answers is the mean of, after a first call whose time is kept apart: the other side
leaves the caches full of its own data, which a corpus of cases meets once."""
PEER_LIMIT_GB = 12.0
RESULTS = Path(__file__).parent / "results" / "engine.csv"


def make_model(folder: Path, setting: dict[str, Any]) -> None:
    """Write an untrained Llama: speed does not depend on what the weights say."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=setting["n_types"] + 1,
        hidden_size=setting["width"],
        intermediate_size=2 * setting["width"],
        num_hidden_layers=setting["layers"],
        num_attention_heads=setting["width"] // 32,
        max_position_embeddings=600,
        bos_token_id=setting["n_types"],
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def worker(folder: str, ids: str, n_types: int, particles: int, device: str) -> None:
    """Be our side; the protocol is that of `peers/time_seq2cause.py`."""
    import torch

    from sequela import estimate, wrap_huggingface
    from sequela.events.sequences import Case

    sys.path.insert(0, str(Path(__file__).parent))
    from memory import peak_above

    torch.set_num_threads(1)
    density = wrap_huggingface(folder, {f"e{i}": i for i in range(n_types)}, device=device)
    case = Case("case", np.load(ids).astype(np.int32), None)

    def discover() -> None:
        estimate(density, case, particles=particles, horizon=HORIZON)

    print("ready", flush=True)
    for _ in sys.stdin:
        _, first, peak = peak_above(discover)
        started, spent, calls = time.perf_counter(), time.process_time(), 0
        while calls == 0 or time.perf_counter() - started < AS_LONG_AS:
            discover()
            calls += 1
        seconds, spent = (time.perf_counter() - started) / calls, (time.process_time() - spent) / calls
        products = bare_products(density.model.config, len(case.ids), particles)
        answer = {"seconds": seconds, "cpu_seconds": spent, "first_seconds": first, "peak_bytes": peak}
        answer["products_seconds"] = products
        print(json.dumps(answer), flush=True)


def bare_products(config: Any, length: int, particles: int) -> float:
    """Return the processor seconds of nothing but the matrix products that the tail steps need.

    Queries, keys and values of the first layer are left out: they are needed once for each distinct event only.
    """
    import torch

    n_steps = sum(min(HORIZON, length - 1 - j) for j in range(length - 1)) * particles
    width, inner = config.hidden_size, config.intermediate_size
    shapes = [(width, 3 * width), (width, width), (width, 2 * inner), (inner, width)] * config.num_hidden_layers
    weights = [torch.randn(shape) for shape in [*shapes[1:], (width, config.vocab_size)]]
    rows = max(128, 2**20 // config.vocab_size)
    inputs = {n: torch.randn(768, n) for n in (width, inner)}
    with torch.inference_mode():
        started = time.process_time()
        for weight in weights:
            size = rows if weight.shape[1] == config.vocab_size else 768
            for low in range(0, n_steps, size):
                torch.mm(inputs[weight.shape[0]][: min(size, n_steps - low)], weight)
        return time.process_time() - started


class Side:
    """One of the two processes."""

    def __init__(self, command: list[str]) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.answers: list[dict[str, Any]] = []
        assert self.process.stdout
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"could not start: {' '.join(command)}")

    def ask(self, line: str = "go") -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        self.answers.append(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def compare(name: str, peer: str, repeats: int, device: str = "cpu") -> dict[str, Any]:
    """Time both sides of one setting."""
    setting = SETTINGS[name]
    n_types, particles = setting["n_types"], setting["particles"]
    with tempfile.TemporaryDirectory() as temporary:
        folder, ids = Path(temporary) / "model", Path(temporary) / "ids.npy"
        make_model(folder, setting)
        np.save(ids, np.random.default_rng(0).integers(0, n_types, setting["length"]))
        ours = Side([sys.executable, __file__, "--worker", str(folder), str(ids), str(n_types), str(particles), device])
        script = str(Path(__file__).parent / "peers" / "time_seq2cause.py")
        limit = [str(PEER_LIMIT_GB)] if name == "memory" else []
        theirs = Side([peer, script, str(folder), str(ids), str(n_types), str(n_types), str(particles), device, *limit])
        for repeat in range(repeats + 1):  # the first warms up
            ours.ask()
            if name != "memory" or repeat == 0:
                theirs.ask()
        ours.close()
        theirs.close()

    def median(side: Side, what: str) -> float | None:
        found = [answer[what] for answer in side.answers[1:] if what in answer]
        return statistics.median(found) if found else None

    def peak_mb(side: Side) -> float | None:
        # Of all calls: later ones reuse what the first one got.
        found = [answer["peak_bytes"] / 1e6 for answer in side.answers if "peak_bytes" in answer]
        return max(found) if found else None

    row = {
        "setting": name, **{key: setting[key] for key in ("n_types", "length", "particles", "layers", "width")},
        "horizon": HORIZON, "threads": 1, "repeats": repeats,
        "ours_seconds": median(ours, "seconds"), "theirs_seconds": median(theirs, "seconds"),
        "ours_first_seconds": median(ours, "first_seconds"),
        "ours_cpu_seconds": median(ours, "cpu_seconds"), "theirs_cpu_seconds": median(theirs, "cpu_seconds"),
        "products_cpu_seconds": median(ours, "products_seconds"),
        "ours_peak_mb": peak_mb(ours), "theirs_peak_mb": peak_mb(theirs),
        "target": setting["target"],
        "refused": next((a["refused"] for a in theirs.answers if "refused" in a), ""),
    }  # fmt: skip
    if row["theirs_seconds"]:
        row["times_faster"] = row["theirs_seconds"] / row["ours_seconds"]
        row["times_faster_cpu"] = row["theirs_cpu_seconds"] / row["ours_cpu_seconds"]
        row["times_faster_limit"] = row["theirs_cpu_seconds"] / row["products_cpu_seconds"]
    return row


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        folder, ids, n_types, particles, device = sys.argv[2:]
        worker(folder, ids, int(n_types), int(particles), device)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=list(SETTINGS), nargs="*", default=list(SETTINGS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only:
        rows.append(compare(name, arguments.peer, arguments.repeats))
        print(json.dumps(rows[-1]), flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, infer_schema_length=None).write_csv(arguments.out)


if __name__ == "__main__":
    main()
