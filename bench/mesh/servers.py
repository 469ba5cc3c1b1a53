"""Servers of one small method, for the comparisons: grpc.aio alone, and ours with its whole chain."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from aac.marketdata.v1 import marketdata_pb2 as pb

from bench import cores
from bench.authority import Authority
from bench.callers.remote import RemoteCallers, calling
from bench.callers.target import Target
from bench.processes import START_TIMEOUT_S, free_port, program

PATH = "/aac.marketdata.v1.MarketDataService/GetQuotes"
REQUEST = pb.GetQuotesRequest(symbols=["GOOG"])
USERS = 50
"""Users whose tokens the connections take in turn."""
UNLIMITED = {"bench": {name: [1e9, 1e9] for name in ("READ", "STREAM")}}
"""Budgets that are charged and never used up."""
PATIENT = {"AAC_SHED_TARGET_S": "60"}
"""Load is watched and none is shed: what calls cost is compared, and those they are compared with shed none either."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server that runs, and callers that are ready."""

    pid: int
    address: str
    callers: RemoteCallers


def tokens(signer: Authority) -> list[str]:
    """Authorization of the users."""
    return [f"Bearer {signer.token(['market:read'], subject=f'user-{at}', plan='bench')}" for at in range(USERS)]


def quotes(address: str, credentials: Sequence[str], connections: int = 0) -> Target:
    """GetQuotes of one instrument."""
    message = base64.b64encode(REQUEST.SerializeToString()).decode()
    return Target("grpc", address, PATH, list(credentials), message, connections)


@asynccontextmanager
async def grpc_contestant(
    kind: str,
    signer: Authority,
    credentials: Sequence[str],
    settings: Mapping[str, str] | None = None,
    *,
    connections: int = 0,
) -> AsyncIterator[Contestant]:
    """One of the servers of `bench.spine.chain_servers` on the servers' core, and its callers on the other.

    Args:
        kind: "bare" or "chain".
        signer: Whose tokens it takes.
        credentials: Of the callers.
        settings: Environment of the server, on top of what it needs.
        connections: That the callers share; 0 gives each its own.
    """
    port = free_port()
    environment = {**grpc_settings(port, signer), **PATIENT, **(settings or {})}
    address = f"127.0.0.1:{port}"
    arguments = ("-m", "bench.spine.chain_servers", kind)
    async with program(*arguments, environment=environment, core=cores.SERVERS) as server:
        await ready(address)
        async with calling(quotes(address, credentials, connections), server.pid) as callers:
            yield Contestant(server.pid, address, callers)


def grpc_settings(port: int, signer: Authority) -> dict[str, str]:
    """Environment of a process that is a service by itself: nobody's quota is used up, and there is no registry."""
    return {
        "AAC_GRPC_PORT": str(port),
        "AAC_ADMIN_PORT": "0",
        "AAC_AUTH_ADDRESS": signer.address,
        "AAC_REGISTRY_ADDRESS": "",
        "AAC_RATE_LIMITS": json.dumps(UNLIMITED),
    }


async def ready(address: str) -> None:
    """Waits until a gRPC server takes calls.

    Raises:
        grpc.aio.AioRpcError, TimeoutError: It does not.
    """
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(START_TIMEOUT_S):
        await channel.channel_ready()
