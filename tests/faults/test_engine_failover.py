"""Two engine processes on one state, under load at both: one is killed, frozen or stopped, and nothing is lost."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import psutil
import psycopg
import pytest
from aac.trading.v1 import trading_pb2 as pb
from aac.trading.v1 import venue_pb2
from aac.type.v1 import stream_pb2
from psycopg.rows import dict_row

from tests.faults.test_trading_crashes import check_clients, check_ledger, make_venue, merged
from tests.faults.trading_process import Client, EngineProcess, Scene, scene
from tests.integration.services import eventually, new_installation
from tests.integration.trading import instrument

VENUE = "crash"
SETTINGS = {"AAC_VENUE_LEASE_S": "2.0", "AAC_RISK_TIMEOUT_S": "4"}
"""Risk-management runs in the test's own process, which may have much to do."""
ACCOUNTS = ("alice", "bob")


@dataclass
class Follower:
    """Follows a stream at one engine; notes what came, and connects again where it is told to."""

    client: Client
    request: Any
    sequences: list[int] = field(default_factory=list)
    opened: int = 0
    gaps: int = 0

    async def run(self) -> None:
        while True:
            caller = self.client.caller(_stub_of(self.request))
            try:
                await self._follow(caller)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)
            finally:
                await caller.channel.close()

    async def _follow(self, caller: Any) -> None:
        orders = isinstance(self.request, pb.WatchOrdersRequest)
        call = caller.stream("WatchOrders" if orders else "FollowMarket", self.request)
        self.opened += 1
        try:
            while (frame := await call.read()) is not grpc.aio.EOF:
                header = frame.header
                if header.kind == stream_pb2.FRAME_KIND_GAP:
                    self.gaps += 1
                if header.kind == stream_pb2.FRAME_KIND_UPDATE:
                    self.sequences += range(header.first_sequence, header.sequence + 1)
                if header.kind in (stream_pb2.FRAME_KIND_UPDATE, stream_pb2.FRAME_KIND_SNAPSHOT) and header.epoch:
                    self._stand_at(header)
        finally:
            call.cancel()

    def _stand_at(self, header: Any) -> None:
        if isinstance(self.request, pb.WatchOrdersRequest):
            self.request.resume.epoch, self.request.resume.sequence = header.epoch, header.sequence
            self.request.resume.key, self.request.resume.topic = header.key, header.topic
        else:
            self.request.epoch, self.request.after_sequence = header.epoch, header.sequence


def _stub_of(request: Any) -> Any:
    from aac.trading.v1.trading_pb2_grpc import TradingServiceStub
    from aac.trading.v1.venue_pb2_grpc import VenueServiceStub

    return TradingServiceStub if isinstance(request, pb.WatchOrdersRequest) else VenueServiceStub


@dataclass
class Pair:
    """The two engines, and what goes on at them."""

    stage: Scene
    writer: EngineProcess
    other: EngineProcess
    clients: list[Client] = field(default_factory=list)
    survivors: list[Client] = field(default_factory=list)
    """Clients of the engine that nothing happens to."""
    followers: list[Follower] = field(default_factory=list)

    def at(self, engine: EngineProcess, account: str, seed: int) -> Client:
        client = Client(engine.address, self.stage.signer, VENUE, account, seed)
        self.clients.append(client)
        if engine is self.other:
            self.survivors.append(client)
        return client

    def follow(self, engine: EngineProcess) -> None:
        """Follows the venue's events and an account's orders."""
        client = Client(engine.address, self.stage.signer, VENUE, "alice", 0)
        self.followers += [
            Follower(client, venue_pb2.FollowMarketRequest(venue=VENUE)),
            Follower(client, pb.WatchOrdersRequest(venue=VENUE, account_id="alice")),
        ]

    async def check(self) -> None:
        """Nothing acknowledged is lost or doubled, all adds up, and no stream has missed or repeated anything."""
        for client in self.clients:
            client.address = self.other.address
        await check_clients([merged(self.clients, name) for name in ACCOUNTS])
        await check_ledger(self.stage)
        last = await self._last_sequences()
        for follower in self.followers:
            orders = isinstance(follower.request, pb.WatchOrdersRequest)

            async def is_there(follower: Follower = follower, wanted: int = last[orders]) -> bool:
                return bool(follower.sequences) and follower.sequences[-1] >= wanted

            await eventually(is_there, 20)
            first = follower.sequences[0]
            assert follower.sequences == list(range(first, first + len(follower.sequences)))
            assert not follower.gaps

    async def _last_sequences(self) -> tuple[int, int]:
        """Of the venue's events, and of alice's order events."""
        async with await psycopg.AsyncConnection.connect(
            self.stage.installation["database_url"], row_factory=dict_row
        ) as connection:
            cursor = await connection.execute(
                """select max(last_sequence) as events, (select max(last_order_sequence)
                    from trading_engine.journal_accounts where account_id = 'alice') as orders
                from trading_engine.journal join trading_engine.venues using (venue_id) where venue = %s""",
                (VENUE,),
            )
            row = await cursor.fetchone()
        assert row is not None
        return row["events"], row["orders"]


@pytest.fixture
async def pair(backends: dict[str, str]) -> AsyncIterator[Pair]:
    async with new_installation(backends) as installation, scene(installation) as stage:
        stage.engine.start(**SETTINGS)
        await stage.engine.ready()
        await make_venue(stage)
        other = stage.another_engine()
        try:
            other.start(**SETTINGS)
            await other.ready()
            yield await settled(stage, other)
        finally:
            other.kill()


async def settled(stage: Scene, other: EngineProcess) -> Pair:
    """The engines once they have shared the venues: one of two each."""
    found: dict[str, str] = {}

    async def shared() -> bool:
        async with await psycopg.AsyncConnection.connect(stage.installation["database_url"]) as connection:
            cursor = await connection.execute(
                """select venue, address from trading_engine.leases join trading_engine.venues using (venue_id)
                join trading_engine.engines on instance = holder where leases.expires_at > clock_timestamp()"""
            )
            found.update(dict(await cursor.fetchall()))
        return len(set(found.values())) == 2

    await eventually(shared, 30)
    engines = {stage.engine.address: stage.engine, other.address: other}
    writer = engines.pop(found[VENUE])
    return Pair(stage, writer, engines.popitem()[1])


@contextlib.asynccontextmanager
async def load(pair: Pair) -> AsyncIterator[None]:
    """Clients trade at both engines, and streams are followed at both, while the block runs."""
    for seed in range(2):
        for name in ACCOUNTS:
            pair.at(pair.other, name, seed)
            pair.at(pair.writer, name, 10 + seed)
    for engine in (pair.writer, pair.other):
        pair.follow(engine)
    enough = asyncio.Event()
    following = [asyncio.create_task(follower.run()) for follower in pair.followers]
    trading = [asyncio.create_task(client.trade(enough)) for client in pair.clients]
    try:
        await asyncio.sleep(1)
        yield
        enough.set()
        await asyncio.gather(*trading)
        await pair.check()
    finally:
        for task in (*trading, *following):
            task.cancel()
        await asyncio.gather(*trading, *following, return_exceptions=True)


async def more_answers(clients: Sequence[Client]) -> None:
    """Waits until each client has got some more answers."""
    before = [len(client.answers) for client in clients]

    async def got() -> bool:
        return all(len(client.answers) >= count + 5 for client, count in zip(clients, before, strict=True))

    await eventually(got, 40)


def stall(clients: Sequence[Client]) -> float:
    return max(client.longest_s for client in clients)


async def test_the_writer_is_killed_and_calls_at_the_other_engine_do_not_fail(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    async with load(pair):
        pair.writer.kill()
        await more_answers(pair.survivors)
        pair.writer.start(**SETTINGS)
        await pair.writer.ready()
        await asyncio.sleep(0.5)
    assert not [failure for client in pair.survivors for failure in client.failures]
    assert all(follower.opened == 1 for follower in pair.followers if follower.client.address == pair.other.address)
    with capsys.disabled():
        print(f"\nSIGKILL of the writer: longest call at the other engine {stall(pair.survivors):.2f} s")


async def test_the_writer_freezes_and_writes_nothing_more_when_it_wakes_up(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    async with load(pair):
        pair.writer.signal(signal.SIGSTOP)
        await more_answers(pair.survivors)
        pair.writer.signal(signal.SIGCONT)
        # Clients of the process that was frozen go on there: it hands their calls on.
        await more_answers([client for client in pair.clients if client not in pair.survivors])
    assert not [failure for client in pair.survivors for failure in client.failures]
    with capsys.disabled():
        print(f"\nSIGSTOP of the writer: longest call at the other engine {stall(pair.survivors):.2f} s")


async def test_a_writer_that_freezes_between_statement_and_commit_keeps_no_lock(
    backends: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    async with new_installation(backends) as installation, scene(installation) as stage:
        stage.engine.start(**SETTINGS, AAC_FAILPOINT="before_commit:30:stop")
        await stage.engine.ready()
        await make_venue(stage)
        # The one that the engine gives up when another shares the venues: the latest.
        service = stage.service()
        await service.CreateVenue(venue_pb2.CreateVenueRequest(venue="spare", instruments=[instrument()]))
        await service.channel.close()
        other = stage.another_engine()
        try:
            other.start(**SETTINGS)
            await other.ready()
            pair = Pair(stage, stage.engine, other)
            enough = asyncio.Event()
            clients = [pair.at(other, name, seed) for seed in range(2) for name in ACCOUNTS]
            trading = [asyncio.create_task(client.trade(enough)) for client in clients]
            assert stage.engine.process is not None
            frozen = psutil.Process(stage.engine.process.pid)

            async def stopped() -> bool:
                return frozen.status() == psutil.STATUS_STOPPED

            await eventually(stopped, 40)
            await more_answers(clients)
            stage.engine.signal(signal.SIGCONT)
            await more_answers(clients)
            enough.set()
            await asyncio.gather(*trading)
            await pair.check()
            assert not [failure for client in clients for failure in client.failures]
            with capsys.disabled():
                print(f"\nSIGSTOP before COMMIT: longest call at the other engine {stall(clients):.2f} s")
        finally:
            other.kill()


@pytest.mark.slow
async def test_the_writer_is_told_to_stop_and_hands_its_venue_over(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    async with load(pair):
        began = time.monotonic()
        pair.writer.signal(signal.SIGTERM)
        assert pair.writer.process is not None
        async with asyncio.timeout(30):
            while pair.writer.process.poll() is None:  # noqa: ASYNC110 another process
                await asyncio.sleep(0.02)
        stopped = time.monotonic() - began
        pair.writer.start(**SETTINGS)
        await pair.writer.ready()
        await asyncio.sleep(0.5)
    assert not [failure for client in pair.survivors for failure in client.failures]
    with capsys.disabled():
        print(f"\nSIGTERM of the writer: longest call at the other engine {stall(pair.survivors):.2f} s")
        print(f"it stopped in {stopped:.2f} s")
