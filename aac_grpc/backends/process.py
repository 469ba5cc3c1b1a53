"""One supervised process: started, watched until it is ready, restarted when it ends, stopped when asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aac_grpc.backends.errors import ProcessFailed
from aac_grpc.backends.forked import ForkedProcess, fork
from aac_grpc.backends.launcher import launch_argv
from aac_grpc.backends.logs import open_log, tail
from aac_grpc.backends.spec import ProcessSpec, ProcessState, ProcessStatus

_CHECK_TIMEOUT_S = 2.0
_KILL_WAIT_S = 10.0

Process = asyncio.subprocess.Process | ForkedProcess


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When and how soon a process that ended is started again."""

    first_delay_s: float = 0.1
    longest_delay_s: float = 5.0
    """Delays double from the first to the longest while the process does not stay ready."""
    stable_after_s: float = 3.0
    """A process that was ready for this long begins again with the first delay."""
    start_attempts: int = 3
    """How often a process that was never ready may end before it counts as failed. One that was ready is always
    started again."""
    poll_s: float = 0.03
    """Pause between two ready checks."""


class SupervisedProcess:
    """Runs one specification until it is stopped. All methods belong to the event loop of the main thread."""

    def __init__(self, spec: ProcessSpec, policy: RestartPolicy, on_change: Callable[[], None]) -> None:
        """Prepares a process; `start` runs it.

        Args:
            spec: What to run.
            policy: When to run it again.
            on_change: Called after each change of the status.
        """
        self.spec = spec
        self._policy = policy
        self._on_change = on_change
        self._state = ProcessState.STARTING
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = False
        self._restarts = 0
        self._in_a_row = 0
        self._last_exit: str | None = None
        self._started_at: float | None = None
        self._not_ready_because = "its ready check answers no"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    def status(self) -> ProcessStatus:
        """What is known of the process now."""
        return ProcessStatus(
            name=self.spec.name,
            state=self._state,
            pid=self.pid,
            restarts=self._restarts,
            last_exit=self._last_exit,
            started_at=self._started_at,
            log_path=str(self.spec.log_path),
        )

    def start(self) -> None:
        """Starts the process and the watch over it."""
        # The kernel ties the child to the thread that forked it, not to the process.
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("supervised processes must be started from the main thread")
        if self._ready.done():
            self._ready = asyncio.get_running_loop().create_future()
        self._in_a_row = 0
        self._set_state(ProcessState.STARTING)
        self._task = asyncio.create_task(self._run(), name=f"supervise {self.spec.name}")

    async def until_ready(self) -> None:
        """Waits until the process has been ready once.

        Raises:
            ProcessFailed: It ended too often, or was not ready in time.
        """
        await asyncio.shield(self._ready)

    async def stop(self, hurry: asyncio.Event) -> None:
        """Ends the process: its stop signal, then after the grace, or once `hurry` is set, SIGKILL."""
        self._stopping = True
        await self._halt(hurry, "stopped")
        self._refuse("it was stopped while it started")
        self._set_state(ProcessState.STOPPED)

    async def restart(self, hurry: asyncio.Event, by: str) -> None:
        """Stops the process and starts it again, unless `stop` is called meanwhile. The status tells who wanted it."""
        self._stopping = False
        await self._halt(hurry, f"restarted by {by}")
        if self._stopping:
            return
        self._restarts += 1
        self.start()

    def send_signal(self, number: signal.Signals) -> bool:
        """Sends a signal to the process; False when it does not run."""
        pid = self.pid
        if pid is None:
            return False
        os.kill(pid, number)
        return True

    async def _halt(self, hurry: asyncio.Event, intent: str) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
        await self._end(hurry, intent)

    async def _run(self) -> None:
        try:
            await self._keep_running()
        except Exception as error:  # nobody awaits this task: its faults are told by the status and `until_ready`
            self._last_exit = f"not supervised any more: {type(error).__name__}: {error}"
            self._fail()

    async def _keep_running(self) -> None:
        while True:
            ready_for_s, overdue = await self._run_once()
            stable = ready_for_s is not None and ready_for_s >= self._policy.stable_after_s
            self._in_a_row = 0 if stable else self._in_a_row + 1
            if self._gives_up(overdue):
                self._fail()
                return
            await asyncio.sleep(self._delay_s())
            self._restarts += 1

    async def _run_once(self) -> tuple[float | None, bool]:
        """Runs the process to its end.

        Returns:
            For how many seconds it was ready, or None, and whether it was ended because it took too long to become so.
        """
        try:
            process = await self._spawn()
        except OSError as error:
            self._last_exit = f"cannot be run: {error}"
            return None, False
        exited = asyncio.create_task(process.wait())
        try:
            ready_for_s, overdue = await self._watch(exited)
        finally:
            exited.cancel()
        if self._state is ProcessState.READY:
            self._set_state(ProcessState.RESTARTING)
        await self._end(hurry=None)
        if overdue:
            self._last_exit = f"not ready after {self.spec.ready_deadline_s:g} s: {self._not_ready_because}"
        return ready_for_s, overdue

    async def _spawn(self) -> Process:
        self._process = await self._forked() or await self._executed()
        self._started_at = time.time()
        self._on_change()
        return self._process

    async def _forked(self) -> Process | None:
        if self.spec.fork_server is None:
            return None
        with contextlib.suppress(OSError):  # memory is not worth a service: it can be started without
            return await fork(self.spec, self.spec.fork_server)
        return None

    async def _executed(self) -> Process:
        log = open_log(self.spec.log_path)
        try:
            return await asyncio.create_subprocess_exec(
                *self._command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.spec.env),
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(log)

    def _command(self) -> list[str]:
        spec = self.spec
        ids = None if spec.user is None else (spec.user.uid, spec.user.gid)
        return launch_argv(
            spec.argv, ids=ids, cwd=str(spec.cwd), death_signal=spec.death_signal, niceness=spec.niceness
        )

    async def _watch(self, exited: asyncio.Task[int]) -> tuple[float | None, bool]:
        try:
            async with asyncio.timeout(self.spec.ready_deadline_s):
                ready = await self._becomes_ready(exited)
        except TimeoutError:
            return None, True
        if not ready:
            return None, False
        since = time.monotonic()
        self._mark_ready()
        await asyncio.wait({exited})
        return time.monotonic() - since, False

    async def _becomes_ready(self, exited: asyncio.Task[int]) -> bool:
        while not exited.done():
            if await self._check():
                return not exited.done()
            await asyncio.wait({exited}, timeout=self._policy.poll_s)
        return False

    async def _check(self) -> bool:
        if self.spec.ready is None:
            return True
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                return await self.spec.ready()
        except Exception as error:  # a check fails in whatever way its client library fails
            self._not_ready_because = f"{type(error).__name__}: {error}"
            return False

    def _mark_ready(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)
        self._set_state(ProcessState.READY)

    def _gives_up(self, overdue: bool) -> bool:
        return not self._ready.done() and (overdue or self._in_a_row >= self._policy.start_attempts)

    def _fail(self) -> None:
        self._set_state(ProcessState.FAILED)
        self._refuse(f"{self._last_exit}. The end of its log ({self.spec.log_path}):\n{tail(self.spec.log_path)}")

    def _refuse(self, reason: str) -> None:
        if not self._ready.done():
            self._ready.set_exception(ProcessFailed(self.spec.name, reason))
            self._ready.exception()  # the status tells it too: whether anybody waits is no matter

    def _delay_s(self) -> float:
        return min(self._policy.longest_delay_s, self._policy.first_delay_s * 2.0 ** min(self._in_a_row, 16))

    async def _end(self, hurry: asyncio.Event | None, intent: str = "") -> None:
        """Ends what runs, with the children that share its session's group, and notes how it ended.

        Args:
            hurry: Leaves no time to end by itself once it is set.
            intent: What it is ended for, where somebody wants that: no fault of the process is to be told then.
        """
        process = self._process
        if process is None:
            return
        is_wanted = bool(intent) and process.returncode is None
        if process.returncode is None:
            await self._ask_to_end(process, hurry)
        if process.returncode is None:
            _kill_group(process.pid)
            async with asyncio.timeout(_KILL_WAIT_S):
                await process.wait()
        _kill_group(process.pid)
        self._last_exit = _describe_exit(process.returncode)
        if is_wanted:
            obeyed = process.returncode in (0, -self.spec.stop_signal)
            self._last_exit = intent if obeyed else f"{intent}; {self._last_exit}"
        self._process = None
        self._on_change()

    async def _ask_to_end(self, process: Process, hurry: asyncio.Event | None) -> None:
        process.send_signal(self.spec.stop_signal)
        waits: set[asyncio.Task[Any]] = {asyncio.create_task(process.wait())}
        if hurry is not None:
            waits.add(asyncio.create_task(hurry.wait()))
        try:
            await asyncio.wait(waits, timeout=self.spec.grace_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _set_state(self, state: ProcessState) -> None:
        self._state = state
        self._on_change()


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _describe_exit(returncode: int | None) -> str:
    if returncode is None:
        return "still running"
    if returncode >= 0:
        return f"exit code {returncode}"
    return f"killed by {signal.Signals(-returncode).name}"
