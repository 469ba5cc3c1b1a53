"""Platforms as users run them: started by the command, each with a state directory and ports of its own."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from aac.auth.v1.auth_pb2 import IssueServiceTokenRequest
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub
from grpc import aio

from aac_grpc.backends.ports import port_of
from aac_grpc.backends.postgres import Postgres
from aac_grpc.backends.state import StateDirectory
from aac_grpc.client import AsyncClient
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.feeds.runner import FEED
from bench.installation import free_offset
from bench.processes import outputs

CHECKOUT = Path(__file__).resolve().parents[2]
SERVICES = (
    "api-gateway", "auth-service", "market-data", "trading-engine", "risk-management", "analytics", "registry",
)  # fmt: skip
UP_WITHIN_S = 240.0
DOWN_WITHIN_S = 120.0


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    output: str
    errors: str
    seconds: float


class Installation:
    """One platform, and the `aac` command of whoever runs it."""

    def __init__(
        self,
        folder: Path,
        port_offset: int,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Describes a platform; `up` starts it.

        Args:
            folder: Holds its state; PostgreSQL's account must be able to enter it.
            port_offset: Added to every default port.
            environment: On top of the tests' own, from which everything of the platform is taken out.
        """
        self.folder = folder
        self.state = folder / "state"
        self.port_offset = port_offset
        self._prefix: tuple[str, ...] = ()
        self._environment = {**_plain_environment(folder), **(environment or {})}

    def run_by(self, prefix: Sequence[str], environment: Mapping[str, str]) -> None:
        """Has commands run by somebody else.

        Args:
            prefix: What stands before each command, such as `setpriv ...`.
            environment: On top of the one that there is.
        """
        self._prefix = tuple(prefix)
        self._environment |= environment

    async def up(self, *options: str) -> float:
        """Starts the platform as users do, and returns the seconds until it was ready.

        Raises:
            AssertionError: It did not start.
        """
        outcome = await self.aac(
            "up", "--detach", "--port-offset", str(self.port_offset), *options, timeout_s=UP_WITHIN_S
        )
        assert outcome.code == 0, f"aac up failed:\n{outcome.output}\n{outcome.errors}\n{self._ends_of_logs()}"
        return outcome.seconds

    async def down(self) -> Outcome:
        """Stops it as users do."""
        return await self.aac("down", timeout_s=DOWN_WITHIN_S)

    async def status(self) -> dict[str, Any]:
        """What `aac status --json` prints."""
        outcome = await self.aac("status", "--json")
        assert outcome.code == 0, outcome.errors
        document: dict[str, Any] = json.loads(outcome.output)
        return document

    async def aac(self, *arguments: str, timeout_s: float = 60.0) -> Outcome:
        """Runs a command of the platform."""
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *self._prefix,
            sys.executable,
            "-m",
            "aac_grpc.cli",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            cwd=self.folder,  # any directory will do
        )
        output, errors = await outputs(process, timeout_s)
        return Outcome(process.returncode or 0, output, errors, time.monotonic() - started)

    @property
    def gateway(self) -> str:
        """host:port of the one public port."""
        return self.address("api-gateway")

    def address(self, service: str, replica: int = 1) -> str:
        """host:port of a service's instance, or of a backend."""
        return f"127.0.0.1:{port_of(service, self.port_offset, replica)}"

    @cached_property
    def passwords(self) -> dict[str, str]:
        """Passwords of the first users by name, as `aac up` wrote them down for the person who ran it."""
        users: dict[str, str] = json.loads((self.state / "credentials.json").read_text())["users"]
        return users

    def secret(self, name: str) -> str:
        """A secret of the installation."""
        secrets: dict[str, str] = json.loads((self.state / "secrets.json").read_text())
        return secrets[name]

    @property
    def mesh_secret(self) -> str:
        """What services' own secrets derive from."""
        return self.secret("mesh_secret")

    @property
    def database_url(self) -> str:
        """The embedded PostgreSQL, as its owner."""
        return Postgres(StateDirectory(self.state), self.port_offset).url

    def client(self, username: str, password: str | None = None, **options: Any) -> AsyncClient:
        """A client of the gateway, as one of the first users or another one."""
        return AsyncClient(self.gateway, username=username, password=password or self.passwords[username], **options)

    def service_settings(self, service: str = FEED) -> ServiceSettings:
        """Settings with which a process is a service of this mesh."""
        return ServiceSettings(
            registry_address="",
            service_secret=derive_service_secret(self.mesh_secret, service),  # type: ignore[arg-type]  # pydantic wraps it
            auth_address=self.address("auth-service"),
            trading_address=self.address("trading-engine"),
        )

    async def service_token(self, service: str = FEED) -> str:
        """An access token of a service of this mesh."""
        secret = derive_service_secret(self.mesh_secret, service)
        async with aio.insecure_channel(self.address("auth-service")) as channel:
            request = IssueServiceTokenRequest(service=service, secret=secret)
            response = await AuthServiceStub(channel).IssueServiceToken(request, timeout=10)
        token: str = response.access_token
        return token

    def pid(self, service: str) -> int | None:
        """The process of a service, found by the port that it listens on."""
        port = port_of(service, self.port_offset)
        for connection in psutil.net_connections("tcp4"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                return int(connection.pid) if connection.pid else None
        return None

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to it: those that are told where its state is, and all that they started."""
        mark = str(self.state)
        told = [process for process in psutil.process_iter() if _mentions(process, mark)]
        found = {process.pid: process for process in told}
        for process in told:
            with contextlib.suppress(psutil.Error):
                found |= {child.pid: child for child in process.children(recursive=True)}
        return [process for process in found.values() if lives(process)]

    async def end(self) -> None:
        """Stops it, whatever state it is in."""
        with contextlib.suppress(Exception):
            await self.down()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)

    def log(self, name: str) -> str:
        """What a process has logged."""
        return (self.state / "logs" / f"{name}.log").read_text(errors="replace")

    def _ends_of_logs(self) -> str:
        logs = sorted((self.state / "logs").glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in logs)


@contextlib.asynccontextmanager
async def new_installation(*, environment: Mapping[str, str] | None = None) -> AsyncIterator[Installation]:
    """An installation that is not started yet; what still runs of it at the end is ended."""
    # Not under pytest's own folder, which is closed to the account that PostgreSQL drops to.
    with tempfile.TemporaryDirectory(prefix="aac-e2e-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        installation = Installation(Path(name), free_offset(), environment=environment)
        try:
            yield installation
        finally:
            await installation.end()


def _plain_environment(folder: Path) -> dict[str, str]:
    """The tests' environment without anything that is the platform's, and with a home of its own."""
    backends = {"DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", "ENVIRONMENT"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in backends and (not name.startswith("AAC_") or name == "AAC_CACHE_DIR")
    }
    return {
        **kept,
        "AAC_STATE_DIR": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'gen' / 'python'}",
    }


def lives(process: psutil.Process) -> bool:
    """Whether the process runs still."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _mentions(process: psutil.Process, mark: str) -> bool:
    try:
        if process.pid == os.getpid():
            return False
        return any(mark in argument for argument in process.cmdline()) or any(
            mark in value for value in process.environ().values()
        )
    except psutil.Error:
        return False
