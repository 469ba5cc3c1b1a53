"""Order entry: durable, idempotent, exact; refusals are results, faults are errors."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aac.trading.v1 import trading_pb2 as pb

from aac_grpc.client.errors import (
    DependencyUnavailable,
    InvalidFields,
    KeyReused,
    NotFound,
    PermissionDenied,
)
from tests.integration.trading import (
    BUY,
    CANCELED,
    FILLED,
    OPEN,
    REJECTED,
    SELL,
    Stack,
    VenueUnderTest,
    new_venue,
    stack,
)


@pytest.fixture(scope="module")
async def engine(installation: dict[str, Any]) -> AsyncIterator[Stack]:
    async with stack(installation) as running:
        yield running


@pytest.fixture
async def venue(engine: Stack) -> AsyncIterator[VenueUnderTest]:
    async with new_venue(engine) as venue:
        yield venue


async def test_a_limit_order_rests_and_can_be_read_by_either_id(venue: VenueUnderTest) -> None:
    placed = await venue.alice.PlaceOrder(venue.order(BUY, 10, "570.12", client_order_id="first"))
    order = placed.order
    assert (order.state, order.quantity, order.open_quantity, order.price) == (OPEN, "10", "10", "570.12")
    assert not placed.executions
    by_id = await venue.alice.GetOrder(pb.GetOrderRequest(venue=venue.name, order_id=order.order_id))
    by_key = await venue.alice.GetOrder(pb.GetOrderRequest(venue=venue.name, client_order_id="first"))
    assert by_id.order == by_key.order == order
    assert await venue.book() == ([("570.12", "10")], [])


async def test_two_orders_trade_at_the_makers_price_and_cash_and_positions_follow(venue: VenueUnderTest) -> None:
    resting = (await venue.bob.PlaceOrder(venue.order(SELL, 10, "570.1"))).order
    taken = await venue.alice.PlaceOrder(venue.order(BUY, 4, "570.12"))
    assert taken.order.state == FILLED
    assert [(each.price, each.quantity) for each in taken.executions] == [("570.1", "4")]
    maker = (await venue.bob.GetOrder(pb.GetOrderRequest(venue=venue.name, order_id=resting.order_id))).order
    assert (maker.state, maker.filled_quantity, maker.open_quantity) == (OPEN, "4", "6")
    assert maker.average_price == "570.1"
    cash = (await venue.alice.GetAccount(pb.GetAccountRequest(venue=venue.name))).account
    assert (cash.cash.amount, cash.cash_held.amount) == ("997719.6", "0")
    (position,) = (await venue.bob.ListPositions(pb.ListPositionsRequest(venue=venue.name))).positions
    assert (position.quantity, position.average_price) == ("-4", "570.1")


async def test_the_same_key_and_body_gives_the_first_result_again(venue: VenueUnderTest) -> None:
    request = venue.order(BUY, 10, "570.12", client_order_id="once")
    first = await venue.alice.PlaceOrder(request)
    await venue.bob.PlaceOrder(venue.order(SELL, 10, "570.12"))
    assert await venue.alice.PlaceOrder(request) == first
    orders = await venue.alice.ListOrders(pb.ListOrdersRequest(venue=venue.name))
    assert [order.state for order in orders.orders] == [FILLED]


async def test_the_same_key_with_another_body_names_the_order_that_holds_it(venue: VenueUnderTest) -> None:
    first = await venue.alice.PlaceOrder(venue.order(BUY, 10, "570.12", client_order_id="once"))
    with pytest.raises(KeyReused) as refused:
        await venue.alice.PlaceOrder(venue.order(BUY, 11, "570.12", client_order_id="once"))
    assert refused.value.metadata["holder"] == first.order.order_id


async def test_many_calls_at_once_with_one_key_make_one_order(venue: VenueUnderTest) -> None:
    request = venue.order(BUY, 1, "570", client_order_id="storm")
    answers = await asyncio.gather(*(venue.alice.PlaceOrder(request) for _ in range(50)))
    assert all(answer == answers[0] for answer in answers)
    assert len((await venue.alice.ListOrders(pb.ListOrdersRequest(venue=venue.name))).orders) == 1


async def test_of_two_bodies_at_once_under_one_key_one_makes_an_order_and_the_other_is_told(
    venue: VenueUnderTest,
) -> None:
    requests = [venue.order(BUY, quantity, "570", client_order_id="race") for quantity in (1, 2)]
    results = await asyncio.gather(*(venue.alice.PlaceOrder(each) for each in requests), return_exceptions=True)
    (made,) = [each for each in results if isinstance(each, pb.PlaceOrderResponse)]
    (refused,) = [each for each in results if isinstance(each, KeyReused)]
    assert refused.metadata["holder"] == made.order.order_id


async def test_keys_of_two_accounts_and_of_two_methods_have_nothing_to_do_with_each_other(
    venue: VenueUnderTest,
) -> None:
    mine = await venue.alice.PlaceOrder(venue.order(BUY, 1, "570", client_order_id="k"))
    theirs = await venue.bob.PlaceOrder(venue.order(BUY, 2, "570", client_order_id="k"))
    assert mine.order.order_id != theirs.order.order_id
    canceled = await venue.alice.CancelOrder(venue.cancel(mine.order.order_id, request_id="k"))
    assert canceled.canceled


async def test_a_cancel_is_done_once_and_a_second_one_says_that_nothing_was_open(venue: VenueUnderTest) -> None:
    order = (await venue.alice.PlaceOrder(venue.order(BUY, 10, "570"))).order
    request = venue.cancel(order.order_id)
    first = await venue.alice.CancelOrder(request)
    assert first.canceled
    assert (first.order.state, first.order.cancel_reason, first.order.open_quantity) == (CANCELED, "REQUESTED", "0")
    assert await venue.alice.CancelOrder(request) == first
    second = await venue.alice.CancelOrder(venue.cancel("", client_order_id=order.client_order_id))
    assert (second.canceled, second.order.state) == (False, CANCELED)
    assert await venue.book() == ([], [])


async def test_an_amend_changes_price_and_quantity_and_may_trade(venue: VenueUnderTest) -> None:
    await venue.bob.PlaceOrder(venue.order(SELL, 5, "571"))
    order = (await venue.alice.PlaceOrder(venue.order(BUY, 10, "570"))).order
    smaller = await venue.alice.AmendOrder(venue.amend(order.order_id, open_quantity="8"))
    assert (smaller.accepted, smaller.order.quantity) == (True, "8")
    crossing = await venue.alice.AmendOrder(venue.amend(order.order_id, price="571"))
    assert [(each.price, each.quantity) for each in crossing.executions] == [("571", "5")]
    assert (crossing.order.open_quantity, crossing.order.filled_quantity) == ("3", "5")


async def test_an_amend_of_a_done_order_is_refused_and_leaves_it(venue: VenueUnderTest) -> None:
    order = (await venue.alice.PlaceOrder(venue.order(BUY, 10, "570"))).order
    await venue.alice.CancelOrder(venue.cancel(order.order_id))
    refused = await venue.alice.AmendOrder(venue.amend(order.order_id, price="571"))
    assert not refused.accepted
    assert refused.reject_reasons[0].code == "UNKNOWN_ORDER"
    assert refused.order.state == CANCELED


async def test_what_cash_does_not_cover_is_a_rejected_order_with_reasons(venue: VenueUnderTest) -> None:
    request = venue.order(BUY, 10_000, "570", client_order_id="too-much")
    refused = await venue.alice.PlaceOrder(request)
    assert refused.order.state == REJECTED
    assert "INSUFFICIENT_CASH" in [reason.code for reason in refused.order.reject_reasons]
    assert await venue.alice.PlaceOrder(request) == refused
    read = await venue.alice.GetOrder(pb.GetOrderRequest(venue=venue.name, client_order_id="too-much"))
    assert read.order == refused.order


async def test_every_field_at_fault_is_named_and_nothing_is_kept(venue: VenueUnderTest) -> None:
    wrong = venue.order(BUY, "1.5", "570.123", client_order_id="again")
    with pytest.raises(InvalidFields) as refused:
        await venue.alice.PlaceOrder(wrong)
    assert {violation.field for violation in refused.value.violations} == {"price", "quantity"}
    with pytest.raises(InvalidFields) as unknown:
        await venue.alice.PlaceOrder(venue.order(BUY, 1, "570", symbol="NONE", client_order_id="again"))
    assert [violation.field for violation in unknown.value.violations] == ["symbol"]
    assert (await venue.alice.PlaceOrder(venue.order(BUY, 1, "570", client_order_id="again"))).order.state == OPEN


async def test_what_is_too_large_to_be_written_down_is_a_fault_of_its_field_and_of_nobody_elses_order(
    venue: VenueUnderTest,
) -> None:
    most, resting = "9" * 18, (await venue.alice.PlaceOrder(venue.order(BUY, 1, "1"))).order
    huge = (
        venue.alice.PlaceOrder(venue.order(SELL, most, most)),
        venue.alice.PlaceOrder(venue.order(BUY, most, "570.12")),
        venue.alice.AmendOrder(
            pb.AmendOrderRequest(venue=venue.name, order_id=resting.order_id, price=most, request_id="huge")
        ),
    )
    others = [venue.bob.PlaceOrder(venue.order(SELL, 1, "600")) for _ in range(20)]
    *refused, shown = await asyncio.gather(*huge, *others, return_exceptions=True)
    too_dear, too_many, amended = refused[:3]
    assert isinstance(too_dear, InvalidFields)
    assert [each.field for each in too_dear.violations] == ["price"]
    assert isinstance(amended, InvalidFields)
    assert [each.field for each in amended.violations] == ["price"]
    assert too_many.order.state == REJECTED
    assert all(each.order.state == OPEN for each in (*refused[3:], shown))


async def test_money_beyond_what_can_be_kept_is_a_rejected_order_and_breaks_nobody_elses(venue: VenueUnderTest) -> None:
    dearest = venue.order(SELL, 1000, "10000000")
    sells = [await venue.bob.PlaceOrder(venue.order(SELL, 1000, "10000000")) for _ in range(3)]
    refused, *others = await asyncio.gather(
        venue.bob.PlaceOrder(dearest), *(venue.alice.PlaceOrder(venue.order(BUY, 1, "570")) for _ in range(10))
    )
    assert [each.order.state for each in (*sells, *others)] == [OPEN] * 13
    assert refused.order.state == REJECTED
    (reason,) = refused.order.reject_reasons
    assert (reason.code, reason.limit, reason.actual) == ("ACCOUNT_MONEY_LIMIT", "40000000000", "40001000000")
    assert await venue.bob.PlaceOrder(dearest) == refused


async def test_another_accounts_order_is_not_there_and_another_account_is_refused(venue: VenueUnderTest) -> None:
    order = (await venue.bob.PlaceOrder(venue.order(BUY, 10, "570"))).order
    with pytest.raises(NotFound):
        await venue.alice.GetOrder(pb.GetOrderRequest(venue=venue.name, order_id=order.order_id))
    with pytest.raises(NotFound):
        await venue.alice.CancelOrder(venue.cancel(order.order_id))
    with pytest.raises(PermissionDenied):
        await venue.alice.GetOrder(pb.GetOrderRequest(venue=venue.name, account_id="bob", order_id=order.order_id))


async def test_unknown_venues_and_accounts_are_not_found(venue: VenueUnderTest) -> None:
    with pytest.raises(NotFound):
        await venue.alice.PlaceOrder(venue.order(BUY, 1, "570", venue="nowhere"))
    stranger = venue.stack.trader("stranger")
    with pytest.raises(NotFound):
        await stranger.PlaceOrder(venue.order(BUY, 1, "570"))
    with pytest.raises(NotFound):
        await stranger.GetAccount(pb.GetAccountRequest(venue=venue.name))


async def test_lists_page_newest_first_and_filter(venue: VenueUnderTest) -> None:
    for index in range(7):
        await venue.alice.PlaceOrder(venue.order(BUY, 1, "570", client_order_id=f"n{index}"))
    await venue.alice.CancelOrder(venue.cancel("", client_order_id="n3"))
    request = pb.ListOrdersRequest(venue=venue.name, states=[OPEN])
    request.page.page_size = 4
    names = []
    while True:
        answer = await venue.alice.ListOrders(request)
        names += [order.client_order_id for order in answer.orders]
        if not answer.page.next_page_token:
            break
        request.page.page_token = answer.page.next_page_token
    assert names == ["n6", "n5", "n4", "n2", "n1", "n0"]


async def test_a_trader_sees_the_own_side_of_a_trade_and_an_operator_both(venue: VenueUnderTest) -> None:
    await venue.bob.PlaceOrder(venue.order(SELL, 3, "570"))
    await venue.alice.PlaceOrder(venue.order(BUY, 3, "570"))
    request = pb.ListExecutionsRequest(venue=venue.name)
    (mine,) = (await venue.alice.ListExecutions(request)).executions
    both = (await venue.operator.ListExecutions(request)).executions
    assert mine in both
    assert {each.account_id for each in both} == {"alice", "bob"}
    assert len({each.trade_id for each in both}) == 1
    assert len({each.execution_id for each in both}) == 2


async def test_an_account_is_opened_once_with_its_first_cash(venue: VenueUnderTest) -> None:
    request = pb.OpenAccountRequest(venue=venue.name, account_id="carol")
    request.cash.currency, request.cash.amount = "USD", "12.5"
    opened = await venue.operator.OpenAccount(request)
    assert opened.account.cash.amount == "12.5"
    assert await venue.operator.OpenAccount(request) == opened
    request.cash.amount = "13"
    with pytest.raises(KeyReused):
        await venue.operator.OpenAccount(request)


async def test_without_risk_nothing_that_adds_exposure_enters_but_cancels_do(
    installation: dict[str, Any],
) -> None:
    async with stack(installation, risk_timeout_s=0.5, venue_lease_s=1.0) as running, new_venue(running) as venue:
        order = (await venue.alice.PlaceOrder(venue.order(BUY, 10, "570"))).order
        await running.risk.stop()
        with pytest.raises(DependencyUnavailable) as refused:
            await venue.alice.PlaceOrder(venue.order(BUY, 1, "570", client_order_id="later"))
        assert refused.value.metadata["dependency"] == "risk-management"
        with pytest.raises(DependencyUnavailable):
            await venue.alice.AmendOrder(venue.amend(order.order_id, open_quantity="11"))
        assert (await venue.alice.AmendOrder(venue.amend(order.order_id, open_quantity="9"))).accepted
        assert (await venue.alice.CancelOrder(venue.cancel(order.order_id))).canceled
        with pytest.raises(NotFound):
            await venue.alice.GetOrder(pb.GetOrderRequest(venue=venue.name, client_order_id="later"))
