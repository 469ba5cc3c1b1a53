"""CheckOrders: decimals of the contract judged exactly."""

import pytest
from aac.risk.v1 import risk_pb2
from aac.risk.v1.risk_pb2 import AccountState, CheckOrdersRequest, InstrumentState, OrderCheck, ReferencePrice
from aac.type.v1.market_pb2 import SIDE_BUY, SIDE_SELL
from aac.type.v1.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.client.errors import InvalidFields
from aac_grpc.domain.decimals import format_scaled
from aac_grpc.domain.limits import judge
from aac_grpc.servicers.risk import convert

LIMITS = risk_pb2.Limits(
    max_order_quantity="100", max_order_notional="60000", price_band="0.1", max_position="150", max_open_orders=3
)


def request(*orders: OrderCheck, cash: str = "100000", held: str = "0", **state: str) -> CheckOrdersRequest:
    account = AccountState(
        account_id="alice",
        cash=Money(currency="USD", amount=cash),
        cash_held=Money(currency="USD", amount=held),
        instruments=[InstrumentState(symbol="GOOG", **state)],
        open_orders=1,
    )
    reference = ReferencePrice(symbol="GOOG", price="570.125", bid="570.1", ask="570.15")
    return CheckOrdersRequest(venue="main", orders=orders, accounts=[account], reference_prices=[reference])


def order(quantity: str, price: str, side: int = SIDE_BUY, **more: str) -> OrderCheck:
    return OrderCheck(
        command_id="c", account_id="alice", symbol="GOOG", side=side, quantity=quantity, price=price, **more
    )


def check(asked: CheckOrdersRequest) -> list[risk_pb2.Verdict]:
    convert.check_accounts(asked)
    limits = {"alice": convert.to_limits(LIMITS)}
    orders, accounts = convert.to_orders(asked), convert.to_accounts(asked)
    verdicts = judge(orders, accounts, limits, convert.to_reference_prices(asked))
    return list(convert.to_response(asked.orders, verdicts).verdicts)


def findings(verdict: risk_pb2.Verdict) -> dict[str, tuple[str, str, str]]:
    return {
        risk_pb2.Rule.Name(one.rule).removeprefix("RULE_"): (one.limit, one.actual, one.headroom)
        for one in verdict.findings
    }


@given(st.integers(-(10**26), 10**26))
def test_decimals_are_read_to_their_ninth_fraction_digit(units: int) -> None:
    assert convert.scaled(format_scaled(units, 9)) == units


def test_an_empty_decimal_is_zero() -> None:
    assert convert.scaled("") == 0


def test_every_rule_tells_limit_actual_and_headroom_in_the_contracts_decimals() -> None:
    (verdict,) = check(request(order("10.5", "570.12"), held="99", position="20"))
    assert verdict.accepted
    assert findings(verdict) == {
        "ORDER_SIZE": ("100", "10.5", "89.5"),
        "ORDER_NOTIONAL": ("60000", "5986.26", "54013.74"),
        "PRICE_BAND": ("57.0125", "0.005", "57.0075"),
        "POSITION": ("150", "30.5", "119.5"),
        "BUYING_POWER": ("99901", "5986.26", "93914.74"),
        "OPEN_ORDERS": ("3", "2", "1"),
    }


def test_orders_are_judged_on_top_of_one_another() -> None:
    verdicts = check(request(*[order("80", "570")] * 3, cash="200000"))
    assert [verdict.accepted for verdict in verdicts] == [True, False, False]
    assert findings(verdicts[1])["POSITION"] == ("150", "160", "-10")


def test_an_amend_counts_once() -> None:
    asked = request(
        order("90", "570", replaces_quantity="80", replaces_price="570"),
        cash="52000",
        held="45600",
        open_buy_quantity="80",
    )
    (verdict,) = check(asked)
    assert verdict.accepted
    assert findings(verdict)["BUYING_POWER"] == ("52000", "51300", "700")


def test_a_market_order_is_valued_at_the_price_that_it_would_meet() -> None:
    buy, sell = check(request(order("10", ""), order("10", "", SIDE_SELL), position="20"))
    assert findings(buy)["ORDER_NOTIONAL"][1] == "5701.5"
    assert findings(sell)["ORDER_NOTIONAL"][1] == "5701"


def test_an_order_of_an_account_without_state_is_a_field_violation() -> None:
    asked = request(order("1", "570"))
    asked.orders[0].account_id = "bob"
    with pytest.raises(InvalidFields) as caught:
        convert.check_accounts(asked)
    assert [violation.field for violation in caught.value.violations] == ["orders[0].account_id"]
