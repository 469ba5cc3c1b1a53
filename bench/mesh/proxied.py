"""A service and a gateway in front of it, and callers of either."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench import cores
from bench.authority import Authority
from bench.mesh.servers import grpc_settings, ready
from bench.processes import free_port, program

_ALONE = {"AAC_QUOTA_STORE": "local", "AAC_REVOCATION_WATCH": "false"}
"""Neither Redis nor auth-service is there."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """Both processes."""

    service_pid: int
    service: str
    """host:port."""
    gateway_pid: int
    gateway: str


@asynccontextmanager
async def proxied(
    signer: Authority, settings: Mapping[str, str] | None = None, *, gateway_core: int | None = cores.SERVERS
) -> AsyncIterator[Proxied]:
    """Market-data's double (`crowd_server`) and a gateway.

    Args:
        signer: Whose tokens they take.
        settings: Environment of both, on top of what they need.
        gateway_core: Where the gateway stays; the service is on the servers' core.
    """
    service_port, gateway_port = free_port(), free_port()
    service, gateway = f"127.0.0.1:{service_port}", f"127.0.0.1:{gateway_port}"
    common = {**_ALONE, **(settings or {})}
    inside = {**grpc_settings(service_port, signer), **common}
    outside = {**grpc_settings(gateway_port, signer), "AAC_MARKET_DATA_ADDRESS": service, **common}
    async with (
        program("-m", "bench.mesh.crowd_server", environment=inside, core=cores.SERVERS) as server,
        program("-m", "aac_grpc.cli.serve", "api-gateway", environment=outside, core=gateway_core) as proxy,
    ):
        for address in (service, gateway):
            await ready(address)
        yield Proxied(server.pid, service, proxy.pid, gateway)
