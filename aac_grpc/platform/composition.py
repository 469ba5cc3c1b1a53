"""Processes of an installation: registry, six services, the feeder; each is told what it has to know and no more."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aac

from aac_grpc.backends.forked import FORK_SERVER, answers
from aac_grpc.backends.ports import port_of
from aac_grpc.backends.spec import ProcessSpec
from aac_grpc.backends.state import StateDirectory
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.platform.connections import pool_size
from aac_grpc.platform.flow import Flow
from aac_grpc.platform.readiness import is_ready
from aac_grpc.platform.replicas import Instance, instances_of

REGISTRY = "registry"
GATEWAY = "api-gateway"
AUTH = "auth-service"
TRADING = "trading-engine"
FEED = "feed"
SUPERVISOR = "supervisor"

_WORKERS = (TRADING, "risk-management", "market-data", "analytics")
SERVICES = (REGISTRY, AUTH, *_WORKERS, GATEWAY)
"""In the order of their start."""
WITH_SCHEMA = (REGISTRY, AUTH, *_WORKERS)
"""Services that keep something in PostgreSQL."""

ADMIN, DEMO = "admin", "demo"
"""User names made at the first start; the demo user's account has the same name."""

_ADDRESSES = {
    "AAC_AUTH_ADDRESS": AUTH,
    "AAC_MARKET_DATA_ADDRESS": "market-data",
    "AAC_ANALYTICS_ADDRESS": "analytics",
    "AAC_RISK_ADDRESS": "risk-management",
    "AAC_TRADING_ADDRESS": TRADING,
    "AAC_REGISTRY_ADDRESS": REGISTRY,
    "AAC_GATEWAY_ADDRESS": GATEWAY,
}
_ONE_PROCESS = {REGISTRY, TRADING}
"""Services that can't have workers."""
_KNOWS_MESH_SECRET = {REGISTRY, AUTH}
# Of the user's own environment; what is the platform's to say is set over it.
_INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "ENVIRONMENT",
    "SSL_CERT_FILE",
)
_INHERITED_PREFIXES = ("AAC_", "GRPC_", "PYTHON", "SSL_")
_SECRETS = ("AAC_MESH_SECRET", "AAC_SERVICE_SECRET", "AAC_BOOTSTRAP_ADMIN_PASSWORD", "AAC_BOOTSTRAP_DEMO_PASSWORD")
_HOST = "127.0.0.1"
_POOL_SIZE = "AAC_DATABASE_POOL_SIZE"
_WORKERS_SETTING = "AAC_WORKERS"


@dataclass(frozen=True)
class Platform:
    """What an installation is made of."""

    state: StateDirectory
    port_offset: int
    urls: Mapping[str, str]
    """DATABASE_URL, REDIS_URL and KAFKA_BOOTSTRAP_SERVERS."""
    database_urls: Mapping[str, str]
    """A service's own DATABASE_URL, where it has one."""
    backends: tuple[str, ...]
    """Names of the supervised backends that services wait for."""
    flow: Flow | None
    replicas: Mapping[str, int] = field(default_factory=dict)
    """How many instances of each service; one where nothing is said."""

    def address(self, service: str, number: int = 1) -> str:
        """host:port of the gRPC server of one instance of a service."""
        return f"{_HOST}:{port_of(service, self.port_offset, number)}"

    def addresses(self, service: str) -> str:
        """Of all instances of a service, with commas between."""
        return ",".join(self.address(service, one.number) for one in self.instances(service))

    def admin_address(self, service: str, number: int = 1) -> str:
        """host:port of the admin HTTP server of one instance of a service."""
        return f"{_HOST}:{port_of(f'{service}-admin', self.port_offset, number)}"

    def instances(self, *services: str) -> tuple[Instance, ...]:
        """The instances of services; of all where none is named."""
        return tuple(one for service in services or SERVICES for one in instances_of(service, self.replicas))

    @property
    def ports(self) -> dict[str, int]:
        """Every port that the services listen on, by listener."""
        return {
            f"{one.name}{kind}": port_of(f"{one.service}{kind}", self.port_offset, one.number)
            for one in self.instances()
            for kind in ("", "-admin")
        }

    @property
    def endpoints(self) -> Path:
        """Where each process keeps the last endpoints that it knew."""
        return self.state.private("endpoints")

    @property
    def mesh_secret(self) -> str:
        """The secret that services' own secrets derive from: as given, else the installation's."""
        return os.environ.get("AAC_MESH_SECRET") or self.state.secret("mesh_secret")

    def password(self, username: str) -> str:
        """First password of a user who is made at the first start."""
        return self.state.secret(f"{username}_password")

    def service_secret(self, service: str) -> str:
        """What a service proves itself with."""
        return derive_service_secret(self.mesh_secret, service)

    def fork_server(self) -> ProcessSpec:
        """What the processes are forked from. They start without it, too: slower, and each with all memory its own."""
        socket = self._fork_socket
        return ProcessSpec(
            name=FORK_SERVER,
            argv=(sys.executable, "-m", "aac_grpc.backends.fork_server", str(socket), "aac_grpc.platform.preload"),
            env=_inherited(),
            log_path=self.state.log_path(FORK_SERVER),
            ready=partial(answers, socket),
            ready_deadline_s=60.0,
            grace_s=1.0,
        )

    def processes(self) -> list[ProcessSpec]:
        """Every process. All start at once; the gateway stops first and the registry last."""
        before = {REGISTRY: (), AUTH: (REGISTRY,), GATEWAY: (REGISTRY, AUTH, *_WORKERS)}
        services = [self._service(one, before.get(one.service, (REGISTRY, AUTH))) for one in self.instances()]
        return services if self.flow is None else [*services, self._feed(self.flow)]

    def mesh_environment(self, service: str) -> dict[str, str]:
        """Where everything is, and what the service proves itself with."""
        return {
            **{variable: self.addresses(name) for variable, name in _ADDRESSES.items()},
            "AAC_SERVICE_SECRET": self.service_secret(service),
        }

    def _service(self, one: Instance, after: Iterable[str]) -> ProcessSpec:
        name = one.service
        admin_port = port_of(f"{name}-admin", self.port_offset, one.number)
        environment = {
            **self.urls,
            **self.mesh_environment(name),
            **self._database(name),
            "AAC_GRPC_PORT": str(port_of(name, self.port_offset, one.number)),
            "AAC_ADMIN_PORT": str(admin_port),
            "AAC_ENDPOINTS_FILE": str(self.endpoints / f"{one.name}.json"),
        }
        if name in _ONE_PROCESS:
            environment[_WORKERS_SETTING] = "1"
        if name in _KNOWS_MESH_SECRET:
            environment["AAC_MESH_SECRET"] = self.mesh_secret
        if name == AUTH:
            environment["AAC_BOOTSTRAP_ADMIN_PASSWORD"] = self.password(ADMIN)
            environment["AAC_BOOTSTRAP_DEMO_PASSWORD"] = self.password(DEMO)
        return ProcessSpec(
            name=one.name,
            argv=_argv(name),
            env={**_inherited(), **environment},
            log_path=self.state.log_path(one.name),
            ready=is_ready(admin_port),
            ready_deadline_s=90.0,
            grace_s=20.0,
            fork_server=self._fork_socket,
            depends_on=(*self.backends, *self._names(after)),
            # Services find each other as they come: starting them one after the other would only take longer.
            waits_for=self.backends,
        )

    @property
    def _fork_socket(self) -> Path:
        return self.state.run / "fork.sock"

    def _database(self, service: str) -> dict[str, str]:
        """Where a service's own corner of the embedded PostgreSQL is, and the process's share of its connections."""
        if service not in self.database_urls:
            return {}
        wanted = os.environ.get(_POOL_SIZE)
        size = pool_size(
            sum(workers_of(one.service) for one in self.instances(*self.database_urls)),
            int(wanted) if wanted else ServiceSettings.model_fields["database_pool_size"].default,
        )
        return {"DATABASE_URL": self.database_urls[service], _POOL_SIZE: str(size)}

    def _names(self, services: Iterable[str]) -> tuple[str, ...]:
        return tuple(one.name for service in services for one in self.instances(service))

    def _feed(self, flow: Flow) -> ProcessSpec:
        return ProcessSpec(
            name=FEED,
            argv=_argv(FEED),
            env={
                **_inherited(),
                **self.mesh_environment(FEED),
                "AAC_ENDPOINTS_FILE": str(self.endpoints / f"{FEED}.json"),
                _WORKERS_SETTING: "1",
                **flow.environment,
            },
            log_path=self.state.log_path(FEED),
            grace_s=5.0,
            fork_server=self._fork_socket,
            depends_on=self._names((AUTH, TRADING)),
        )


def workers_of(service: str) -> int:
    """Processes that each instance of a service runs, as the environment says."""
    return 1 if service in _ONE_PROCESS else int(os.environ.get(_WORKERS_SETTING) or 1)


def _argv(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "aac_grpc.cli.serve", name)


def _inherited() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if (name in _INHERITED or name.startswith(_INHERITED_PREFIXES)) and name not in _SECRETS
    }
    # NumPy's linear algebra would start threads when it is imported, and the service with the event loop has a core.
    return {**kept, "PYTHONPATH": _source_roots(), "PYTHONUNBUFFERED": "1", "OPENBLAS_NUM_THREADS": "1"}


def _source_roots() -> str:
    """Where our packages are, so that a process finds them from any directory, installed or not."""
    ours, generated = Path(__file__).resolve().parents[2], Path(next(iter(aac.__path__))).resolve().parent
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(ours), str(generated), *([given] if given else [])])
