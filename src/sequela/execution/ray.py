"""The engine ``"ray"``: ranges of cases on the actors of a Ray cluster.

The model, the cases and the task go through Ray's object store, and the tables come back the same way: no folder must
be shared between machines, and only the process that started the work writes. An actor that dies is started again, and
its range is done again.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sequela.errors import MissingExtraError, SequelaError, check_range
from sequela.execution.map_cases import Cases, Engine, ModelHandle, Piece, Task

_RANGES_A_WORKER = 8
_MOST_EVENTS = 20_000
"""Events of a range, or one long case: about what a lost worker loses."""
_RESTARTS = 5
"""How often an actor may be lost."""


class Worker:
    """An actor: a model, and what to do with ranges of cases."""

    def __init__(self, task: Task[Any], load: Callable[[Path], Any], files: dict[str, bytes], cases: Cases) -> None:
        import torch

        torch.set_num_threads(1)  # one actor a processor
        self.task, self.cases = task, cases
        with tempfile.TemporaryDirectory(prefix="sequela-") as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.model = load(Path(folder))

    def run(self, low: int, high: int) -> Piece:
        """Do the cases of one range."""
        return Piece(low, high, *self.task(self.model, self.cases.take(range(low, high))))


@contextmanager
def ray_engine(n_workers: int | None) -> Iterator[Engine]:
    """Yield an engine on the Ray cluster; a local one lives for the block when there is none.

    Raises:
        ConfigError: Fewer than one actor.
        MissingExtraError: Ray is not installed.
    """
    if n_workers is not None:
        check_range("workers", n_workers, low=1, whole=True)
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("engine 'ray'", "ray")
    import ray

    own = not ray.is_initialized()
    if own:
        ray.init(
            num_cpus=n_workers or os.cpu_count() or 1,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
        )
    n_actors = n_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))

    def run(task: Task[Any], model: ModelHandle[Any], cases: Cases, gaps: Sequence[tuple[int, int]]) -> Iterator[Piece]:
        return _run(task, model, cases, gaps, n_actors)

    try:
        yield run
    finally:
        if own:
            ray.shutdown()


def _run(
    task: Task[Any], model: ModelHandle[Any], cases: Cases, gaps: Sequence[tuple[int, int]], n_actors: int
) -> Iterator[Piece]:
    import ray
    from ray.exceptions import RayActorError, RayTaskError

    with tempfile.TemporaryDirectory(prefix="sequela-") as folder:
        load = model.ship(Path(folder))
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
        }
    ranges = list(_ranges(cases, gaps, n_actors * _RANGES_A_WORKER))
    given = [ray.put(value) for value in (task, load, files, cases)]
    remote = ray.remote(num_cpus=1, max_restarts=_RESTARTS, max_task_retries=_RESTARTS)(Worker)
    actors = [remote.remote(*given) for _ in range(min(n_actors, len(ranges)))]
    busy: dict[Any, Any] = {}
    try:
        waiting = iter(ranges)
        for actor, (low, high) in zip(actors, waiting, strict=False):
            busy[actor.run.remote(low, high)] = actor
        while busy:
            (ready,), _ = ray.wait(list(busy), num_returns=1)
            actor = busy.pop(ready)
            after = next(waiting, None)
            if after is not None:
                busy[actor.run.remote(*after)] = actor
            yield ray.get(ready)
    except RayTaskError as error:
        if isinstance(error.cause, SequelaError):
            raise error.cause from None
        raise
    except RayActorError as error:
        *_, reason = str(error).strip().splitlines()
        raise SequelaError(
            f"a worker of the Ray cluster could not start, or was lost more than {_RESTARTS} times: {reason.strip()}"
        ) from error
    finally:
        for actor in actors:
            ray.kill(actor)


def _ranges(cases: Cases, gaps: Sequence[tuple[int, int]], n_ranges: int) -> Iterator[tuple[int, int]]:
    """Cut what is to be done into ranges of about as many events each."""
    offsets = cases.offsets
    n_events = sum(int(offsets[high] - offsets[low]) for low, high in gaps)
    size = min(_MOST_EVENTS, max(1, -(-n_events // n_ranges)))
    for low, high in gaps:
        starts = np.flatnonzero(np.diff(offsets[low:high] // size, prepend=-1)) + low
        yield from pairwise([*starts.tolist(), high])
