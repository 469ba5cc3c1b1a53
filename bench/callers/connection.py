"""What the load loop sees of a connection, whatever its protocol."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

Done = Callable[[str], None]
"""Called when a call has its answer: with "" where it succeeded, else with how it failed."""


class Connection(Protocol):
    """An open connection on which one kind of call is made again and again."""

    def call(self, done: Done) -> None:
        """Makes the call."""


class Transport(asyncio.Protocol):
    """Keeps the transport, and fails what waits when the connection is lost."""

    def __init__(self) -> None:
        self._transport: Any = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Opens."""
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """Tells whoever waits."""
        self.lost = True
        self.fail_all("connection lost")

    def fail_all(self, reason: str) -> None:
        """Fails every call that has no answer."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes the connection."""
        if self._transport is not None:
            self._transport.abort()
