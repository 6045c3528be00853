"""Answer each line of standard input by one timed `compute_cmi_matrix`; see `benchmarks/engine.py`, which starts this.

    python time_seq2cause.py MODEL_FOLDER IDS.npy BEGIN_TOKEN N_TYPES N_PARTICLES DEVICE [LIMIT_GB]

A line of two paths names other event ids and where to save their matrix. Every answer is one line of JSON: seconds, and
peak memory above what was held before the call.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from seq2cause.adapters import HFModelAdapter
from seq2cause.diagnostics import compute_cmi_matrix
from transformers import LlamaForCausalLM


def status_bytes(field: str) -> int:
    """Return VmRSS or VmHWM (its highest value so far)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    folder, ids, begin, n_types, n_particles, device, *limit = sys.argv[1:]
    torch.set_num_threads(1)
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (int(float(limit[0]) * 1e9),) * 2)
    adapter = HFModelAdapter(LlamaForCausalLM.from_pretrained(folder).eval().to(device), vocab_size=int(n_types))
    case = torch.tensor([int(begin), *np.load(ids).tolist()], device=device)
    print("ready", flush=True)
    for line in sys.stdin:
        given, *out = line.split()
        if out:
            case = torch.tensor([int(begin), *np.load(given).tolist()], device=device)
        Path("/proc/self/clear_refs").write_text("5")  # start VmHWM anew
        before, started, spent = status_bytes("VmRSS"), time.perf_counter(), time.process_time()
        try:
            matrix = compute_cmi_matrix(
                adapter, case, context_len=1, n_particles=int(n_particles), strategy="atomic", max_pairs=None
            )
            seconds, spent = time.perf_counter() - started, time.process_time() - spent
            answer = {"seconds": seconds, "cpu_seconds": spent, "peak_bytes": status_bytes("VmHWM") - before}
            if out:
                np.save(out[0], matrix.cpu().numpy())
        except (RuntimeError, MemoryError, ValueError) as error:
            answer = {"refused": str(error).splitlines()[0][:200]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
