"""What the groups of calls share."""

from __future__ import annotations

import uuid

from aac_grpc.client.connection import Connection
from aac_grpc.client.reconnect import ReconnectPolicy


class Calls:
    """A group of calls on one connection."""

    _connection: Connection
    _reconnect: ReconnectPolicy | None


def new_key() -> str:
    """A client key that no other call has."""
    return uuid.uuid4().hex
