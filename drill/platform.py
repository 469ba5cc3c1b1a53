"""The platform that is drilled: one of its own, with several instances of each service."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

import psycopg
from aac.trading.v1.venue_pb2 import CreateVenueRequest, DeleteVenueRequest
from pydantic import SecretStr

from aac_grpc.backends.control import read_status
from aac_grpc.backends.postgres import Postgres
from aac_grpc.backends.spec import ProcessStatus
from aac_grpc.client import AsyncClient
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.feeds.runner import FEED, venue_service
from aac_grpc.platform.composition import ADMIN, AUTH, GATEWAY, SERVICES, TRADING, Platform
from aac_grpc.platform.replicas import parse_replicas
from bench.installation import new_installation
from bench.machine import ROOT
from bench.market import new_users, stock
from bench.processes import outputs
from drill.load import Trader

SYMBOL = "DRILL"
CASH = "1000000"
RESTART_WITHIN_S = 180.0
WRITER_WITHIN_S = 20.0
LEAVE_WITHIN_S = 20.0


class DrillPlatform:
    """A running platform, its venue for the drill, and who trades there.

    Attributes:
        venue: An isolated venue with the instrument `SYMBOL`.
        replicas: Instances of each service, at least.
    """

    def __init__(self, platform: Platform) -> None:
        self.venue = f"drill-{secrets.token_hex(4)}"
        self.replicas = min(len(platform.instances(service)) for service in SERVICES)
        self._platform = platform
        self._users: list[str] = []

    def client(self, username: str, password: str, timeout_s: float) -> AsyncClient:
        """A client that knows every gateway."""
        return AsyncClient(self._platform.addresses(GATEWAY), username=username, password=password, timeout=timeout_s)

    async def open_venue(self) -> None:
        """Makes the drill's venue."""
        async with venue_service(self._mesh_settings()) as venues:
            await venues.CreateVenue(CreateVenueRequest(venue=self.venue, instruments=[stock(SYMBOL)]))

    async def leave(self) -> None:
        """Removes the drill's venue, and disables its users."""
        async with venue_service(self._mesh_settings()) as venues:
            await venues.DeleteVenue(DeleteVenueRequest(venue=self.venue))
        async with self.client(ADMIN, self._platform.password(ADMIN), LEAVE_WITHIN_S) as admin:
            for name in self._users:
                await admin.disable_user(name)

    def _mesh_settings(self) -> ServiceSettings:
        """Settings with which the drill makes venues."""
        return ServiceSettings(
            registry_address="",
            service_secret=SecretStr(self._platform.service_secret(FEED)),
            auth_address=self._platform.addresses(AUTH),
            trading_address=self._platform.addresses(TRADING),
        )

    async def traders(self, stack: AsyncExitStack, count: int, timeout_s: float) -> list[Trader]:
        """Users with an account each; their clients close with the stack."""
        names = [f"drill{secrets.token_hex(3)}" for _ in range(count)]
        admin = partial(self.client, ADMIN, self._platform.password(ADMIN), timeout_s)
        self._users += names
        passwords = await new_users(admin, names, [self.venue], CASH)
        return [
            Trader(await stack.enter_async_context(self.client(name, password, timeout_s)), name)
            for name, password in zip(names, passwords, strict=True)
        ]

    def process(self, name: str) -> ProcessStatus:
        """What the supervisor knows of a process.

        Raises:
            RuntimeError: Nothing runs.
            StopIteration: There is no such process.
        """
        status = read_status(self._platform.state)
        if status is None:
            raise RuntimeError("the platform has ended")
        return next(one for one in status.processes if one.name == name)

    def names(self, part: str) -> list[str]:
        """The processes of a service or a backend."""
        return [one.name for one in self._platform.instances(part)] if part in SERVICES else [part]

    async def writer(self) -> str:
        """The process of the engine that writes the drill's venue."""
        url = Postgres(self._platform.state, self._platform.port_offset).url
        engines = {self._platform.address(TRADING, one.number): one.name for one in self._platform.instances(TRADING)}
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            async with asyncio.timeout(WRITER_WITHIN_S):
                while True:  # it may be handed over just now
                    found = await connection.execute(
                        """select address from trading_engine.engines
                        join trading_engine.leases on holder = instance
                        join trading_engine.venues using (venue_id)
                        where venue = %s and leases.expires_at > clock_timestamp()""",
                        (self.venue,),
                    )
                    if (row := await found.fetchone()) is not None:
                        return engines[row[0]]
                    await asyncio.sleep(0.05)

    async def command(self, *arguments: str) -> None:
        """Runs a command of the platform, such as `aac restart kafka`.

        Raises:
            RuntimeError: It failed.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aac_grpc.cli", *arguments),
            env={**os.environ, "AAC_STATE_DIR": str(self._platform.state.path)},
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await outputs(process, RESTART_WITHIN_S)
        if process.returncode:
            raise RuntimeError(f"aac {' '.join(arguments)} failed: {output[-500:]}")


@asynccontextmanager
async def drill_platform(replicas: int) -> AsyncIterator[DrillPlatform]:
    """Starts a platform with a venue for the drill; it ends with the block."""
    async with new_installation() as installation:
        await installation.up("--no-flow", "--replicas", str(replicas))
        platform = DrillPlatform(replace(installation.platform, replicas=parse_replicas([str(replicas)])))
        await platform.open_venue()
        yield platform
