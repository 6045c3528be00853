"""How fast and how steady the service is: real clients on the loopback device against `sequela serve`.

    python benchmarks/serve.py [--seconds 20] [--clients 10] [--requests N] [--events 50] [--design masked] [--rate R]

A run is made on a simulated log (or taken from ``--run``), the service is started as a process of its own with one
thread, and every client sends new cases one after the other on a connection that stays open: as fast as they are
answered, or all clients together at `--rate` cases a second. Reported: cases a second, the times of requests, and the
memory of the service at the start, after each tenth of the requests, and at the end. Rows go to
`benchmarks/results/serve.csv`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import psutil

import sequela as sq
from sequela.worlds.softmax import SoftmaxWorld

TYPES, SEED = 60, 0
RESULTS = Path(__file__).parent / "results" / "serve.csv"


def world() -> SoftmaxWorld:
    return SoftmaxWorld.random(TYPES, horizon=4, decay=0.2, sparsity=0.95, weight_scale=3.0, seed=SEED)


def make_run(folder: Path) -> Path:
    log = sq.read_log(world().to_log(world().sample(300, 50, seed=1)))
    return sq.run(log, out=folder / "run", max_steps=300, folds=2).folder


def start(run: Path, design: str) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", str(run), "--port", str(port), "--design", design]
    command = [sys.executable, "-c", "from sequela.cli import main; main()", *words]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            ask(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "GET", "/health")
            return process, port
        except OSError:
            if process.poll() is not None:
                sys.exit("the service did not start")
            time.sleep(0.1)
    sys.exit("the service did not start in a minute")


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> int:
    connection.request(method, path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--requests", type=int, help="stop after so many instead")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--events", type=int, default=50)
    parser.add_argument("--design", default="masked")
    parser.add_argument("--rate", type=float, help="cases a second of all clients together (default: no limit)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    cases = world().sample(200, asked.events, seed=9)
    names = world().vocabulary.names
    bodies = [
        json.dumps({"events": [names[i] for i in case.ids], "times": [60.0 * t for t in range(len(case.ids))]}).encode()
        for case in cases
    ]
    with tempfile.TemporaryDirectory() as temporary:
        process, port = start(asked.run or make_run(Path(temporary)), asked.design)
        try:
            report(process, port, bodies, asked)
        finally:
            process.terminate()
            process.wait(30)


def report(process: subprocess.Popen[bytes], port: int, bodies: list[bytes], asked: argparse.Namespace) -> None:
    times: list[float] = []
    bad: list[int] = []
    memory: list[float] = []
    left = 0
    guard = threading.Lock()
    service = psutil.Process(process.pid)
    every = max(1, (asked.requests or sys.maxsize) // 10)

    def client(number: int, began: float, until: float) -> None:
        nonlocal left
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        at = number
        while time.perf_counter() < until:
            with guard:
                if left <= 0:
                    return
                left -= 1
                if left % every == 0:
                    memory.append(service.memory_info().rss / 2**20)
            if asked.rate is not None:
                time.sleep(max(0.0, began + at / asked.rate - time.perf_counter()))
            started = time.perf_counter()
            status = ask(connection, "POST", "/explain", bodies[at % len(bodies)])
            times.append(time.perf_counter() - started)
            bad.extend([status] if status != 200 else [])
            at += asked.clients

    def load(seconds: float, requests: int | None) -> float:
        nonlocal left
        left = requests or sys.maxsize
        began = time.perf_counter()
        threads = [threading.Thread(target=client, args=(i, began, began + seconds)) for i in range(asked.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began

    load(3.0, None)  # warm up
    times.clear()
    memory[:] = [service.memory_info().rss / 2**20]
    cpu = sum(service.cpu_times()[:2])
    seconds = load(asked.seconds if asked.requests is None else 1e9, asked.requests)
    memory.append(service.memory_info().rss / 2**20)
    cpu = sum(service.cpu_times()[:2]) - cpu
    p50, p95, p99 = (float(1000 * value) for value in np.quantile(times, [0.5, 0.95, 0.99]))
    row = {
        "design": asked.design, "clients": asked.clients, "events": asked.events, "rate_asked": asked.rate,
        "requests": len(times), "errors": len(bad), "seconds": round(seconds, 1),
        "cases_per_second": round(len(times) / seconds, 1), "cases_per_processor_second": round(len(times) / cpu, 1),
        "p50_ms": round(p50, 1), "p95_ms": round(p95, 1), "p99_ms": round(p99, 1),
        "memory_mib": " ".join(f"{mib:.0f}" for mib in memory), "load_average": round(os.getloadavg()[1], 1),
    }  # fmt: skip
    new = pl.DataFrame([row], schema_overrides={"rate_asked": pl.Float64})
    before = [pl.read_csv(asked.out, schema_overrides=new.schema)] if asked.out.is_file() else []
    pl.concat([*before, new]).write_csv(asked.out)
    print(row)


if __name__ == "__main__":
    main()
