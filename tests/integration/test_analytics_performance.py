"""Performance: from executions on Kafka, each counted once, and again from the beginning when told so."""

import math
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aac.analytics.v1.analytics_pb2 import GetPerformanceRequest, GetPerformanceResponse
from aac.analytics.v1.analytics_pb2_grpc import AnalyticsServiceStub
from aac.event.v1.event_pb2 import AccountEvent, Event, ExecutionEvent
from aac.trading.v1.order_pb2 import Execution
from aac.type.v1.market_pb2 import SIDE_BUY, SIDE_SELL
from aac.type.v1.money_pb2 import Money
from aac.type.v1.page_pb2 import TimeRange
from google.protobuf.timestamp_pb2 import Timestamp

from aac_grpc.client.errors import InvalidFields, PermissionDenied
from aac_grpc.common.events import EventPublisher, outgoing
from aac_grpc.common.server import Server
from aac_grpc.common.topics import ACCOUNTS, EXECUTIONS
from aac_grpc.common.types import money
from aac_grpc.servicers import analytics
from tests.integration.services import DEMO, Caller, Callers, auth_serving, eventually, serving, sign_in

GENERATION = secrets.randbelow(10**9) + 1


@pytest.fixture(scope="module")
async def auth(installation: dict[str, Any]) -> AsyncIterator[Server]:
    async with auth_serving(installation) as server:
        yield server


@pytest.fixture(scope="module")
async def server(installation: dict[str, Any], auth: Server) -> AsyncIterator[Server]:
    settings = {"auth_address": auth.address, "projection_generation": GENERATION}
    async with serving(analytics.service, installation, **settings) as server:
        yield server


@pytest.fixture(scope="module")
async def publisher(installation: dict[str, Any]) -> AsyncIterator[EventPublisher]:
    publisher = EventPublisher(installation["kafka_bootstrap_servers"])
    await publisher.start()
    yield publisher
    await publisher.stop()


@pytest.fixture
async def demo(callers: Callers, auth: Server, server: Server) -> Caller:
    tokens = (await sign_in(auth.address, *DEMO)).tokens
    return callers.add(AnalyticsServiceStub, server, token=tokens.access_token)


@pytest.fixture
def venue() -> str:
    """A venue that no other test has used."""
    return f"v-{secrets.token_hex(4)}"


def execution(venue: str, number: int, pnl: int, *, symbol: str = "GOOG", position: str = "1") -> Event:
    """The account's n-th execution, in the n-th second: 2 at 570.12, which realized whole dollars."""
    return Event(
        event_id=f"{venue}/{number}",
        type="aac.execution.created",
        key=f"{venue}/demo",
        sequence=number,
        venue=venue,
        execution=ExecutionEvent(
            execution=Execution(
                venue=venue,
                account_id="demo",
                symbol=symbol,
                side=SIDE_BUY if number % 2 else SIDE_SELL,
                price="570.12",
                quantity="2",
                position_after=position,
                realized_pnl=money("USD", pnl * 10**8),
                sequence=number,
                executed_at=Timestamp(seconds=number),
            ),
            cash_after=Money(currency="USD", amount="1"),
        ),
    )


async def publish(publisher: EventPublisher, *events: Event, topic: str = EXECUTIONS) -> None:
    await publisher.publish_all([outgoing(event, topic) for event in events])


async def performance(caller: Caller, venue: str, executions: int, **request: Any) -> GetPerformanceResponse:
    """The account's performance once so many executions are counted."""
    found = GetPerformanceResponse()

    async def counted() -> bool:
        nonlocal found
        found = await caller.GetPerformance(GetPerformanceRequest(venue=venue, **request))
        return found.total.executions >= executions

    await eventually(counted, seconds=30)
    return found


async def test_performance_is_that_of_the_accounts_executions(
    demo: Caller, publisher: EventPublisher, venue: str
) -> None:
    pnl = [0, 10, 0, -4, 0, -8, 0, 20]
    for number, profit in enumerate(pnl, 1):
        await publish(publisher, execution(venue, number, profit, symbol="GOOG" if number <= 4 else "MSFT"))
    response = await performance(demo, venue, 8)
    total = response.total
    assert response.account_id == "demo"
    assert (total.realized_pnl, total.turnover) == (money("USD", 18 * 10**8), Money(currency="USD", amount="9121.92"))
    assert (total.wins, total.losses, total.win_rate, total.profit_factor) == (2, 2, 0.5, 2.5)
    assert (total.gross_profit.amount, total.gross_loss.amount, total.max_drawdown.amount) == ("30", "-12", "12")
    assert (total.first_at.seconds, total.last_at.seconds) == (1, 8)
    assert [(one.symbol, one.realized_pnl.amount) for one in response.instruments] == [("GOOG", "6"), ("MSFT", "12")]


async def test_a_range_counts_only_what_is_inside(demo: Caller, publisher: EventPublisher, venue: str) -> None:
    await publish(publisher, *(execution(venue, number, number) for number in range(1, 7)))
    await performance(demo, venue, 6)
    inside = TimeRange(start=Timestamp(seconds=2), end=Timestamp(seconds=4))
    response = await performance(demo, venue, 0, range=inside)
    assert (response.total.executions, response.total.realized_pnl.amount) == (2, "5")


async def test_an_event_that_comes_twice_counts_once(demo: Caller, publisher: EventPublisher, venue: str) -> None:
    once = [execution(venue, number, 1) for number in range(1, 4)]
    await publish(publisher, *once, *once, execution(venue, 4, 1))
    response = await performance(demo, venue, 4)
    assert (response.total.executions, response.total.realized_pnl.amount) == (4, "4")


async def test_the_feeds_own_executions_do_not_count(demo: Caller, publisher: EventPublisher, venue: str) -> None:
    await publish(publisher, execution(venue, 1, 0, position=""), execution(venue, 2, 1))
    assert (await performance(demo, venue, 1)).total.executions == 1


async def test_an_account_that_has_not_traded_has_zeros_in_its_currency(
    demo: Caller, publisher: EventPublisher, venue: str
) -> None:
    unknown = await demo.GetPerformance(GetPerformanceRequest(venue=venue))
    assert not unknown.total.HasField("realized_pnl")
    opened = AccountEvent(account_id="demo", cash_after=Money(currency="EUR", amount="100"))
    event = Event(event_id=f"{venue}/0", type="aac.account.opened", key=f"{venue}/demo", venue=venue, account=opened)
    await publish(publisher, event, topic=ACCOUNTS)

    async def known() -> bool:
        response = await demo.GetPerformance(GetPerformanceRequest(venue=venue))
        return response.total.realized_pnl == Money(currency="EUR", amount="0")

    await eventually(known, seconds=30)
    total = (await demo.GetPerformance(GetPerformanceRequest(venue=venue))).total
    assert math.isnan(total.win_rate)
    assert math.isnan(total.profit_factor)


async def test_another_generation_reads_everything_again(
    installation: dict[str, Any], auth: Server, demo: Caller, callers: Callers, publisher: EventPublisher, venue: str
) -> None:
    await publish(publisher, *(execution(venue, number, 1) for number in range(1, 4)))
    await performance(demo, venue, 3)
    again = {"auth_address": auth.address, "projection_generation": GENERATION + 1}
    async with serving(analytics.service, installation, **again) as second:
        tokens = (await sign_in(auth.address, *DEMO)).tokens
        caller = callers.add(AnalyticsServiceStub, second, token=tokens.access_token)
        response = await performance(caller, venue, 3)
    assert (response.total.executions, response.total.realized_pnl.amount) == (3, "3")


async def test_another_persons_account_and_a_range_that_ends_before_it_begins_are_refused(demo: Caller) -> None:
    with pytest.raises(PermissionDenied) as caught:
        await demo.GetPerformance(GetPerformanceRequest(account_id="another"))
    assert caught.value.reason == "FOREIGN_ACCOUNT"
    backwards = TimeRange(start=Timestamp(seconds=2), end=Timestamp(seconds=1))
    with pytest.raises(InvalidFields) as invalid:
        await demo.GetPerformance(GetPerformanceRequest(range=backwards))
    assert [violation.field for violation in invalid.value.violations] == ["range.end"]
