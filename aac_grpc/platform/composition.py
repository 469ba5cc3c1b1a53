"""Processes of an installation: registry, six services, the feeder; each is told what it has to know and no more."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aac

from aac_grpc.backends.ports import port_of
from aac_grpc.backends.spec import ProcessSpec
from aac_grpc.backends.state import StateDirectory
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.platform.flow import Flow
from aac_grpc.platform.readiness import is_ready

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

    def address(self, service: str) -> str:
        """host:port of a service's gRPC server."""
        return f"{_HOST}:{port_of(service, self.port_offset)}"

    def admin_address(self, service: str) -> str:
        """host:port of a service's admin HTTP server."""
        return f"{_HOST}:{port_of(f'{service}-admin', self.port_offset)}"

    @property
    def ports(self) -> dict[str, int]:
        """Every port that the services listen on, by listener."""
        names = [name for service in SERVICES for name in (service, f"{service}-admin")]
        return {name: port_of(name, self.port_offset) for name in names}

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

    def processes(self) -> list[ProcessSpec]:
        """Every process. All start at once; the gateway stops first and the registry last."""
        first = [self._service(REGISTRY, self.backends), self._service(AUTH, (*self.backends, REGISTRY))]
        workers = [self._service(name, (*self.backends, REGISTRY, AUTH)) for name in _WORKERS]
        gateway = self._service(GATEWAY, (*self.backends, REGISTRY, AUTH, *_WORKERS))
        feed = [] if self.flow is None else [self._feed(self.flow)]
        return [*first, *workers, gateway, *feed]

    def mesh_environment(self, service: str) -> dict[str, str]:
        """Where everything is, and what the service proves itself with."""
        return {
            **{variable: self.address(name) for variable, name in _ADDRESSES.items()},
            "AAC_SERVICE_SECRET": self.service_secret(service),
        }

    def _service(self, name: str, depends_on: tuple[str, ...]) -> ProcessSpec:
        environment = {
            **self.urls,
            **self.mesh_environment(name),
            "AAC_GRPC_PORT": str(port_of(name, self.port_offset)),
            "AAC_ADMIN_PORT": str(port_of(f"{name}-admin", self.port_offset)),
        }
        if name in self.database_urls:
            environment["DATABASE_URL"] = self.database_urls[name]
        if name in _KNOWS_MESH_SECRET:
            environment["AAC_MESH_SECRET"] = self.mesh_secret
        if name == AUTH:
            environment["AAC_BOOTSTRAP_ADMIN_PASSWORD"] = self.password(ADMIN)
            environment["AAC_BOOTSTRAP_DEMO_PASSWORD"] = self.password(DEMO)
        return ProcessSpec(
            name=name,
            argv=_argv(name),
            env={**_inherited(), **environment},
            log_path=self.state.log_path(name),
            ready=is_ready(port_of(f"{name}-admin", self.port_offset)),
            ready_deadline_s=90.0,
            grace_s=20.0,
            depends_on=depends_on,
            # Services find each other as they come: starting them one after the other would only take longer.
            waits_for=self.backends,
        )

    def _feed(self, flow: Flow) -> ProcessSpec:
        return ProcessSpec(
            name=FEED,
            argv=_argv(FEED),
            env={**_inherited(), **self.mesh_environment(FEED), **flow.environment},
            log_path=self.state.log_path(FEED),
            grace_s=5.0,
            depends_on=(AUTH, TRADING),
        )


def _argv(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "aac_grpc.cli.serve", name)


def _inherited() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if (name in _INHERITED or name.startswith(_INHERITED_PREFIXES)) and name not in _SECRETS
    }
    return {**kept, "PYTHONPATH": _source_roots(), "PYTHONUNBUFFERED": "1"}


def _source_roots() -> str:
    """Where our packages are, so that a process finds them from any directory, installed or not."""
    ours, generated = Path(__file__).resolve().parents[2], Path(next(iter(aac.__path__))).resolve().parent
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(ours), str(generated), *([given] if given else [])])
