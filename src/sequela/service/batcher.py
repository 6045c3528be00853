"""Requests that wait for the model at the same time are answered together: one call costs little more than one case."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from sequela.service.explainer import Answer, Prepared


class Batcher:
    """Answers prepared cases, as many together as wait.

    Args:
        answer: Answers several cases, each as if it were alone; called from one thread at a time.
        most: Cases that are answered together, unless one request alone has more.
    """

    def __init__(self, answer: Callable[[Sequence[Prepared]], list[Answer]], *, most: int = 32) -> None:
        self._answer, self._most = answer, most
        self._waiting: deque[tuple[Sequence[Prepared], asyncio.Future[list[Answer]]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many requests wait, those under way not included."""
        return len(self._waiting)

    async def ask(self, cases: Sequence[Prepared]) -> list[Answer]:
        """Return the answers to the cases of one request; who no longer waits for them is left out."""
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((cases, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            jobs = self._next()
            if not jobs:
                continue
            try:
                answers = await asyncio.to_thread(self._answer, [case for cases, _ in jobs for case in cases])
            except Exception as error:
                for _, future in jobs:
                    if not future.done():
                        future.set_exception(error)
                continue
            place = 0
            for cases, future in jobs:
                if not future.done():
                    future.set_result(answers[place : place + len(cases)])
                place += len(cases)

    def _next(self) -> list[tuple[Sequence[Prepared], asyncio.Future[list[Answer]]]]:
        jobs: list[tuple[Sequence[Prepared], asyncio.Future[list[Answer]]]] = []
        n_cases = 0
        while self._waiting and (not jobs or n_cases + len(self._waiting[0][0]) <= self._most):
            job = self._waiting.popleft()
            if not job[1].done():  # its client has given up
                jobs.append(job)
                n_cases += len(job[0])
        return jobs
