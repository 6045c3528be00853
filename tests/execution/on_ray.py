"""Everything that needs a Ray cluster, in a process and a cluster of its own: Ray warns of many things.

    python on_ray.py FOLDER

It starts one cluster with two processors, does every check on it, and prints a JSON object of what came of them.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import ray

from sequela import load_density, read_log
from sequela.density.training.crossfit import load_cross_fit
from sequela.discovery.job import DensityHandle
from sequela.discovery.population import discover_population
from sequela.discovery.stream import Discovering
from sequela.effects.encoding import encode_log, longest_case
from sequela.effects.settings import Settings
from sequela.errors import ConfigError, SequelaError
from sequela.execution import ray as module
from sequela.execution.engines import start_engine
from sequela.execution.map_cases import map_cases


@dataclass(frozen=True)
class Dying(Discovering):
    """Its worker is killed before, and another one after, a range is done."""

    folder: str = ""

    def __call__(self, density, cases):
        self.die("before")
        found = super().__call__(density, cases)
        self.die("after")
        return found

    def die(self, when):
        try:
            (Path(self.folder) / when).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


class Refusing(Discovering):
    def __call__(self, density, cases):
        raise ConfigError("said by a worker")


class Deadly(Discovering):
    def __call__(self, density, cases):
        os.kill(os.getpid(), signal.SIGKILL)


@ray.remote(num_cpus=2)
class Other:
    def ready(self):
        return True


def refusal(call):
    """Return what a call is refused with."""
    try:
        call()
    except SequelaError as error:
        return str(error)
    return None


def main(folder):
    """Do every check."""
    density, log = load_density(folder / "model", device="cpu"), read_log(folder / "log.csv")
    cases, given = encode_log(density, log), Settings(delta=0.01)
    given, model = (given, longest_case(cases)), DensityHandle(density)
    said = {}
    with start_engine("ray", 2) as engine:
        other = Other.remote()  # takes both processors
        ray.get(other.ready.remote())
        module._START_SECONDS = 2.0
        said["taken"] = refusal(lambda: map_cases(Discovering(*given), model, cases, engine=engine))
        module._START_SECONDS = 600.0
        ray.kill(other)
    with start_engine("ray", 2) as engine:
        folds = load_cross_fit(folder / "folds", device="cpu")
        asked = {"particles": 4, "engine": "ray", "workers": 2, "progress": False}
        discover_population(folds, log, out=folder / "population" / "ray", **asked)
        asked = ["discover", folder / "model", folder / "log.csv", "--delta", "0.01", "--out", folder / "edges" / "ray"]
        joined = subprocess.run(
            [sys.executable, "-m", "sequela", *asked, "--engine", "ray", "--workers", "2", "--quiet"],
            env=os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address},
            capture_output=True,
            text=True,
            check=False,
        )
        said["joined"] = [joined.returncode, joined.stderr]
        (expected,) = map_cases(Discovering(*given), model, cases)
        task = Dying(*given, folder=tempfile.mkdtemp(dir=folder))
        (found,) = map_cases(task, model, cases, engine=engine)
        said["killed"] = sorted(os.listdir(task.folder))
        said["same"] = found.read().equals(expected.read()) and found.counts == expected.counts
        said["n_edges"] = found.counts["n_edges"]
        said["refused"] = refusal(lambda: map_cases(Refusing(*given), model, cases, engine=engine))
        module._MOST_LOST = 1
        said["lost"] = refusal(lambda: map_cases(Deadly(*given), model, cases, engine=engine))
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
