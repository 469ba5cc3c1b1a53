"""The three embedded backends together, for `aac up` and for tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Self

from aac_grpc.backends.backend import Backend
from aac_grpc.backends.errors import BackendError
from aac_grpc.backends.kafka import Kafka
from aac_grpc.backends.ports import require_free
from aac_grpc.backends.postgres import Postgres
from aac_grpc.backends.spec import Progress, no_progress
from aac_grpc.backends.state import StateDirectory
from aac_grpc.backends.supervisor import Supervisor
from aac_grpc.backends.valkey import Valkey

BACKENDS: Mapping[str, str] = {
    "DATABASE_URL": "postgres",
    "REDIS_URL": "valkey",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka",
}
"""Supervised process by the variable whose URL it stands for."""
ALL: tuple[str, ...] = tuple(BACKENDS)


class EmbeddedBackends:
    """PostgreSQL, Valkey and Kafka of one installation, prepared and started in parallel.

        async with EmbeddedBackends(state, port_offset) as backends:
            urls = backends.urls

    Enter and leave it in the event loop of the main thread.
    """

    def __init__(
        self,
        state: StateDirectory,
        port_offset: int = 0,
        *,
        variables: tuple[str, ...] = ALL,
        supervisor: Supervisor | None = None,
        progress: Progress = no_progress,
    ) -> None:
        """Describes the backends.

        Args:
            state: The installation.
            port_offset: Added to every default port.
            variables: Which URLs are wanted: those of `ALL` that the user has not given.
            supervisor: Runs them, and stops them when it is left; one is made for them alone when it is None.
            progress: Told which step is being done; several are at the same time.

        Raises:
            BackendError: The offset is out of range, or root has no account to drop to.
        """
        self._state = state
        self._offset = port_offset
        self._variables = variables
        self._given_supervisor = supervisor
        self._progress = progress
        self._urls: Mapping[str, str] = {}
        self._exit = contextlib.AsyncExitStack()

    @property
    def urls(self) -> Mapping[str, str]:
        """DATABASE_URL, REDIS_URL and KAFKA_BOOTSTRAP_SERVERS as far as they are wanted; with secrets."""
        return MappingProxyType(dict(self._urls))

    async def __aenter__(self) -> Self:
        """Boots the backends and waits until each serves its protocol.

        Raises:
            BackendError: Names what is wrong and the remedy; nothing keeps running.
            StopRequested: The supervisor was asked to stop meanwhile.
        """
        async with contextlib.AsyncExitStack() as stack:
            supervisor = self._given_supervisor
            if supervisor is None:
                supervisor = await stack.enter_async_context(Supervisor(self._state, progress=self._progress))
            backends = {variable: self._backend(BACKENDS[variable]) for variable in self._variables}
            await self._boot(supervisor, list(backends.values()))
            self._urls = {variable: backend.url for variable, backend in backends.items()}
            archive = asyncio.create_task(_make_archives(list(backends.values())), name="class archive")
            stack.push_async_callback(_cancel, archive)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the backends, unless the supervisor was given: then they live as long as it."""
        await self._exit.aclose()

    def _backend(self, name: str) -> Backend:
        kinds: Mapping[str, type[Postgres] | type[Valkey] | type[Kafka]] = {
            kind.name: kind for kind in (Postgres, Valkey, Kafka)
        }
        return kinds[name](self._state, self._offset)

    async def _boot(self, supervisor: Supervisor, backends: list[Backend]) -> None:
        ports = {name: port for backend in backends for name, port in backend.ports.items()}
        await asyncio.to_thread(require_free, ports)
        await supervisor.unless_stopped(self._boot_in_parallel(supervisor, backends))

    async def _boot_in_parallel(self, supervisor: Supervisor, backends: list[Backend]) -> None:
        async def boot(backend: Backend) -> None:
            await backend.prepare(self._progress)
            await supervisor.start([backend.process()])

        try:
            async with asyncio.TaskGroup() as group:
                for backend in backends:
                    group.create_task(boot(backend))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None


async def _make_archives(backends: list[Backend]) -> None:
    for backend in backends:
        if isinstance(backend, Kafka):
            # Only the speed of later starts is at stake.
            with contextlib.suppress(BackendError, OSError):
                await backend.make_archive()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
