"""Limits: what risk says to orders, one by one and in a batch."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.domain.accounts import AccountState, OpenOrders, PositionState
from aac_grpc.domain.commands import AccountKind
from aac_grpc.domain.limits import RULES, Limits, ReferencePrice, Rule, Verdict, judge
from aac_grpc.domain.orders import OrderIntent, OrderType, Side, TimeInForce

UNIT = 10**6
"""Money units of a cent times a share."""
LIMITS = Limits(
    max_order_quantity=1_000,
    max_order_notional=50_000 * 100 * UNIT,
    price_band=Decimal("0.1"),
    max_position=500,
    max_open_orders=3,
)
REFERENCE = ReferencePrice(price=10_000, bid=9_990, ask=10_010)


def intent(side: Side, quantity: int, price: int = 10_000, **changes: object) -> OrderIntent:
    """An order for GOOG at a price in cents; 0 is a market order."""
    order = OrderIntent(
        account_id="alice",
        symbol="GOOG",
        side=side,
        order_type=OrderType.LIMIT if price else OrderType.MARKET,
        time_in_force=TimeInForce.GTC if price else TimeInForce.IOC,
        quantity=quantity,
        price=price,
        notional_unit=UNIT,
        currency="USD",
    )
    return replace(order, **changes)  # type: ignore[arg-type]


def buy(quantity: int, price: int = 10_000, **changes: object) -> OrderIntent:
    return intent(Side.BUY, quantity, price, **changes)


def sell(quantity: int, price: int = 10_000, **changes: object) -> OrderIntent:
    return intent(Side.SELL, quantity, price, **changes)


def account(
    cash: int = 10**9, position: int = 0, *, open_orders: OpenOrders | None = None, holds: int = 0, short: bool = False
) -> AccountState:
    """Alice's account; cash and holds in cents x shares."""
    return AccountState(
        account_id="alice",
        version=1,
        kind=AccountKind.USER,
        currency="USD",
        allow_short=short,
        cash=cash * UNIT,
        holds=holds * UNIT,
        realized_pnl=0,
        positions={"GOOG": PositionState(position, 0, 0, 0)} if position else {},
        open_orders={"GOOG": open_orders} if open_orders else {},
    )


def verdicts(
    *orders: OrderIntent,
    state: AccountState | None = None,
    limits: Limits = LIMITS,
    reference: ReferencePrice | None = REFERENCE,
) -> list[Verdict]:
    references = {"GOOG": reference} if reference else {}
    return judge(orders, {"alice": state or account()}, {"alice": limits}, references)


def broken(verdict: Verdict) -> set[Rule]:
    return {finding.rule for finding in verdict.findings if not finding.passed}


def test_an_order_within_all_limits_is_accepted_with_a_finding_for_each_rule() -> None:
    (verdict,) = verdicts(buy(100))
    assert verdict.accepted
    assert [finding.rule for finding in verdict.findings] == list(Rule)
    assert len(RULES) == len(Rule)
    assert all(finding.headroom == finding.limit - finding.actual >= 0 for finding in verdict.findings)


@pytest.mark.parametrize(
    ("order", "rule"),
    [
        (buy(1_001, 9_000), Rule.ORDER_SIZE),
        (sell(501, 10_000), Rule.ORDER_NOTIONAL),
        (buy(1, 8_999), Rule.PRICE_BAND),
        (sell(1, 11_001), Rule.PRICE_BAND),
        (buy(401), Rule.POSITION),
    ],
)
def test_each_limit_refuses_what_is_over_it_and_says_by_how_much(order: OrderIntent, rule: Rule) -> None:
    (verdict,) = verdicts(order, state=account(position=100))
    assert not verdict.accepted
    assert rule in broken(verdict)
    finding = next(finding for finding in verdict.findings if finding.rule is rule)
    assert finding.headroom < 0
    assert finding.reason


@pytest.mark.parametrize("order", [buy(400), buy(1, 9_000), buy(1, 11_000), sell(100)])
def test_what_is_exactly_at_a_limit_passes(order: OrderIntent) -> None:
    assert verdicts(order, state=account(position=100))[0].accepted


def test_an_order_may_cost_no_more_than_the_cash_free_of_holds() -> None:
    state = account(cash=1_500_000, holds=500_000)
    assert verdicts(buy(100), state=state)[0].accepted
    (verdict,) = verdicts(buy(101), state=state)
    assert broken(verdict) == {Rule.BUYING_POWER}
    (finding,) = [finding for finding in verdict.findings if not finding.passed]
    assert (finding.limit, finding.actual, finding.headroom) == (10**6 * UNIT, 1_010_000 * UNIT, -10_000 * UNIT)


def test_nobody_sells_what_he_has_not_unless_the_account_allows_it() -> None:
    open_orders = OpenOrders(1, 0, 0, 60, 0, 0)
    assert verdicts(sell(40), state=account(position=100, open_orders=open_orders))[0].accepted
    assert broken(verdicts(sell(41), state=account(position=100, open_orders=open_orders))[0]) == {Rule.POSITION}
    assert verdicts(sell(500), state=account(short=True))[0].accepted
    assert broken(verdicts(sell(501, 9_000), state=account(short=True))[0]) == {Rule.POSITION}


def test_what_reduces_a_position_passes_a_limit_that_the_position_is_over() -> None:
    tight = replace(LIMITS, max_position=10)
    assert verdicts(sell(90), state=account(position=100), limits=tight)[0].accepted
    assert verdicts(buy(90), state=account(position=-100, short=True), limits=tight)[0].accepted
    assert broken(verdicts(buy(1), state=account(position=100), limits=tight)[0]) == {Rule.POSITION}


def test_orders_of_a_batch_are_judged_on_top_of_those_accepted_before() -> None:
    state = account(cash=3_000_000)
    batch = verdicts(buy(200), buy(150), buy(100), buy(1), state=state)
    assert [verdict.accepted for verdict in batch] == [True, False, True, False]
    assert broken(batch[1]) == {Rule.BUYING_POWER}
    assert broken(batch[3]) == {Rule.BUYING_POWER}


def test_a_batch_may_not_open_more_orders_than_allowed() -> None:
    batch = verdicts(buy(1), buy(1), buy(1), buy(1))
    assert [verdict.accepted for verdict in batch] == [True, True, True, False]
    assert broken(batch[3]) == {Rule.OPEN_ORDERS}


def test_two_sells_of_a_batch_cannot_promise_the_same_position() -> None:
    batch = verdicts(sell(60), sell(60), state=account(position=100))
    assert [verdict.accepted for verdict in batch] == [True, False]


def test_an_amend_is_judged_in_place_of_what_it_replaces() -> None:
    open_orders = OpenOrders(3, 0, 100, 0, 0, 0)
    state = account(cash=1_000_000, holds=1_000_000, open_orders=open_orders)
    assert verdicts(buy(50, 20_000 // 2, replaced_quantity=100, replaced_price=10_000), state=state)[0].accepted
    (verdict,) = verdicts(buy(101, replaced_quantity=100, replaced_price=10_000), state=state)
    assert broken(verdict) == {Rule.BUYING_POWER}


def test_an_amend_that_takes_on_nothing_more_passes_limits_that_were_lowered_since() -> None:
    tight = Limits(max_order_quantity=10, max_order_notional=UNIT, max_position=10, max_open_orders=0)
    state = account(cash=0, open_orders=OpenOrders(1, 0, 100, 0, 0, 0))
    assert verdicts(buy(99, replaced_quantity=100, replaced_price=10_000), state=state, limits=tight)[0].accepted


def test_a_market_order_is_valued_at_the_price_that_it_would_meet() -> None:
    (verdict,) = verdicts(buy(100, 0))
    notional = next(finding for finding in verdict.findings if finding.rule is Rule.ORDER_NOTIONAL)
    assert notional.actual == 100 * 10_010 * UNIT
    assert Rule.PRICE_BAND not in {finding.rule for finding in verdict.findings}


def test_a_market_order_that_cannot_be_valued_is_refused_unless_it_reduces() -> None:
    (verdict,) = verdicts(buy(1, 0), reference=None)
    assert broken(verdict) == {Rule.ORDER_NOTIONAL}
    assert "send a limit order" in verdict.findings[1].reason
    assert verdicts(sell(1, 0), state=account(position=1), reference=None)[0].accepted


def test_without_a_reference_price_a_limit_order_has_no_band() -> None:
    assert verdicts(buy(1, 1), reference=None)[0].accepted


def test_without_limits_only_cash_and_holdings_bound_an_order() -> None:
    (verdict,) = verdicts(buy(10**6, 1), limits=Limits(), state=account(cash=10**6))
    assert verdict.accepted
    assert {finding.rule for finding in verdict.findings} == {Rule.BUYING_POWER}


def test_an_order_of_an_unknown_account_is_never_judged() -> None:
    with pytest.raises(KeyError):
        judge([buy(1, account_id="mallory")], {"alice": account()}, {"alice": LIMITS}, {})


orders = st.builds(intent, st.sampled_from(list(Side)), st.integers(1, 200), st.integers(9_000, 11_000))


@given(st.lists(orders, max_size=12), st.integers(0, 3_000_000), st.integers(0, 300))
def test_accepted_orders_together_never_break_a_limit(batch: list[OrderIntent], cash: int, position: int) -> None:
    accepted = [
        order
        for order, verdict in zip(batch, verdicts(*batch, state=account(cash, position)), strict=True)
        if verdict.accepted
    ]
    buys = [order for order in accepted if order.side is Side.BUY]
    sells = [order for order in accepted if order.side is Side.SELL]
    assert sum(order.price * order.quantity for order in buys) <= cash
    assert not buys or position + sum(order.quantity for order in buys) <= 500
    assert sum(order.quantity for order in sells) <= position
    assert len(accepted) <= 3
