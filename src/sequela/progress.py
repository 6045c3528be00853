"""How long work speaks to a person: short sentences and a progress bar, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Update = Callable[[int, str], None]
"""Moves a bar: how much is done, and a note beside it."""


class Reporter(Protocol):
    """What long work needs to tell how it is going."""

    def say(self, text: str) -> None:
        """Show one line."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Update]:
        """Return a context manager that gives an `Update`."""
        ...


class Silent:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Drop the line."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Update]:
        """Give a bar that shows nothing."""
        yield lambda done, note: None


class Terminal:
    """Writes to standard error with rich; a bar shows only on a real terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """Show one line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Update]:
        """Give a bar with the time left and a note."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            task = progress.add_task(title, total=total, note="")
            yield lambda done, note: progress.update(task, completed=done, note=note)


class BarsOnly:
    """Shows the bars of another reporter, and none of its lines: for a step among many."""

    def __init__(self, shown: Reporter) -> None:
        self._shown = shown

    def say(self, text: str) -> None:
        """Drop the line."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Update]:
        """Give the bar of the other reporter."""
        return self._shown.bar(title, total)


def reporter(progress: bool | Reporter) -> Reporter:
    """Return the reporter for a ``progress`` argument: True, False or one of one's own."""
    if isinstance(progress, bool):
        return Terminal() if progress else Silent()
    return progress
