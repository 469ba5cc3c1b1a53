"""Background tasks that belong to somebody: named, logged when they fail, restarted as told, cancelled at stop."""

from collections.abc import Awaitable, Callable
from typing import Any

Work = Callable[[], Awaitable[Any]]


class Tasks:
    """Owns the background tasks of a process.

    Attributes:
        failed: Names of tasks that ended by a failure and are not restarted; the service is not ready while there are any.
    """

    def __init__(self) -> None:
        self.failed: dict[str, BaseException] = {}

    def spawn(self, work: Work, *, name: str, restart: bool = True) -> "Task":
        """Runs `work()` in the background until it returns or `stop` is called.

        Args:
            work: A coroutine function without arguments; called again at a restart.
            name: Unique among the running tasks; for logs and metrics.
            restart: Run it again after a failure (after 0.1 s, doubling to 30 s). Otherwise a failure is kept in `failed`.
        """
        raise NotImplementedError

    async def stop(self, grace: float = 5.0) -> None:
        """Cancels all tasks, in the reverse of their order, and waits for them, at most `grace` seconds."""
        raise NotImplementedError


class Task:
    """One background task."""

    name: str

    @property
    def done(self) -> bool:
        """It has returned, failed for good or been cancelled."""
        raise NotImplementedError

    async def cancel(self) -> None:
        """Cancels it and waits until it has ended."""
        raise NotImplementedError
