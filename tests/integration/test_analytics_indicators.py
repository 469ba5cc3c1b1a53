"""Indicators: computed on the candles of market-data, whatever their number, gaps and range."""

import math
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aac.analytics.v1.analytics_pb2 import (
    INDICATOR_KIND_ATR,
    INDICATOR_KIND_MACD,
    INDICATOR_KIND_SMA,
    ComputeIndicatorsRequest,
    IndicatorSpec,
)
from aac.analytics.v1.analytics_pb2_grpc import AnalyticsServiceStub
from aac.type.v1.page_pb2 import TimeRange
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aac_grpc.client.errors import InvalidFields, NotFound
from aac_grpc.common.server import Server
from aac_grpc.servicers import analytics, market_data
from tests.integration.market_engine import SECOND, EngineDouble, engine_serving
from tests.integration.services import DEMO, Caller, Callers, auth_serving, eventually, serving, sign_in

VENUE = f"indicators-{secrets.token_hex(3)}"
BEGIN = 1_700_006_400
"""A full minute after the venue's clock began; it never goes back."""
GAP_S = 4 * 3600
DENSE = 1500
"""Seconds with a trade each, before and after the gap: more than one page of candles each."""
FEW = 1000


def close(number: int) -> float:
    """Price of the n-th trade, in cents that go up and down."""
    return (57_000 + 500 * math.sin(number / 20) // 1 + number % 7) / 100


def second(number: int) -> int:
    """When the n-th trade happened."""
    return BEGIN + number + (GAP_S if number >= DENSE else 0)


@pytest.fixture(scope="module")
async def servers(installation: dict[str, Any]) -> AsyncIterator[tuple[Server, Server, Server]]:
    """auth-service, analytics, and one that computes on few candles; trades come in two spells, hours apart."""
    engine = EngineDouble()
    venue = engine.make(VENUE, "GOOG", "QUIET", "THIN")
    for number in range(2 * DENSE):
        venue.now = second(number) * SECOND
        venue.print_trade(f"{close(number):.2f}", symbol="GOOG")
        if number < DENSE or number == 2 * DENSE - 1:
            venue.trade(100 + number, symbol="THIN")
    async with (
        auth_serving(installation) as auth,
        engine_serving(engine, auth.address) as trading,
        serving(
            market_data.service, installation, auth_address=auth.address, trading_address=trading.address
        ) as market,
        serving(
            analytics.service, installation, auth_address=auth.address, market_data_address=market.address
        ) as server,
        serving(
            analytics.service,
            installation,
            auth_address=auth.address,
            market_data_address=market.address,
            default_candles=FEW,
            max_candles=FEW,
        ) as narrow,
    ):
        yield auth, server, narrow


@pytest.fixture
async def demo(callers: Callers, servers: tuple[Server, Server, Server]) -> Caller:
    auth, server, _ = servers
    token = (await sign_in(auth.address, *DEMO)).tokens.access_token
    caller = callers.add(AnalyticsServiceStub, server, token=token)

    async def followed() -> bool:
        return len((await caller.ComputeIndicators(request(SMA))).times) == 2 * DENSE

    await eventually(followed, seconds=30)
    return caller


SMA = IndicatorSpec(kind=INDICATOR_KIND_SMA, parameters={"period": 5})


def request(*specs: IndicatorSpec, symbol: str = "GOOG", interval: int = 1, **more: Any) -> ComputeIndicatorsRequest:
    return ComputeIndicatorsRequest(
        venue=VENUE, symbol=symbol, interval=Duration(seconds=interval), indicators=specs, **more
    )


def between(start: int, end: int) -> TimeRange:
    return TimeRange(start=Timestamp(seconds=start), end=Timestamp(seconds=end))


async def test_an_average_is_that_of_the_closes_across_pages_and_gaps(demo: Caller) -> None:
    response = await demo.ComputeIndicators(request(SMA))
    assert [moment.seconds for moment in response.times] == [second(number) for number in range(2 * DENSE)]
    (result,) = response.results
    assert (result.spec, result.warm_up) == (SMA, 4)
    values = list(result.series[0].values)
    assert all(math.isnan(value) for value in values[:4])
    expected = [sum(close(number - back) for back in range(5)) / 5 for number in range(4, 2 * DENSE)]
    assert values[4:] == pytest.approx(expected)


async def test_the_last_candles_are_found_where_few_trades_follow_many(
    callers: Callers, servers: tuple[Server, Server, Server], demo: Caller
) -> None:
    auth, _, narrow = servers
    caller = callers.add(AnalyticsServiceStub, narrow, token=(await sign_in(auth.address, *DEMO)).tokens.access_token)
    response = await caller.ComputeIndicators(request(SMA, symbol="THIN"))
    numbers = [*range(DENSE - FEW + 1, DENSE), 2 * DENSE - 1]
    assert [moment.seconds for moment in response.times] == [second(number) for number in numbers]


async def test_several_indicators_come_in_the_order_asked_for_with_defaults_filled_in(demo: Caller) -> None:
    asked = [IndicatorSpec(kind=INDICATOR_KIND_MACD), SMA, IndicatorSpec(kind=INDICATOR_KIND_ATR)]
    response = await demo.ComputeIndicators(request(*asked, range=between(BEGIN, BEGIN + 100)))
    macd, sma, atr = response.results
    assert dict(macd.spec.parameters) == {"fast": 12, "slow": 26, "signal": 9}
    assert [series.name for series in macd.series] == ["macd", "signal", "histogram"]
    assert (macd.warm_up, sma.warm_up, atr.warm_up) == (33, 4, 14)
    assert all(len(series.values) == 100 for result in response.results for series in result.series)


async def test_a_range_holds_its_start_and_not_its_end(demo: Caller) -> None:
    response = await demo.ComputeIndicators(request(SMA, range=between(BEGIN + 10, BEGIN + 20)))
    assert [moment.seconds for moment in response.times] == list(range(BEGIN + 10, BEGIN + 20))


async def test_coarser_candles_close_at_their_last_trade(demo: Caller) -> None:
    spec = IndicatorSpec(kind=INDICATOR_KIND_SMA, parameters={"period": 1})
    response = await demo.ComputeIndicators(request(spec, interval=60, range=between(BEGIN, BEGIN + 600)))
    assert list(response.results[0].series[0].values) == pytest.approx([close(60 * n + 59) for n in range(10)])


async def test_an_instrument_without_trades_has_no_values(demo: Caller) -> None:
    response = await demo.ComputeIndicators(request(SMA, symbol="QUIET"))
    assert (len(response.times), response.results[0].warm_up) == (0, 0)


async def test_an_instrument_that_there_is_not_is_not_found(demo: Caller) -> None:
    for more in ({}, {"range": between(BEGIN, BEGIN + 1)}):
        with pytest.raises(NotFound):
            await demo.ComputeIndicators(request(SMA, symbol="NOPE", **more))


async def test_parameters_and_intervals_that_make_no_sense_are_all_named(demo: Caller) -> None:
    odd = IndicatorSpec(kind=INDICATOR_KIND_SMA, parameters={"period": 2.5})
    unknown = IndicatorSpec(kind=INDICATOR_KIND_MACD, parameters={"speed": 1})
    with pytest.raises(InvalidFields) as caught:
        await demo.ComputeIndicators(request(odd, SMA, unknown))
    assert [violation.field for violation in caught.value.violations] == [
        "indicators[0].parameters",
        "indicators[2].parameters",
    ]
    half = request(SMA)
    half.interval.nanos = 500_000_000
    with pytest.raises(InvalidFields) as caught:
        await demo.ComputeIndicators(half)
    assert [violation.field for violation in caught.value.violations] == ["interval"]


async def test_more_values_than_an_answer_can_carry_are_refused(demo: Caller) -> None:
    many = [IndicatorSpec(kind=INDICATOR_KIND_MACD)] * 32
    assert len((await demo.ComputeIndicators(request(*many))).results) == 32
    with pytest.raises(InvalidFields) as caught:
        await demo.ComputeIndicators(request(*many, SMA))
    assert {violation.field for violation in caught.value.violations} == {"indicators"}
