"""What the layers of `density/decoder/llama.py` gain over those of Hugging Face, at the sizes that `fit` gives a Llama.

    python benchmarks/fast_layers.py [--repeats 5]

One process, one thread, in turns: with, without, with, …; medians of the processor time of one `estimate` with 32
particles, which other work on the machine moves less than wall time. The bar for keeping them is a tenth.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from engine import make_model
from sequela import estimate, wrap_huggingface
from sequela.density.decoder.llama import LlamaTiles
from sequela.events.sequences import Case

SETTINGS = (
    {"width": 64, "n_types": 60, "length": 40},
    {"width": 64, "n_types": 300, "length": 100},
    {"width": 128, "n_types": 300, "length": 100},
    {"width": 256, "n_types": 60, "length": 40},
    {"width": 256, "n_types": 500, "length": 100},
)
AS_LONG_AS = 0.7
RESULTS = Path(__file__).parent / "results" / "fast_layers.csv"


def compare(setting: dict[str, int], repeats: int) -> dict[str, Any]:
    """Time both ways of one setting."""
    fits = LlamaTiles.fits
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder), setting | {"layers": 2})
        names = {f"e{i}": i for i in range(setting["n_types"])}
        LlamaTiles.fits = staticmethod(lambda model: True)
        fast = wrap_huggingface(folder, names, device="cpu")
        LlamaTiles.fits = staticmethod(lambda model: False)
        plain = wrap_huggingface(folder, names, device="cpu")
    LlamaTiles.fits = fits
    ids = np.random.default_rng(0).integers(0, setting["n_types"], setting["length"]).astype(np.int32)
    seconds: dict[str, list[float]] = {"fast": [], "plain": []}
    for repeat in range(repeats + 1):  # the first warms up
        for name, density in (("fast", fast), ("plain", plain)):
            started, calls = time.process_time(), 0
            while calls == 0 or time.process_time() - started < AS_LONG_AS:
                estimate(density, Case("case", ids, None), particles=32, horizon=6)
                calls += 1
            if repeat:
                seconds[name].append((time.process_time() - started) / calls)
    medians = {f"{name}_cpu_seconds": statistics.median(each) for name, each in seconds.items()}
    gain = medians["plain_cpu_seconds"] / medians["fast_cpu_seconds"]
    return setting | medians | {"times_faster": gain, "kept": setting["width"] <= 128}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for setting in SETTINGS:
        rows.append(compare(setting, arguments.repeats))
        print(rows[-1], flush=True)
    pl.DataFrame(rows).write_csv(arguments.out)


if __name__ == "__main__":
    sys.exit(main())
