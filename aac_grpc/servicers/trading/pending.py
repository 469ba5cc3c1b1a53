"""Requests on their way through a venue's writer."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from google.protobuf.message import Message

from aac_grpc.domain.orders import Verdict
from aac_grpc.servicers.trading.requests import Request


class Pending:
    """One request, and those who wait for its answer.

    Attributes:
        request: What is asked for.
        verdict: Risk's; None until it was asked, or where it has no say.
        judged_in: The generation of the writer's memory that the verdict was given on; another one makes it void, and
            -1 means that no verdict is under way.
        waiters: Callers that still wait. Without any, the request is dropped unless it has begun.
        alone: It was in a batch that failed in memory, so that it must share none with others.
    """

    __slots__ = ("_answer", "alone", "judged_in", "request", "verdict", "waiters")

    def __init__(self, request: Request[Any]) -> None:
        self.request = request
        self.verdict: Verdict | None = None
        self.judged_in = -1
        self.waiters = 0
        self.alone = False
        self._answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        # A failure that nobody waits for any more is no surprise.
        self._answer.add_done_callback(lambda answer: answer.exception())

    def on_done(self, callback: Callable[["Pending"], None]) -> None:
        """Has `callback` called once there is an answer or an error."""
        self._answer.add_done_callback(lambda _: callback(self))

    @property
    def answered(self) -> bool:
        """There is an answer or an error."""
        return self._answer.done()

    @property
    def failure(self) -> BaseException | None:
        """Why it failed; None while it is under way, or where it did not."""
        return self._answer.exception() if self._answer.done() else None

    def answer(self, message: Message) -> None:
        """Gives the answer to all who wait."""
        if not self._answer.done():
            self._answer.set_result(message)

    def fail(self, error: Exception) -> None:
        """Gives an error to all who wait."""
        if not self._answer.done():
            self._answer.set_exception(error)

    async def wait(self) -> Message:
        """Returns the answer. A caller that is cancelled does not cancel the request for others.

        Raises:
            AacError: It failed.
        """
        self.waiters += 1
        try:
            return await asyncio.shield(self._answer)
        finally:
            self.waiters -= 1


class Inbox:
    """A queue of pending requests that is emptied in batches."""

    def __init__(self) -> None:
        self._items: deque[Pending] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Iterable[Pending]) -> None:
        """Adds requests at the end."""
        self._items.extend(items)
        if self._items:
            self._filled.set()
            self._emptied.clear()

    def pop(self, limit: int) -> list[Pending]:
        """Takes what is there, until its weight is `limit` or more."""
        taken: list[Pending] = []
        weight = 0
        while self._items and weight < limit:
            taken.append(self._items.popleft())
            weight += taken[-1].request.weight
        if not self._items:
            self._filled.clear()
            self._emptied.set()
        return taken

    async def filled(self) -> None:
        """Waits until there is something."""
        await self._filled.wait()

    async def emptied(self, timeout_s: float) -> None:
        """Waits until nothing is left, at most `timeout_s` seconds."""
        if not self._emptied.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), timeout_s)
