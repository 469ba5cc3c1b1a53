"""CPU work off the event loop, on few threads and with a bounded queue."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import ParamSpec, TypeVar

from aac_grpc.client.errors import Overloaded

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class BoundedExecutor:
    """Runs functions that release the GIL, such as hashing or array arithmetic, beside the event loop."""

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        """Makes an executor; threads start with the first calls.

        Args:
            name: Of the threads.
            threads: How many calls run at once.
            waiting: How many more may wait for a thread.
        """
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._places = BoundedSemaphore(threads + waiting)

    async def run(
        self, function: Callable[Parameters, Result], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Calls a function on a thread and returns its result.

        A cancelled caller stops waiting; a function that has begun ends by itself.

        Raises:
            Overloaded: Too many calls are waiting already.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded("too much is being computed; try again")
        try:
            future = self._pool.submit(function, *args, **kwargs)
        except BaseException:
            self._places.release()
            raise
        # A place is free when the function has ended, not when its caller stopped waiting.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drops what waits and lets what runs end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
