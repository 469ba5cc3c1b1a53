"""The supervisor: one process that owns the backends and the services of an installation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from dataclasses import asdict
from graphlib import CycleError, TopologicalSorter
from types import TracebackType
from typing import Any, Self, TypeVar

from aac_grpc.backends import leftovers, logs
from aac_grpc.backends.control import serve_control
from aac_grpc.backends.errors import BackendError, StopRequested
from aac_grpc.backends.process import RestartPolicy, SupervisedProcess
from aac_grpc.backends.spec import ProcessSpec, Progress, SupervisorStatus, no_progress
from aac_grpc.backends.state import StateDirectory

_LOG_CHECK_EVERY_S = 5.0
_RECORDS = "processes.json"

T = TypeVar("T")


class Supervisor:
    """Runs processes in the order of their dependencies, keeps them running and stops them in reverse.

    Entering it takes the state directory, ends what a dead supervisor left behind and opens the control socket;
    leaving it stops every process. Use it from the event loop of the main thread: the kernel ends the processes when
    that thread ends, however it ends.

        async with Supervisor(state, handle_signals=True) as supervisor:
            await supervisor.start(specs)
            await supervisor.until_stop_requested()

    A stop that is requested while `start` waits raises `StopRequested` there; leaving the context absorbs it.
    """

    def __init__(
        self,
        state: StateDirectory,
        *,
        info: Mapping[str, str] | None = None,
        policy: RestartPolicy | None = None,
        handle_signals: bool = False,
        progress: Progress = no_progress,
    ) -> None:
        """Prepares a supervisor; entering it makes it real.

        Args:
            state: The installation.
            info: Published in the status as it is; no secrets.
            policy: When processes that ended are started again.
            handle_signals: Take SIGINT and SIGTERM as a request to stop, a second one as a request to hurry.
            progress: Told which step is being done.
        """
        self.info = dict(info or {})
        self._state = state
        self._policy = policy or RestartPolicy()
        self._handle_signals = handle_signals
        self._progress = progress
        self._processes: dict[str, SupervisedProcess] = {}
        self._stop_requested = asyncio.Event()
        self._hurry = asyncio.Event()
        self._recorded: dict[str, int] = {}
        self._exit = contextlib.AsyncExitStack()
        self._started_at = time.time()

    async def __aenter__(self) -> Self:
        """Takes the state directory.

        Raises:
            StateError: It cannot be used; `StateLocked` when another supervisor holds it.
        """
        self._state.create()
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(self._state.lock())
            await self._end_leftovers()
            await stack.enter_async_context(serve_control(self._state.run, self._answer))
            stack.push_async_callback(_cancel, asyncio.create_task(self._cap_logs(), name="log sizes"))
            if self._handle_signals:
                self._take_signals(stack)
            stack.push_async_callback(self.stop)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Stops every process and releases the state directory."""
        await self._exit.aclose()
        return kind is not None and issubclass(kind, StopRequested)

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Starts processes, each once those that it depends on are ready, and waits until all are.

        May be called again with more processes, which may depend on those that run.

        Raises:
            BackendError: Names are taken twice, or dependencies are unknown or circular.
            ProcessFailed: A process did not become ready; the others keep running.
            StopRequested: A stop was requested meanwhile.
        """
        self._require_order(specs)
        fresh = {spec.name: SupervisedProcess(spec, self._policy, self._record) for spec in specs}
        self._processes |= fresh
        await self.unless_stopped(self._bring_up(list(fresh.values())))

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """Awaits work, but cancels it when a stop is requested.

        Raises:
            StopRequested: That happened.
        """
        task = asyncio.create_task(work)
        stop = asyncio.create_task(self._stop_requested.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise StopRequested
            return task.result()
        finally:
            await _cancel(task)
            await _cancel(stop)

    async def until_stop_requested(self) -> None:
        """Waits until a signal, or another process, asks the supervisor to stop."""
        await self._stop_requested.wait()

    def request_stop(self) -> None:
        """Asks the supervisor to stop; when asked again, to kill what has not ended yet."""
        if self._stop_requested.is_set():
            self._hurry.set()
        self._stop_requested.set()

    async def stop(self) -> None:
        """Stops every process, each after those that depend on it."""
        self._stop_requested.set()
        tasks: dict[str, asyncio.Task[None]] = {}
        for name in reversed(self._order()):
            dependents = [tasks[other] for other in tasks if name in self._processes[other].spec.depends_on]
            tasks[name] = asyncio.create_task(self._take_down(self._processes[name], dependents))
        await asyncio.gather(*tasks.values())

    async def restart(self, name: str, *, by: str = "the supervisor", until_ready: bool = False) -> None:
        """Stops a process and starts it again.

        Args:
            name: Of the process.
            by: Who wants it, for the status.
            until_ready: Return once it is ready again.

        Raises:
            BackendError: There is none of that name; `ProcessFailed` where it does not become ready again.
        """
        process = self._named(name)
        if self._stop_requested.is_set():
            raise BackendError("the supervisor is stopping")
        await process.restart(self._hurry, by)
        if until_ready:
            await process.until_ready()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal to a process, which is started again if it ends.

        Raises:
            BackendError: There is none of that name, or it does not run.
        """
        if not self._named(name).send_signal(number):
            raise BackendError(f"{name} does not run")

    def status(self) -> SupervisorStatus:
        """What is known of the supervisor and its processes now."""
        return SupervisorStatus(
            pid=os.getpid(),
            started_at=self._started_at,
            state_dir=str(self._state.path),
            info=self.info,
            processes=tuple(process.status() for process in self._processes.values()),
        )

    async def _bring_up(self, processes: Sequence[SupervisedProcess]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for process in processes:
                    group.create_task(self._bring_up_one(process))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _bring_up_one(self, process: SupervisedProcess) -> None:
        spec = process.spec
        for name in spec.depends_on if spec.waits_for is None else spec.waits_for:
            await self._processes[name].until_ready()
        self._progress(f"start {process.spec.name}", None)
        process.start()
        await process.until_ready()
        self._progress(f"{process.spec.name} is ready", 1.0)

    async def _take_down(self, process: SupervisedProcess, dependents: Sequence[Awaitable[None]]) -> None:
        await asyncio.gather(*dependents)
        self._progress(f"stop {process.spec.name}", None)
        await process.stop(self._hurry)

    def _require_order(self, specs: Sequence[ProcessSpec]) -> None:
        names = [*self._processes, *(spec.name for spec in specs)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise BackendError(f"processes named twice: {', '.join(twice)}")
        if unknown := sorted({name for spec in specs for name in spec.depends_on if name not in names}):
            raise BackendError(f"unknown processes to depend on: {', '.join(unknown)}")
        try:
            TopologicalSorter({spec.name: spec.depends_on for spec in specs}).prepare()
        except CycleError as error:
            raise BackendError(f"processes depend on each other: {' -> '.join(error.args[1])}") from error

    def _order(self) -> list[str]:
        graph = {name: process.spec.depends_on for name, process in self._processes.items()}
        return list(TopologicalSorter(graph).static_order())

    def _named(self, name: str) -> SupervisedProcess:
        if name not in self._processes:
            raise BackendError(f"no process is named {name}; there are {', '.join(self._processes) or 'none'}")
        return self._processes[name]

    async def _end_leftovers(self) -> None:
        path = self._state.run / _RECORDS
        if await asyncio.to_thread(leftovers.read_records, path):
            self._progress("end what the last run left behind", None)
            await asyncio.to_thread(leftovers.end_leftovers, path)

    def _record(self) -> None:
        """Writes down what runs: a few hundred bytes, at once, so that it is on record before anything can kill us."""
        running = {process.spec.name: pid for process in self._processes.values() if (pid := process.pid) is not None}
        if running == self._recorded:
            return
        self._recorded = running
        specs = [(self._processes[name].spec, pid) for name, pid in running.items()]
        found = [leftovers.record(spec.name, pid, spec.stop_signal, spec.grace_s) for spec, pid in specs]
        with contextlib.suppress(OSError):  # a full disk: the kernel still ends the processes with us
            leftovers.write_records(self._state.run / _RECORDS, [item for item in found if item is not None])

    async def _cap_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_CHECK_EVERY_S)
            for process in list(self._processes.values()):
                with contextlib.suppress(OSError):  # a full disk: there is no room to move a log aside
                    await asyncio.to_thread(logs.cap_log, process.spec.log_path)

    def _take_signals(self, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.request_stop)
            stack.callback(loop.remove_signal_handler, number)

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"command": "status"}:
                return asdict(self.status())
            case {"command": "stop"}:
                self._stop_requested.set()
            case {"command": "restart", "name": str(name)}:
                by = str(request.get("by") or "another process")
                await self.restart(name, by=by, until_ready=bool(request.get("until_ready")))
            case {"command": "kill", "name": str(name), "signal": str(number)} if number in signal.Signals.__members__:
                self.kill(name, signal.Signals[number])
            case _:
                raise BackendError(f"the supervisor does not understand {request}")
        return {}


async def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancels a task of ours and waits for its end."""
    task.cancel()
    await asyncio.wait({task})
