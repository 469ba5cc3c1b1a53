"""One service process: what it is made of (`Service`) and its life (`Server`)."""

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import structlog

from aac_grpc.common import logs
from aac_grpc.common.addresses import join, reachable
from aac_grpc.common.admin import Admin
from aac_grpc.common.chain import Chain, Handlers, handlers_of
from aac_grpc.common.channel import REGISTRY
from aac_grpc.common.expiry import Expiry
from aac_grpc.common.footprint import give_back_large_blocks, settle
from aac_grpc.common.health import HealthServicer
from aac_grpc.common.interceptors.adapter import Serving
from aac_grpc.common.interceptors.auth import CredentialScheme
from aac_grpc.common.interceptors.drain import OpenStreams
from aac_grpc.common.interceptors.half_open import HalfOpenCalls
from aac_grpc.common.interceptors.shed import LoadShedding
from aac_grpc.common.ports import ADMIN_PORTS, GRPC_PORTS
from aac_grpc.common.process import allow_open_files, background_threads
from aac_grpc.common.reflection import reflection_handlers
from aac_grpc.common.registration import Registration
from aac_grpc.common.resources import Resources
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.common.windows import WINDOW_OPTIONS
from aac_grpc.common.workers import Worker, Workers

_log = structlog.get_logger("server")

LAST_WORDS_S = 0.5
"""For the thread that writes the log."""
MAX_PENDING_CALLS = 10_000
"""Calls that may have arrived and not begun yet; what is more gRPC turns away."""


@dataclass(frozen=True)
class Service:
    """What a service process is made of; the one place that composes it."""

    name: str
    """Such as "trading-engine"."""
    settings: type[ServiceSettings]
    build: Callable[[Resources], Awaitable[Sequence[Servicer]] | Sequence[Servicer]]
    """Makes the servicers on the process's resources."""
    migrations: str | None = None
    """Package that holds the `*.sql` files of the service's schema, such as "aac_grpc.servicers.risk.migrations"."""
    requires: tuple[str, ...] = ()
    """Dependencies without which every call fails at once: "postgresql", "redis", "kafka"."""
    credentials: Callable[[Resources], Sequence[CredentialScheme]] = lambda resources: ()
    """Kinds of credentials that it takes beside access tokens."""
    stateless: bool = False
    """Several processes may serve it on one port, as `workers`: a call is served by any of them as by any other."""


def server_options(settings: ServiceSettings, *, shares_port: bool = False) -> list[tuple[str, Any]]:
    """gRPC's channel arguments for a server; workers share their port."""
    return [
        # On by default, and then a second server on the port starts in silence and steals calls.
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.max_receive_message_length", settings.transport_limit_bytes),
        ("grpc.max_send_message_length", settings.transport_limit_bytes),
        ("grpc.keepalive_time_ms", int(settings.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),  # what ends a silent connection; gRPC's default is a minute
        # By default a client that pings more often than each five minutes is sent away. Ours ping every two seconds.
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # From the thousandth call on that waits for the event loop, gRPC ends some as CANCELLED, without details: then
        # a burst looks to its callers as if they had called it off themselves.
        ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
        # Without one, callers that begin streams and reset them at once (CVE-2023-44487) pile up as many as they like.
        ("grpc.max_concurrent_streams", settings.max_streams_per_connection),
        # Soft and hard: between the two gRPC refuses calls by chance.
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        # Of connections that say nothing; gRPC's default is two minutes.
        ("grpc.server_handshake_timeout_ms", 10_000),
        *WINDOW_OPTIONS,
    ]


class Server:
    """The life of one service process: migrate, build, start, serve; drain, stop, flush, close.

    Attributes:
        resources: What the process uses.
        servicers: What it serves; filled by `start`.
        address: host:port of the gRPC server, once it has started.
        shedding: Refuses calls while too many come in; from `start` on.
        half_open: Ends calls whose message does not come; from `start` on.
    """

    def __init__(self, service: Service, settings: ServiceSettings | None = None, worker: Worker | None = None) -> None:
        """Makes a server that is not started.

        Args:
            service: What it serves.
            settings: Of the process; None reads the environment.
            worker: Which of several processes behind one port it is.

        Raises:
            ValueError: Several workers are asked for, of a service that can't have them.
        """
        self.service = service
        settings = settings or service.settings()
        if settings.workers > 1 and not service.stateless:
            raise ValueError(f"{service.name} can't have several workers: its process holds what no other one may hold")
        self._worker = worker
        self.settings = settings if worker is None else worker.settings(settings)
        self.resources = Resources(service.name, self.settings, service.requires)
        self.servicers: list[Servicer] = []
        self.address = ""
        self.shedding: LoadShedding
        self.half_open: HalfOpenCalls
        self._streams = OpenStreams()
        self._admin = Admin(self.resources.health, lambda: self.resources.tasks.failed)
        # What has started, to be stopped in reverse order, also when the rest of the start fails.
        self._started = AsyncExitStack()

    @property
    def admin_address(self) -> str:
        """host:port of the admin HTTP server."""
        return self._admin.address

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then shuts down gracefully; by workers, where the settings ask for several.

        Raises:
            SystemExit: A worker could not be kept running.
        """
        import uvloop

        allow_open_files()
        give_back_large_blocks()
        if self.settings.workers > 1:
            self._run_workers()
            return
        writer = self._log_lines()
        try:
            uvloop.run(self._serve_until_told())
        finally:
            writer.close()

    def _run_workers(self) -> None:
        """Forks the workers, each of which goes on as a server of its own."""
        self._log_lines(on_thread=False)
        worker = Workers(self.service.name, self.settings).run()
        if isinstance(worker, int):
            sys.exit(worker)
        Server(self.service, self.settings, worker).run()

    def _log_lines(self, *, on_thread: bool = True) -> logs.LineWriter:
        settings = self.settings
        return logs.configure(
            self.service.name,
            settings.instance_id,
            level=settings.log_level,
            json=settings.log_json,
            on_thread=on_thread,
        )

    async def start(self) -> None:
        """Starts to serve; returns when the server takes calls.

        Raises:
            ContractError: A method has no policy, or a wrong one.
            DependencyUnavailable: What the service needs to start can't be reached.
            OSError, RuntimeError: A port is taken.
        """
        try:
            await self._start()
        except BaseException:
            await self._started.aclose()
            raise

    async def stop(self) -> None:
        """Shuts down: no new work, streams say goodbye, running calls end, resources close."""
        await self._started.aclose()

    async def _start(self) -> None:
        service, settings, resources = self.service, self.settings, self.resources
        port = ADMIN_PORTS.get(service.name, 0) if settings.admin_port is None else settings.admin_port
        self._admin.start(settings.admin_host, port)
        self._started.push_async_callback(self._admin.stop)
        self._started.push_async_callback(resources.close)
        self._started.push_async_callback(resources.tasks.stop)
        if service.name != REGISTRY:
            resources.tasks.spawn(resources.channels.follow, name="endpoints")
        await self._migrate()
        built = service.build(resources)
        self.servicers = list(await built if inspect.isawaitable(built) else built)
        self.shedding = LoadShedding(settings)
        self.half_open = HalfOpenCalls(settings)
        handlers = self._handlers(self.shedding)
        await resources.open()
        for servicer in self.servicers:
            self._started.push_async_callback(servicer.stop)
            await servicer.start()
        await self._listen(handlers, self.shedding)
        resources.address = settings.advertised_address or await reachable(self.address, settings.registry_address)
        self._started.push_async_callback(self._drain)
        resources.health.set_serving(True, "", *handlers.services)
        resources.tasks.spawn(resources.health.keep_checking, name="checks")
        if settings.registry_address and (self._worker is None or self._worker.is_first):
            registration = Registration(resources, self.admin_address, self._worker.colleagues if self._worker else 1)
            resources.tasks.spawn(registration.keep, name="registration")
            self._started.push_async_callback(registration.leave)
        _log.info("serving", address=self.address, admin=self.admin_address)

    async def _migrate(self) -> None:
        if self.service.migrations is not None:
            from aac_grpc.common.migrations import migrate

            database = self.resources.database
            await self.resources.open()
            await migrate(database, self.service.migrations)

    def _handlers(self, shedding: LoadShedding) -> Handlers:
        """Adapts every method. A method without a policy ends the start here."""
        resources, limit = self.resources, self.settings.max_message_bytes
        serving = Serving(Expiry(), self._streams, self.half_open, limit, lambda: resources.address)
        schemes = self.service.credentials(self.resources)
        chain = Chain(self.resources, serving, shedding, self.service.requires, schemes)
        handlers = Handlers(shedding, self.half_open)
        for servicer in (*self.servicers, HealthServicer(self.resources.health)):
            for path, handler in handlers_of(servicer).items():
                handlers.add(path, chain.serve(path, handler))
            for path, handler in servicer.forwards().items():
                handlers.add(path, chain.forward(path, handler))
        if self.settings.reflection_enabled:
            for path, handler in reflection_handlers(handlers.services).items():
                handlers.add(path, chain.serve(path, handler))
        return handlers

    async def _listen(self, handlers: Handlers, shedding: LoadShedding) -> None:
        settings = self.settings
        server = grpc.aio.server(options=server_options(settings, shares_port=self._worker is not None))
        server.add_generic_rpc_handlers((handlers,))
        port = GRPC_PORTS.get(self.service.name, 0) if settings.grpc_port is None else settings.grpc_port
        self.address = join(settings.grpc_host, server.add_insecure_port(join(settings.grpc_host, port)))
        shedding.begin(server)
        self.half_open.start()
        self._started.push_async_callback(shedding.close)
        self._started.push_async_callback(self.half_open.close)
        await server.start()

        async def stop() -> None:
            await server.stop(settings.shutdown_grace_s)

        self._started.push_async_callback(stop)

    async def _drain(self) -> None:
        self.resources.health.shut_down()
        self.half_open.drain()
        grace_s = self.settings.drain_grace_s
        giving_away = [asyncio.create_task(servicer.drain()) for servicer in self.servicers]
        if late := await self._streams.drain(grace_s):
            _log.warning("streams did not end in time", streams=late)
        if giving_away:
            await asyncio.wait(giving_away, timeout=grace_s)

    async def _serve_until(self, told: asyncio.Task[Any]) -> None:
        deaf = asyncio.create_task(self.shedding.until_deaf())
        try:
            await asyncio.wait({told, deaf}, return_when=asyncio.FIRST_COMPLETED)
            if deaf.done() and not told.done():
                await deaf
                # Whoever started this process starts another one. What gRPC does at shutdown waits for the loop that
                # takes calls, which may be what has ended; whatever was acknowledged survives a kill.
                _log.critical("gRPC takes no calls any more: the process ends")
                await asyncio.sleep(LAST_WORDS_S)
                os._exit(1)
        finally:
            deaf.cancel()
            await asyncio.gather(deaf, return_exceptions=True)

    async def _serve_until_told(self) -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        # A signal ends a start that still waits for its dependencies, too.
        starting, waiting = loop.create_task(self.start()), loop.create_task(told.wait())
        try:
            with background_threads():
                await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                settle()
                await self._serve_until(waiting)
        finally:
            for task in (starting, waiting):
                task.cancel()
            await asyncio.gather(starting, waiting, return_exceptions=True)
            await self.stop()
            _log.info("stopped")
