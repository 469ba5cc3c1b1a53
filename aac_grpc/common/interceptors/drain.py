"""The streams that are open, so that shutdown can tell each to say goodbye and wait until they have."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aac_grpc.client.errors import Draining
from aac_grpc.common.call import Call


class OpenStreams:
    """Open streaming calls of a server."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._calls)

    @contextmanager
    def track(self, call: Call) -> Iterator[None]:
        """Counts a stream as open while the block runs.

        Raises:
            Draining: The server is shutting down.
        """
        if self._draining:
            raise Draining
        self._calls.add(call)
        self._empty.clear()
        try:
            yield
        finally:
            self._calls.discard(call)
            if not self._calls:
                self._empty.set()

    async def drain(self, grace_s: float) -> int:
        """Tells every stream that the server shuts down, takes no new ones, and waits until all have ended.

        Returns:
            How many streams did not end in time; they were terminated.
        """
        self._draining = True
        for call in tuple(self._calls):
            call.drain()
        try:
            async with asyncio.timeout(grace_s):
                await self._empty.wait()
        except TimeoutError:
            pass
        late = tuple(self._calls)
        for call in late:
            call.terminate(Draining())
        return len(late)
