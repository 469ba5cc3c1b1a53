"""The platform's services as the supervisor runs them, or programs in their place, on shared backends."""

import dataclasses
import itertools
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import psutil
from aac.trading.v1.venue_pb2 import CreateVenueRequest
from pydantic import SecretStr

from aac_grpc.backends.forked import FORK_SERVER
from aac_grpc.backends.spec import ProcessSpec
from aac_grpc.backends.state import StateDirectory
from aac_grpc.backends.supervisor import Supervisor
from aac_grpc.client import AsyncClient
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.feeds.runner import FEED, venue_service
from aac_grpc.platform.composition import ADMIN, AUTH, GATEWAY, REGISTRY, TRADING, Platform
from bench.installation import free_offset
from bench.load import closed_loop
from bench.market import new_users, stock

CALLERS = 20
SYMBOL = "GOOG"
UNLIMITED = {"AAC_RATE_LIMITS": "{}"}


class Fleet:
    """The six services, all ready.

    Attributes:
        processes: Theirs, and the fork server's where there is one. The registry, which runs beside them, is none.
    """

    def __init__(self, platform: Platform, processes: Sequence[psutil.Process]) -> None:
        self._platform = platform
        self.processes = processes

    async def use(self, rounds: int) -> None:
        """Has each service answer so many calls, as users make them: through the gateway.

        Raises:
            RuntimeError: Calls failed.
        """
        venue, name = f"fleet-{secrets.token_hex(4)}", f"fleet{secrets.token_hex(4)}"
        settings = ServiceSettings(
            registry_address="",
            service_secret=SecretStr(self._platform.service_secret(FEED)),
            auth_address=self._platform.address(AUTH),
            trading_address=self._platform.address(TRADING),
        )
        async with venue_service(settings) as venues:
            await venues.CreateVenue(CreateVenueRequest(venue=venue, instruments=[stock(SYMBOL)]))
        admin = partial(self._client, ADMIN, self._platform.password(ADMIN))
        (password,) = await new_users(admin, [name], [venue], "1000000000")
        async with self._client(name, password) as client:
            sides = itertools.cycle(("buy", "sell"))

            async def call(number: int) -> None:
                await client.place_order(SYMBOL, next(sides), 1, price=f"{100 + number % 5}.00", venue=venue)
                await client.quotes([SYMBOL], venue=venue)
                await client.limits(venue=venue)
                await client.performance(venue=venue)
                await client.overview(venue=venue)

            load = await closed_loop(call, callers=CALLERS, calls=rounds)
        if load.failures:
            raise RuntimeError(f"calls failed: {load.describe()}")

    def _client(self, username: str, password: str) -> AsyncClient:
        return AsyncClient(self._platform.address(GATEWAY), username=username, password=password, timeout=60.0)


@asynccontextmanager
async def fleet(state: StateDirectory, urls: Mapping[str, str], module: str | None = None) -> AsyncIterator[Fleet]:
    """Starts the registry and the six services.

    Args:
        state: Theirs.
        urls: Of the backends.
        module: Program that is run as `python -m MODULE NAME` in place of each; None runs what users run, forked.

    Raises:
        ProcessFailed: One did not become ready.
    """
    platform = Platform(state, free_offset(), urls, {}, (), None)
    async with Supervisor(state) as supervisor:
        if module is None:
            await supervisor.start([platform.fork_server()])
        await supervisor.start([_program(spec, module) for spec in platform.processes()])
        running = {one.name: one.pid for one in supervisor.status().processes if one.name != REGISTRY}
        if module is None and FORK_SERVER not in running:
            raise RuntimeError("there is no fork server")
        yield Fleet(platform, [psutil.Process(pid) for pid in running.values() if pid is not None])


def _program(spec: ProcessSpec, module: str | None) -> ProcessSpec:
    environment = {**spec.env, **UNLIMITED}
    if spec.name == REGISTRY:  # always as a process by itself: forked, it would take its share of what the six share
        return dataclasses.replace(spec, env=environment, fork_server=None)
    if module is None:
        return dataclasses.replace(spec, env=environment)
    python, option, _, *arguments = spec.argv
    return dataclasses.replace(spec, argv=(python, option, module, *arguments), env=environment, fork_server=None)
