"""Background tasks that belong to somebody: named, logged when they fail, restarted as told, cancelled at stop."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

import structlog
from prometheus_client import Counter, Gauge

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
STEADY_S = 60.0
"""A task that ran this long before it failed is restarted after the first pause again."""

CANCEL_AGAIN_S = 0.25

RUNNING = Gauge("aac_tasks_running", "Background tasks that run or wait for their restart.")
FAILURES = Counter("aac_task_failures_total", "Failures of background tasks.", ["task"])

Work = Callable[[], Awaitable[Any]]

_log = structlog.get_logger(__name__)


class Task:
    """One background task.

    Attributes:
        name: For logs and metrics.
        failure: What it failed with for good, or last.
    """

    def __init__(self, work: Work, name: str, restart: bool, on_end: Callable[["Task"], None]) -> None:
        self.name = name
        self.failure: Exception | None = None
        self._work = work
        self._restart = restart
        # Not in the context of the call that it was spawned in: its deadline and identity are not the task's.
        self._running = asyncio.create_task(self._run(), name=name, context=Context())
        self._running.add_done_callback(lambda _: on_end(self))

    @property
    def done(self) -> bool:
        """It has returned, failed for good or been cancelled."""
        return self._running.done()

    async def cancel(self) -> None:
        """Cancels it and waits until it has ended.

        A client library may swallow one cancellation (redis-py does, now and then): then it is told again.
        """
        while not self._running.done():
            self._running.cancel()
            await asyncio.wait({self._running}, timeout=CANCEL_AGAIN_S)

    async def wait(self) -> None:
        """Waits until it has ended by itself."""
        await asyncio.wait({self._running})

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_S
        while True:
            began = loop.time()
            try:
                await self._work()
            except Exception as error:
                self.failure = error
                FAILURES.labels(self.name).inc()
                _log.exception("task failed", task=self.name, restarts=self._restart)
                if not self._restart:
                    return
            else:
                self.failure = None
                return
            if loop.time() - began > STEADY_S:
                pause = FIRST_PAUSE_S
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)


class Tasks:
    """Owns the background tasks of a process.

    Attributes:
        failed: By name, what tasks failed with that are not restarted; the service is not ready while there are any.
    """

    def __init__(self) -> None:
        self.failed: dict[str, Exception] = {}
        self._tasks: dict[Task, None] = {}
        self._stopping = False

    def spawn(self, work: Work, *, name: str, restart: bool = True) -> Task:
        """Runs `work()` in the background until it returns or `stop` is called.

        Args:
            work: A coroutine function without arguments; called again at a restart.
            name: For logs and metrics.
            restart: Run it again after a failure (after 0.1 s, doubling to 30 s). Else a failure is kept in `failed`.

        Raises:
            RuntimeError: The tasks were stopped.
        """
        if self._stopping:
            raise RuntimeError(f"no task {name!r} any more: the service stops")
        task = Task(work, name, restart, self._ended)
        self._tasks[task] = None
        RUNNING.inc()
        return task

    async def stop(self, grace: float = 5.0) -> None:
        """Cancels all tasks, the youngest first, and waits for them, at most `grace` seconds in all."""
        self._stopping = True
        try:
            async with asyncio.timeout(grace):
                for task in reversed(tuple(self._tasks)):
                    await task.cancel()
        except TimeoutError:
            _log.error("tasks did not end in time", tasks=[task.name for task in self._tasks])

    def _ended(self, task: Task) -> None:
        RUNNING.dec()
        self._tasks.pop(task, None)
        if task.failure is not None:
            self.failed[task.name] = task.failure
