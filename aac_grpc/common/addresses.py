"""Where a server listens, and where others reach it."""

import asyncio
import socket

WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104 compared, not bound
"""Hosts that stand for every address of this machine, without brackets."""


def join(host: str, port: int) -> str:
    """host:port, with brackets around an IPv6 address."""
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


async def reachable(bound: str, peer: str) -> str:
    """Where others reach a server: where it is bound, or else at this machine's address on the way to a peer.

    Args:
        bound: host:port; the host may stand for every address of the machine.
        peer: host:port of somebody who asks where the server is, or several with commas between; nothing is sent.
    """
    host, _, port = bound.rpartition(":")
    if host.strip("[]") not in WILDCARDS:
        return bound
    peer_host, _, peer_port = peer.partition(",")[0].strip().rpartition(":")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            peer_host.strip("[]") or "localhost", peer_port or 1, type=socket.SOCK_DGRAM
        )
        with socket.socket(found[0][0], socket.SOCK_DGRAM) as probe:
            probe.connect(found[0][4])
            return join(probe.getsockname()[0], int(port))
    except OSError:  # nobody knows the peer, or no way leads there
        return join("127.0.0.1", int(port))
