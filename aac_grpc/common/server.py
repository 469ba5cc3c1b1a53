"""One service process: what it is made of (`Service`) and its life (`Server`)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aac_grpc.common.resources import Resources
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.settings import ServiceSettings


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
    """Dependencies without which every call fails at once: "postgresql", "redis", "kafka", or a service's name."""


class Server:
    """The life of one service process: migrate, build, start, serve; drain, stop, flush, close."""

    def __init__(self, service: Service, settings: ServiceSettings | None = None) -> None:
        self.service = service
        self.settings = settings or service.settings()

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then shuts down gracefully."""
        raise NotImplementedError

    async def start(self) -> None:
        """Starts to serve; returns when the server takes calls."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Shuts down: no new work, streams say goodbye, running calls end, resources close."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """host:port of the gRPC server."""
        raise NotImplementedError
