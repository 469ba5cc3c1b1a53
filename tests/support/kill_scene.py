"""A venue in which clients trade while services are killed: what they are told, and the streams beside them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal

from grpc import aio

from aac_grpc.client import AsyncClient
from aac_grpc.client.channel import channel_options
from aac_grpc.client.models.accounts import Limits
from tests.support.client_log import ClientLog
from tests.support.installation import Installation
from tests.support.markets import Trader
from tests.support.order_load import LoadClient
from tests.support.sdk_follower import SdkFollower
from tests.support.stream_log import MarketFollower, OrderFollower, until

SYMBOL = "KILL"
RATE = 20.0
"""Orders a second that each client tries to place."""
DEPOSIT = Decimal(100_000_000)
OWN_LIMIT = Decimal(77)
"""Of each account, for the size of an order."""
PATIENCE_S = 60.0
"""How long clients wait for a service that is away."""


class Scene:
    """Clients that trade in one venue, what they log, and streams that are followed beside them."""

    def __init__(self, platform: Installation, traders: list[Trader], venue: str, seed: str) -> None:
        self.platform = platform
        self.traders = traders
        self.venue = venue
        self._seed = seed
        self._exit = contextlib.AsyncExitStack()
        self.log = ClientLog()
        self.clients: dict[str, AsyncClient] = {}
        self.followers: list[OrderFollower] = []
        self.market: MarketFollower
        self.sdk: SdkFollower

    async def __aenter__(self) -> "Scene":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def prepare(self) -> None:
        """Opens the accounts, signs everybody in, and opens the streams."""
        async with self.platform.client("admin") as admin:
            for trader in self.traders:
                await admin.open_account(trader.account, DEPOSIT, "USD", allow_short=True, venue=self.venue)
                await admin.set_limits(trader.account, Limits(max_order_quantity=OWN_LIMIT), venue=self.venue)
        channel = await self._exit.enter_async_context(
            aio.insecure_channel(self.platform.gateway, options=channel_options())
        )
        for trader in self.traders:
            client = self.platform.client(trader.username, trader.password, timeout=PATIENCE_S)
            self.clients[trader.account] = await self._exit.enter_async_context(client)
            # A key lives for as long as the test does; the gateway exchanges it for short tokens.
            key = (("x-api-key", (await client.create_api_key("streams")).secret),)
            self.followers.append(OrderFollower(channel, key, self.venue, trader.account))
        self.market = MarketFollower(channel, key, self.venue, SYMBOL)
        self.sdk = SdkFollower(client, trader.account, self.venue, SYMBOL)
        for follower in (*self.followers, self.market, self.sdk):
            follower.start()
            self._exit.push_async_callback(follower.stop)
        assert await until(lambda: all(one.log.epoch for one in self.followers), 10.0)
        async with asyncio.timeout(10.0):
            await self.sdk.orders_begun.wait()
            await self.sdk.depth_begun.wait()
        assert await until(lambda: bool(self.market.depth.epoch and self.market.trades.epoch), 10.0)

    @contextlib.asynccontextmanager
    async def trading(self) -> AsyncIterator[None]:
        """Lets all clients trade while the block runs, and waits for the last answers."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number, (account, client) in enumerate(self.clients.items()):
                load = LoadClient(client, account, self.venue, SYMBOL, self.log, f"{self._seed}-{number}", RATE)
                group.create_task(load.run(stop))
            try:
                yield
            finally:
                stop.set()

    def check_streams(self) -> None:
        """Raises what a follower found."""
        for follower in (*self.followers, self.market, self.sdk):
            follower.check()
