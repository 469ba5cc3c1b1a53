"""market-data on real backends behind an engine double, and readers of its streams."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from aac.marketdata.v1 import marketdata_pb2 as pb
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceStub
from aac.type.v1 import stream_pb2

from aac_grpc.common.server import Server
from aac_grpc.servicers import market_data
from tests.integration.market_engine import EngineDouble, VenueDouble, engine_serving
from tests.integration.services import Caller
from tests.integration.trading import running
from tests.support import mesh

TRADES, QUOTES, DEPTH = stream_pb2.TOPIC_TRADES, stream_pb2.TOPIC_QUOTES, stream_pb2.TOPIC_DEPTH
SNAPSHOT, UPDATE, GAP = stream_pb2.FRAME_KIND_SNAPSHOT, stream_pb2.FRAME_KIND_UPDATE, stream_pb2.FRAME_KIND_GAP
HEARTBEAT, ITEM_STATUS = stream_pb2.FRAME_KIND_HEARTBEAT, stream_pb2.FRAME_KIND_ITEM_STATUS
DRAINING = stream_pb2.FRAME_KIND_DRAINING
WAIT_S = 10.0

Frame = pb.StreamResponse


def subscription(symbol: str, topic: int, venue: str = "", **fields: Any) -> pb.Subscription:
    """An item named after what it asks for."""
    return pb.Subscription(**{"id": f"{topic}:{symbol}", "venue": venue, "symbol": symbol, "topic": topic, **fields})


class Reader:
    """One market data stream, read in the background.

    Attributes:
        frames: Everything that came.
        status: How the stream ended; None while it has not.
    """

    def __init__(self, address: str, token: str) -> None:
        self.frames: list[Frame] = []
        self.status: grpc.StatusCode | None = None
        self._channel = grpc.aio.insecure_channel(address)
        self._call = MarketDataServiceStub(self._channel).Stream(metadata=mesh.bearer(token))
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._channel.close()

    async def send(self, *items: pb.Subscription, **fields: Any) -> None:
        """Sends one message."""
        await self._call.write(pb.StreamRequest(subscribe=items, **fields))

    async def done_writing(self) -> None:
        """Has no more to say."""
        await self._call.done_writing()

    async def until(self, holds: Callable[[], Any], timeout: float = WAIT_S) -> Any:
        """Waits until something holds of what came; returns it."""
        try:
            async with asyncio.timeout(timeout):
                while not (result := holds()):
                    self._news = asyncio.Event()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"did not come; there were {self.status} {self.frames[-20:]}") from None
        return result

    async def frame(self, kind: int, topic: int = 0, key: str = "", after: int = 0) -> Frame:
        """The first frame of a kind (and topic, and key) among those that came after so many others."""

        def find() -> Frame | None:
            return next(
                (
                    one
                    for one in self.frames[after:]
                    if one.header.kind == kind and topic in (0, one.header.topic) and key in ("", one.header.key)
                ),
                None,
            )

        return await self.until(find)

    async def answer(self, item_id: str, after: int = 0) -> Frame:
        """The status of an item."""

        def find() -> Frame | None:
            return next(
                (
                    one
                    for one in self.frames[after:]
                    if one.header.kind == ITEM_STATUS and one.header.item_id == item_id
                ),
                None,
            )

        return await self.until(find)

    def of(self, topic: int, key: str = "X") -> list[Frame]:
        """The frames of a topic."""
        kinds = (SNAPSHOT, UPDATE, GAP)
        return [
            one
            for one in self.frames
            if one.header.topic == topic and one.header.key == key and one.header.kind in kinds
        ]

    def trades(self, key: str = "X") -> list[int]:
        """Sequences of the trades that came, in the order in which they came."""
        return [trade.sequence for one in self.of(TRADES, key) for trade in one.trades]

    def levels(self, key: str = "X") -> list[int]:
        """Sequences of the level changes that came in updates."""
        return [level.sequence for one in self.of(DEPTH, key) if one.header.kind == UPDATE for level in one.levels]

    def book(self, key: str = "X") -> dict[tuple[int, str], str]:
        """The book that a reader keeps: (side, price) -> quantity."""
        book: dict[tuple[int, str], str] = {}
        for one in self.of(DEPTH, key):
            if one.header.kind == SNAPSHOT:
                book.clear()
            for level in one.levels:
                book[level.side, level.price] = level.quantity
        return {place: quantity for place, quantity in book.items() if quantity != "0"}

    async def _read(self) -> None:
        try:
            while (frame := await self._call.read()) is not grpc.aio.EOF:
                self.frames.append(frame)
                self._news.set()
        except grpc.aio.AioRpcError:
            pass
        self.status = await self._call.code()
        self._news.set()


@dataclass
class MarketStack:
    """An engine double and market-data, and callers of it.

    Attributes:
        engine: Its venues, and what goes wrong with them.
        engine_server: The double's server.
        server: market-data.
    """

    engine: EngineDouble
    engine_server: Server
    server: Server
    installation: Mapping[str, Any]
    signer: mesh.Signer
    auth: Server
    _exit: AsyncExitStack
    _names: Iterable[int] = field(default_factory=itertools.count)

    def venue(self, *symbols: str, **told: Any) -> VenueDouble:
        """A venue of the test's own that lists X and other symbols."""
        return self.engine.make(f"t-{secrets.token_hex(4)}", "X", *symbols, **told)

    def reader(self) -> Reader:
        """A stream on market-data."""
        return Reader(self.server.address, self._token())

    def caller(self) -> Caller:
        """A caller of market-data's methods."""
        caller = Caller(MarketDataServiceStub, self.server.address, token=self._token())
        self._exit.push_async_callback(caller.channel.close)
        return caller

    def _token(self) -> str:
        return self.signer.token(scopes=("market:read",))

    async def start(self) -> None:
        """Starts market-data."""
        place = {"trading_address": self.engine_server.address}
        self.server = await self._exit.enter_async_context(
            running(market_data.service, self.installation, self.auth, **place)
        )

    async def restart(self) -> None:
        """Stops market-data and starts another one on the same state."""
        await self.server.stop()
        await self.start()

    async def restart_engine(self, pause: float = 0.0) -> None:
        """Stops the engine's server and starts another one at the same address."""
        address = self.engine_server.address
        await self.engine_server.stop()
        await asyncio.sleep(pause)
        self.engine_server = await self._exit.enter_async_context(
            engine_serving(self.engine, self.auth.address, grpc_port=int(address.rpartition(":")[2]))
        )


@asynccontextmanager
async def market_stack(installation: Mapping[str, Any]) -> AsyncIterator[MarketStack]:
    """market-data with what it needs; the venue main lists nothing."""
    signer, engine = mesh.Signer(), EngineDouble()
    engine.make("main")
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(mesh.serving("auth-service", mesh.AuthDouble(signer)))
        served = await stack.enter_async_context(engine_serving(engine, auth.address))
        markets = MarketStack(engine, served, served, installation, signer, auth, stack)
        await markets.start()
        yield markets
