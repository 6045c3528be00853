"""Default discovery by this code and by another checkout of it, on the same weights and cases, in turns.

    git worktree add ../before a756978            # the commit before screening
    python benchmarks/before.py ../before/src --model MODEL --log LOG.csv [--repeats 3] [--llama]

MODEL is a folder that `fit` wrote (backbone ``window``, no components), LOG a CSV file with columns case and event; its
first ``--cases`` cases are discovered. With ``--llama`` an untrained Llama of two layers stands in for the model. Two
processes of one thread; medians of the ratios of processor time, and how many edges only one of them found.
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

import polars as pl

HORIZON = 6
N_TYPES = 1000


def density_of(model: str, names: list[str]) -> Any:
    """Build the density by whichever code this process imports: saved settings differ between the two."""
    import sequela as sq

    if not names:
        return sq.wrap_huggingface(model, {f"e{i}": i for i in range(N_TYPES)}, device="cpu")
    from safetensors.torch import load_file

    from sequela.events.vocabulary import Vocabulary

    try:
        from sequela.density.window import network as window
    except ImportError:
        from sequela.density import window
    known = window.WindowConfig.__dataclass_fields__
    settings = json.loads((Path(model) / "density.json").read_text())["settings"]
    network = window.WindowNetwork(window.WindowConfig(**{k: v for k, v in settings.items() if k in known}))
    network.load_state_dict(load_file(Path(model) / "weights.safetensors"))
    return window.WindowDensity(network, Vocabulary(tuple(names), (1,) * len(names), has_rare="<rare>" in names))


def worker(model: str, log: str, n_cases: int, names: list[str]) -> None:
    """Discover once for every line of standard input."""
    import torch

    import sequela as sq

    torch.set_num_threads(1)
    density = density_of(model, names)
    frame = pl.read_csv(log, infer_schema=False).select("case", "event")
    chosen = frame["case"].unique(maintain_order=True)[:n_cases]
    cases = sq.read_log(frame.filter(pl.col("case").is_in(chosen.implode())), case="case", event="event", time=False)
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.process_time()
        edges = sq.discover_log(density, cases, progress=False, **({} if names else {"horizon": HORIZON})).edges
        spent = time.process_time() - started
        rows = edges.select("case", "cause_position", "effect_position").rows()
        print(json.dumps({"cpu_seconds": spent, "edges": rows}), flush=True)


def compare(before: str, model: str, log: str, n_cases: int, names: list[str], repeats: int) -> dict[str, Any]:
    """Ask both in turns."""
    sides = {}
    for name, source in (("before", before), ("now", str(Path(__file__).parents[1] / "src"))):
        environment = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "--worker", model, log, str(n_cases), json.dumps(names)]
        sides[name] = subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True)
        assert sides[name].stdout.readline().strip() == "ready"
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(repeats + 1):  # the first warms up
        for name, side in sides.items():
            side.stdin.write("go\n")
            side.stdin.flush()
            found[name].append(json.loads(side.stdout.readline()))
    for side in sides.values():
        side.stdin.close()
        side.wait()
    spent = {name: [one["cpu_seconds"] for one in own[1:]] for name, own in found.items()}
    edges = {name: set(map(tuple, own[-1]["edges"])) for name, own in found.items()}
    ratios = [one / other for one, other in zip(spent["before"], spent["now"], strict=True)]
    row = {f"{name}_cpu_seconds": statistics.median(own) for name, own in spent.items()}
    row |= {"times_faster_cpu": statistics.median(ratios)} | {f"{name}_edges": len(own) for name, own in edges.items()}
    return row | {"edges_of_one_only": len(edges["before"] ^ edges["now"])}


def main() -> None:
    """Run what the command line asks for."""
    if sys.argv[1:2] == ["--worker"]:
        model, log, n_cases, names = sys.argv[2:]
        worker(model, log, int(n_cases), json.loads(names))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("--model")
    parser.add_argument("--log", required=True)
    parser.add_argument("--llama", action="store_true")
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        model, names = arguments.model, []
        if arguments.llama:
            from engine import make_model

            model = temporary
            make_model(Path(temporary), {"n_types": N_TYPES, "width": 128, "layers": 2})
        else:
            names = json.loads((Path(model) / "vocabulary.json").read_text())["names"]
        print(compare(arguments.before, model, arguments.log, arguments.cases, names, arguments.repeats))


if __name__ == "__main__":
    main()
