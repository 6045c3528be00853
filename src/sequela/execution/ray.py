"""The engine ``"ray"``: ranges of cases on the actors of a Ray cluster.

The model, the cases and the task go through Ray's object store, and the tables come back the same way: no folder must
be shared between machines, and only the process that started the work writes. An actor gets work when it is ready for
it. One that is lost is replaced, and its range is done again; when none becomes ready in time that is an error.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
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
_MOST_LOST = 3
"""How often a worker may be lost with the same range, or in its start, before that is an error."""
_START_SECONDS = 600.0
"""How long to wait for a first worker; a cluster may have to start a machine."""
_Range = tuple[int, int]


class Worker:
    """An actor: a model, and what to do with ranges of cases."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)  # one actor a processor

    def load(self, task: Task[Any], load: Callable[[Path], Any], files: dict[str, bytes], cases: Cases) -> None:
        """Get ready for a task."""
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
    """Yield an engine on the Ray cluster that runs, or on a local one that lives for the block.

    Raises:
        ConfigError: Fewer than one actor.
        MissingExtraError: Ray is not installed.
        SequelaError: The cluster cannot be reached.
    """
    if n_workers is not None:
        check_range("workers", n_workers, low=1, whole=True)
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("engine 'ray'", "ray")
    import ray

    own = not ray.is_initialized()
    if own:
        _connect(n_workers or os.cpu_count() or 1)
    crew = _Crew(n_workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
    try:
        yield crew.work
    finally:
        crew.dismiss(crew.actors)
        if own:
            ray.shutdown()


def _connect(n_processors: int) -> None:
    """Join the cluster of ``RAY_ADDRESS`` or of ``ray start``; start one here where there is none."""
    import ray

    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    try:
        try:
            ray.init(num_cpus=n_processors, **options)
        except ValueError:  # there is a cluster, and it has the processors that it has
            ray.init(**options)
    except (ValueError, ConnectionError) as error:
        first, *_ = str(error).strip().splitlines() or [type(error).__name__]
        raise SequelaError(
            f"the Ray cluster cannot be reached ({first}): check RAY_ADDRESS, or set it to 'local' to start one here"
        ) from error


class _Crew:
    """The actors of an engine; they stay for all its tasks.

    Args:
        size: How many actors there are at most.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.actors: list[Any] = []

    def work(self, task: Task[Any], model: ModelHandle[Any], cases: Cases, gaps: Sequence[_Range]) -> Iterator[Piece]:
        """Yield the results of all ranges, in the order in which they are done."""
        work = _Work(self, _shipped(task, model, cases), _ranges(cases, gaps, self.size * _RANGES_A_WORKER))
        while len(self.actors) < min(self.size, work.n_open):
            self.hire()
        for actor in self.actors:
            work.prepare(actor)
        try:
            while work.n_open:
                yield from work.next()
        finally:
            work.give_up()

    def hire(self) -> Any:
        """Add an actor."""
        import ray

        self.actors.append(ray.remote(num_cpus=1)(Worker).remote())
        return self.actors[-1]

    def dismiss(self, actors: Sequence[Any]) -> None:
        """End some actors."""
        import ray

        for actor in list(actors):
            self.actors.remove(actor)
            ray.kill(actor)


class _Work:
    """One task on ranges of cases: what is to be done, and which actor does what.

    Args:
        crew: The actors.
        given: What each gets, from `_shipped`.
        ranges: What is to be done.
    """

    def __init__(self, crew: _Crew, given: Sequence[Any], ranges: Iterable[_Range]) -> None:
        self.crew, self.given, self.todo = crew, given, deque(ranges)
        self.n_open = len(self.todo)
        self.busy: dict[Any, tuple[Any, _Range | None]] = {}  # by what is awaited; None: the actor gets ready
        self.lost = Counter[_Range | None]()

    def prepare(self, actor: Any) -> None:
        """Let an actor get ready."""
        self.busy[actor.load.remote(*self.given)] = actor, None

    def next(self) -> Iterator[Piece]:
        """Wait for an actor; give it its next range, and yield the result of the last, if there is one."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        ready, _ = ray.wait(list(self.busy), num_returns=1, timeout=_START_SECONDS)
        if not ready:
            if all(doing is None for _, doing in self.busy.values()):
                raise _none_ready()
            return
        actor, doing = self.busy.pop(ready[0])
        try:
            found = ray.get(ready[0])
        except RayTaskError as error:
            if isinstance(error.cause, SequelaError):
                raise error.cause from None
            raise
        except RayError as error:
            self._replace(actor, doing, error)
            return
        if self.todo:
            after = self.todo.popleft()
            self.busy[actor.run.remote(*after)] = actor, after
        if doing is not None:
            self.n_open -= 1
            yield found

    def give_up(self) -> None:
        """End the actors that are at work."""
        self.crew.dismiss([actor for actor, doing in self.busy.values() if doing is not None])

    def _replace(self, actor: Any, doing: _Range | None, error: Exception) -> None:
        """Let another actor do the range of one that is lost, or whose machine or answer is."""
        self.lost[doing] += 1
        if self.lost[doing] > _MOST_LOST * (1 if doing else self.crew.size):
            *_, reason = str(error).strip().splitlines() or [""]
            when = "at the start" if doing is None else f"with the cases {doing[0]:,} to {doing[1] - 1:,}"
            raise SequelaError(
                f"workers of the Ray cluster were lost {when}, {self.lost[doing]} times: {reason.strip()}"
            ) from error
        if doing is not None:
            self.todo.appendleft(doing)
        self.crew.dismiss([actor])
        self.prepare(self.crew.hire())


def _shipped(task: Task[Any], model: ModelHandle[Any], cases: Cases) -> list[Any]:
    """Put what `Worker.load` needs into the object store; return the references."""
    import ray

    with tempfile.TemporaryDirectory(prefix="sequela-") as folder:
        load = model.ship(Path(folder))
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
        }
    return [ray.put(value) for value in (task, load, files, cases)]


def _none_ready() -> SequelaError:
    import ray

    there, free = (int(found.get("CPU", 0)) for found in (ray.cluster_resources(), ray.available_resources()))
    return SequelaError(
        f"no worker of the Ray cluster was ready within {_START_SECONDS:.0f} s: {free} of its {there} processors are "
        "free; wait until other work has ended, or set RAY_ADDRESS to 'local' to work here"
    )


def _ranges(cases: Cases, gaps: Sequence[_Range], n_ranges: int) -> Iterator[_Range]:
    """Cut what is to be done into ranges of about as many events each."""
    offsets = cases.offsets
    n_events = sum(int(offsets[high] - offsets[low]) for low, high in gaps)
    size = min(_MOST_EVENTS, max(1, -(-n_events // n_ranges)))
    for low, high in gaps:
        starts = np.flatnonzero(np.diff(offsets[low:high] // size, prepend=-1)) + low
        yield from pairwise([*starts.tolist(), high])
