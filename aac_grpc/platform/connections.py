"""The connection budget of the embedded PostgreSQL: what it takes is shared out among the processes that use it."""

from __future__ import annotations

from aac_grpc.backends.postgres import MAX_CONNECTIONS

RESERVED = 20
"""For superusers, people who look, and the making of the database's corners."""
BESIDE_THE_POOL = 2
"""Connections that a process may hold beside its pool's: its outbox relay's session, and one while it starts."""


def pool_size(processes: int, wanted: int) -> int:
    """The most connections that each process's pool may hold.

    Args:
        processes: How many processes share the server.
        wanted: What a pool holds where there is room.

    Raises:
        ValueError: The server has no room for so many processes.
    """
    share = (MAX_CONNECTIONS - RESERVED) // processes - BESIDE_THE_POOL
    if share < 1:
        raise ValueError(
            f"the embedded PostgreSQL takes {MAX_CONNECTIONS} connections: too few for {processes} processes"
        )
    return min(wanted, share)
