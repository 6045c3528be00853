"""How long work speaks to a person: short sentences and a progress bar, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Reporter(Protocol):
    """What long work needs to tell how it is going."""

    def say(self, text: str) -> None:
        """Show one line."""

    def bar(self, title: str, total: int) -> Bar:
        """Return a context manager that gives ``update(done, note)``."""


class Bar(Protocol):
    """A progress bar as a context manager."""

    def __enter__(self) -> Callable[[int, str], None]:
        """Start."""

    def __exit__(self, *error: object) -> bool | None:
        """Stop."""


class Silent:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Drop the line."""

    @contextmanager
    def _bar(self) -> Iterator[Callable[[int, str], None]]:
        yield lambda done, note: None

    def bar(self, title: str, total: int) -> Bar:
        """Return a bar that shows nothing."""
        return self._bar()


class Terminal:
    """Writes to standard error with rich; a bar shows only on a real terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """Show one line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        ) as progress:
            task = progress.add_task(title, total=total, note="")
            yield lambda done, note: progress.update(task, completed=done, note=note)

    def bar(self, title: str, total: int) -> Bar:
        """Return a bar with the time left and a note."""
        return self._bar(title, total)


def reporter(progress: bool | Reporter) -> Reporter:
    """Return the reporter for a ``progress`` argument: True, False or one of one's own."""
    if isinstance(progress, bool):
        return Terminal() if progress else Silent()
    return progress
