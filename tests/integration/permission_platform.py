"""Every service of the contract, the registry and the gateway in this process, and a service with the arities left."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import structlog
from grpc import aio

from aac_grpc.common.contract import Contract, MethodPolicy, platform_contract
from aac_grpc.common.server import Server, Service
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.registry import service as registry
from tests.integration.credentials import ACCOUNT, Wallet, new_wallet
from tests.integration.gateway_platform import GatewayPlatform, gateway_platform
from tests.integration.services import eventually, free_address, serving
from tests.support.permission_matrix import GATEWAY_SERVICE, Cell, Entrance, Row, cells, rows
from tests.support.ping import PingServicer, ping_pb2

CONTRACT = platform_contract()
PING = Contract([ping_pb2.DESCRIPTOR])
"""Made as the contract is. It has the arities that no method of the contract has (yet), with an account in each."""


@dataclass
class PermissionPlatform:
    """Where every method is served.

    Attributes:
        platform: The services and the gateway.
        wallet: Credentials of it.
        gateway: A channel to the gateway.
        services: Channels by package, such as "aac.risk.v1".
    """

    platform: GatewayPlatform
    wallet: Wallet
    gateway: aio.Channel
    services: Mapping[str, aio.Channel] = field(default_factory=dict)

    def channel(self, policy: MethodPolicy, entrance: Entrance) -> aio.Channel:
        """Where a method is asked."""
        return self.gateway if entrance is Entrance.GATEWAY else self.services[policy.service.rpartition(".")[0]]

    def rows(self) -> list[Row]:
        """Every method, directly and through the gateway, whose own methods are asked there only."""
        at_services = [policy for policy in (*CONTRACT, *PING) if policy.service != GATEWAY_SERVICE]
        return [*rows(at_services, Entrance.SERVICE, ACCOUNT), *rows(CONTRACT, Entrance.GATEWAY, ACCOUNT)]

    def cells(self) -> list[Cell]:
        """Every row with every credential."""
        return cells(self.rows(), self.wallet.kinds())

    def cells_at_home(self, *kinds: str) -> list[Cell]:
        """These kinds at the services that serve the methods, rather than at a gateway that forwards them."""
        made = self.wallet.kinds()
        here = [row for row in self.rows() if row.entrance is Entrance.SERVICE or row.policy.service == GATEWAY_SERVICE]
        return cells(here, {kind: made[kind] for kind in kinds})


@asynccontextmanager
async def permission_platform(backends: Mapping[str, str]) -> AsyncIterator[PermissionPlatform]:
    """All of it on a database of its own. Lines of refused calls are not logged: there are thousands."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        async with AsyncExitStack() as stack:
            registry_address = free_address()
            platform = await stack.enter_async_context(gateway_platform(backends, registry_address=registry_address))
            services, installation = platform.services, platform.gateway_settings()
            servers = {
                "aac.auth.v1": services.auth,
                "aac.trading.v1": services.engine,
                "aac.marketdata.v1": services.market_data,
                "aac.risk.v1": services.risk,
                "aac.analytics.v1": services.analytics,
                "aac.registry.v1": await stack.enter_async_context(
                    serving(registry, installation, grpc_port=int(registry_address.rpartition(":")[2]))
                ),
                "aac.testing.v1": await stack.enter_async_context(ping_serving(platform)),
            }
            scopes = frozenset(policy.scope for policy in (*CONTRACT, *PING)) - {""}
            wallet = await new_wallet(services.auth, platform.installation["database_url"], scopes)

            # What was revoked a moment ago is refused everywhere within a second.
            for server in (*servers.values(), platform.gateway):
                await eventually(_knows(server, len(wallet.revoked)))

            async def channel(server: Server) -> aio.Channel:
                return await stack.enter_async_context(aio.insecure_channel(server.address))

            yield PermissionPlatform(
                platform,
                wallet,
                gateway=await channel(platform.gateway),
                services={package: await channel(server) for package, server in servers.items()},
            )
    finally:
        structlog.reset_defaults()


def _knows(server: Server, revocations: int) -> Callable[[], Awaitable[bool]]:
    async def knows() -> bool:
        return len(server.resources.revocations) >= revocations

    return knows


@asynccontextmanager
async def ping_serving(platform: GatewayPlatform, servicer: PingServicer | None = None) -> AsyncIterator[Server]:
    """The service with every arity, as one of the platform."""
    answering = [servicer or PingServicer()]
    service = Service(name="analytics", settings=ServiceSettings, build=lambda resources: answering)
    async with serving(service, platform.gateway_settings()) as server:
        yield server
