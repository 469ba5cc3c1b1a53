"""What the SDK gives and takes: decimals, aware times, enums, absent values."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from aac.marketdata.v1 import marketdata_pb2
from aac.risk.v1 import risk_pb2
from aac.trading.v1 import order_pb2, trading_pb2
from aac.type.v1 import market_pb2
from hypothesis import given
from hypothesis import strategies as st

import aac_grpc.client.models as models
from aac_grpc.client.decimals import to_wire
from aac_grpc.client.models._record import Record, WireEnum, _readers, to_timestamp
from aac_grpc.domain.decimals import parse_decimal


def test_an_order_is_decimals_aware_times_and_names() -> None:
    message = order_pb2.Order(
        order_id="main-1", side=market_pb2.SIDE_BUY, quantity="10", state=order_pb2.ORDER_STATE_OPEN
    )
    message.created_at.FromNanoseconds(1_700_000_000_123_456_789)
    message.reject_reasons.add(code="PRICE_BAND", limit="1.5")
    order = models.Order.from_wire(message)
    assert (order.side, order.state, order.quantity) == (models.Side.BUY, "open", Decimal(10))
    assert order.price is None
    assert order.created_at == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert order.reject_reasons == (models.RejectReason("PRICE_BAND", "", Decimal("1.5"), None),)


def test_an_absent_time_is_none_and_an_absent_leverage_too() -> None:
    assert models.Quote.from_wire(marketdata_pb2.Quote(symbol="GOOG")).updated_at is None
    exposure = models.Exposure.from_wire(risk_pb2.GetExposureResponse(account_id="a"))
    assert exposure.leverage is None
    assert exposure.gross.amount == 0


def test_a_field_may_have_another_name_in_the_message() -> None:
    assert models.Trade.from_wire(marketdata_pb2.Trade(print=True)).is_print


def test_a_value_of_a_later_version_is_unspecified() -> None:
    assert models.Side.from_wire(99) is models.Side.UNSPECIFIED


@pytest.mark.parametrize("enum", WireEnum.__subclasses__())
def test_every_name_of_the_contract_is_known(enum: type[WireEnum]) -> None:
    wire = enum.wire_type()
    if enum is models.Topic:
        return  # services alone use the others
    assert {enum.from_wire(number).to_wire() for number in wire.values()} == {*wire.values()}


@pytest.mark.parametrize(
    "record", [one for one in Record.__subclasses__() if one.__module__.startswith("aac_grpc.client")]
)
def test_every_record_can_be_read(record: type[Record]) -> None:
    assert _readers(record)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**17), max_value=10**17))
def test_a_number_is_written_in_the_contracts_one_spelling(number: Decimal) -> None:
    assert parse_decimal(to_wire(number)) == number


@pytest.mark.parametrize(
    ("given_number", "written"),
    [("570.10", "570.1"), (10, "10"), ("1e3", "1000"), (Decimal("0.000"), "0"), ("-0", "0"), ("1E-2", "0.01")],
)
def test_numbers_are_normalized(given_number: str | int | Decimal, written: str) -> None:
    assert to_wire(given_number) == written


@pytest.mark.parametrize("value", [0.1, True, None])
def test_a_float_is_refused_as_a_number(value: object) -> None:
    with pytest.raises(TypeError, match="Decimal, int or str"):
        to_wire(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["ten", "", "NaN", "Infinity"])
def test_what_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="number"):
        to_wire(value)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_timestamp(datetime(2026, 1, 1))


def test_a_placed_order_carries_its_executions() -> None:
    response = trading_pb2.PlaceOrderResponse(order=order_pb2.Order(order_id="main-1"))
    response.executions.add(price="570.12", quantity="3", liquidity=order_pb2.LIQUIDITY_TAKER)
    placed = models.PlacedOrder.from_wire(response)
    assert [(one.price, one.quantity, one.liquidity) for one in placed.executions] == [
        (Decimal("570.12"), Decimal(3), models.Liquidity.TAKER)
    ]
