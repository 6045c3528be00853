"""Two gloo processes train one model: equal weights in both, each case seen by one of them."""

import json
import os
import socket
import subprocess
import sys

import pytest

from sequela.density.checkpoint import load_density

SCRIPT = """
import hashlib, json, os, sys
import numpy as np
from sequela.density.decoder.objective import DecoderTask
from sequela.density.window.objective import WindowTask
from sequela.density.training.fit import fit
from sequela.events.log import read_log
from sequela.worlds.softmax import SoftmaxWorld
world = SoftmaxWorld.random(6, horizon=2, decay=0.2, seed=0)
log = read_log(world.to_log(world.sample(60, (4, 15), seed=1)))
seen, kind = [], {"window": WindowTask, "llama": DecoderTask}[sys.argv[1]]
real = kind.loss
def loss(self, model, examples, rng, device):
    if rng is not None:
        seen.append(np.asarray(examples).tolist())
    return real(self, model, examples, rng, device)
kind.loss = loss
density = fit(log, backbone=sys.argv[1], max_steps=12, batch_size=16, device="cpu", progress=False,
    out=sys.argv[2])
weights = density.fingerprint
print(json.dumps({"rank": int(os.environ["RANK"]), "weights": weights, "seen": seen,
    "loss": density.info["history"][-1][2]}))
import torch
torch.distributed.destroy_process_group()
"""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["window", "llama"])
def test_two_processes(backbone, tmp_path):
    common = os.environ | {
        "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, backbone, str(tmp_path / "model")],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    answers = []
    for process in processes:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err[-2000:]
        answers.append(json.loads(out.splitlines()[-1]))
    one, other = answers
    assert one["weights"] == other["weights"]
    assert one["loss"] == other["loss"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert load_density(tmp_path / "model", device="cpu").fingerprint == one["weights"]
    for mine, theirs in zip(one["seen"], other["seen"], strict=True):
        assert not set(mine) & set(theirs)
        assert len(mine) + len(theirs) == 16
