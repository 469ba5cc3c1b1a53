"""Who calls, and whom: the target, and the session that `aac login` or the local installation gives."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from aac_grpc.cli.failures import WrongUsage
from aac_grpc.client.aio import DEFAULT_TARGET, AsyncClient
from aac_grpc.client.models import Tokens


@dataclass(frozen=True, slots=True)
class Installation:
    """What `aac up` wrote down about the platform of this checkout."""

    gateway: str
    """host:port; of several gateways, with commas between."""
    users: dict[str, str]
    """Passwords by user name."""

    @classmethod
    def find(cls) -> Installation | None:
        """Reads the local installation's credentials; None where there is none, or it is another account's."""
        from aac_grpc.backends.state import StateDirectory

        return cls.read(StateDirectory.default().path / "credentials.json")

    @classmethod
    def read(cls, path: Path) -> Installation | None:
        """Reads a file of credentials; None where there is none."""
        try:
            document = json.loads(path.read_text())
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            return None
        return cls(",".join(document.get("gateways", [document["gateway"]])), document["users"])


class SessionStore:
    """Tokens of sessions by target and user, in a file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        """Names the file; it is made with the first session."""
        self._path = path

    @classmethod
    def default(cls) -> SessionStore:
        """The file in the user's configuration directory (XDG)."""
        base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        return cls(Path(base) / "aac" / "sessions.json")

    def get(self, target: str, username: str) -> Tokens | None:
        """The user's tokens at a target."""
        found = self._read().get(target, {}).get(username)
        return None if found is None else _tokens(found)

    def current(self, target: str) -> str | None:
        """Who logged in at a target last."""
        name: str | None = self._read().get(target, {}).get("")
        return name

    def put(self, target: str, username: str, tokens: Tokens) -> None:
        """Keeps the user's tokens."""
        with self._changing() as sessions:
            sessions.setdefault(target, {})[username] = {
                "access_token": tokens.access_token,
                "access_expires_at": tokens.access_expires_at.isoformat(),
                "refresh_token": tokens.refresh_token,
                "refresh_expires_at": tokens.refresh_expires_at.isoformat(),
            }

    def choose(self, target: str, username: str) -> None:
        """Makes the user the one that commands act as at a target."""
        with self._changing() as sessions:
            sessions.setdefault(target, {})[""] = username

    def forget(self, target: str, username: str) -> None:
        """Drops the user's tokens."""
        with self._changing() as sessions:
            known = sessions.get(target, {})
            known.pop(username, None)
            if known.get("") == username:
                del known[""]

    def _read(self) -> dict[str, Any]:
        try:
            sessions: dict[str, Any] = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return sessions

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            sessions = self._read()
            yield sessions
            fresh = self._path.with_suffix(".new")
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
                json.dump(sessions, stream, indent=2)
            fresh.replace(self._path)
        finally:
            os.close(lock)


def find_target(given: str) -> str:
    """The gateway: as given, else the local installation's, else the usual port.

    Raises:
        WrongUsage: What is given is no address.
    """
    if given:
        for address in given.split(","):
            host, _, port = address.rpartition(":")
            if "/" in host or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
                raise WrongUsage(
                    "invalid --target",
                    fields={"--target": f"{address!r} is not host:port, with a port of 1 to 65535"},
                    remedy=f"write such as {DEFAULT_TARGET}; of several gateways, with commas between",
                )
        return given
    installation = Installation.find()
    return installation.gateway if installation is not None else DEFAULT_TARGET


class NotRunning(Exception):
    """The local installation does not run."""


def require_running(target: str) -> None:
    """Says at once that the local installation does not run, where calls would try for their whole time.

    Raises:
        NotRunning: The target is the local installation's, no supervisor holds it and nobody listens there.
    """
    installation = Installation.find()
    if installation is None or installation.gateway != target:
        return
    from aac_grpc.backends.state import StateDirectory

    state = StateDirectory.default()
    if state.holder() is None and not any(_listens(address) for address in target.split(",")):
        raise NotRunning(f"nothing runs on {state.path}; start it with `aac up`")


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


class NotSignedIn(Exception):
    """There is no session to act with."""


def connect(target: str, api_key: str, user: str, preferred: str) -> AsyncClient:
    """A client of a target, on the running event loop.

    Args:
        target: host:port of the gateway.
        api_key: Goes before every session.
        user: Of the local installation, or of a session; empty takes who logged in last, else `preferred`.
        preferred: Of the local installation, where the target is that.

    Raises:
        NotSignedIn: There is no session of that user, and it is not one of the local installation.
    """
    if api_key:
        return AsyncClient(target, api_key=api_key)
    store = SessionStore.default()
    installation = Installation.find()
    local = installation.users if installation is not None and installation.gateway == target else {}
    name = user or store.current(target) or (preferred if preferred in local else "")
    tokens = store.get(target, name) if name else None
    keep = _keeper(store, target, name)
    if name in local:
        return AsyncClient(target, username=name, password=local[name], tokens=tokens, on_tokens=keep)
    if tokens is not None:
        return AsyncClient(target, tokens=tokens, on_tokens=keep)
    if user:
        raise NotSignedIn(f"the user {user!r} is not signed in at {target}; run `aac login {user}`")
    return AsyncClient(target)


def _keeper(store: SessionStore, target: str, username: str) -> Callable[[Tokens], None]:
    return lambda tokens: store.put(target, username, tokens)


def _tokens(document: dict[str, str]) -> Tokens:
    return Tokens(
        access_token=document["access_token"],
        access_expires_at=datetime.fromisoformat(document["access_expires_at"]),
        refresh_token=document["refresh_token"],
        refresh_expires_at=datetime.fromisoformat(document["refresh_expires_at"]),
    )
