"""The engines by name: where the work of `sequela.execution.map_cases` is done.

To add one, write a context manager that takes a number of workers and gives an `Engine`, and register it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sequela.errors import check_choice
from sequela.execution.map_cases import Engine, run_here
from sequela.execution.ray import ray_engine


@contextmanager
def local_engine(workers: int | None) -> Iterator[Engine]:
    """Yield the engine of this process; the number of workers plays no part."""
    yield run_here


ENGINES: dict[str, Callable[[int | None], AbstractContextManager[Engine]]] = {
    "local": local_engine,
    "ray": ray_engine,
}
"""What starts each engine; a new one is a function and a line here."""


def start_engine(name: str, workers: int | None = None) -> AbstractContextManager[Engine]:
    """Return a context manager that gives an engine; what it started ends with the block.

    Args:
        name: One of `ENGINES`.
        workers: Processes that work; by default one for each processor. Plays no part for ``"local"``.

    Raises:
        ConfigError: There is no such engine, or fewer than one worker is asked for.
        MissingExtraError: The engine is not installed.

    Example:
        >>> with start_engine("local") as engine:
        ...     engine is run_here
        True
    """
    check_choice("engine", name, ENGINES)
    return ENGINES[name](workers)
