"""Whether a platform's state is what its clients were told, and what its executions add up to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from aac.event.v1.event_pb2 import Event

from aac_grpc.client import AsyncClient
from aac_grpc.client.models.accounts import AccountSummary, Position
from aac_grpc.client.models.market import Side
from aac_grpc.client.models.orders import AmendedOrder, CanceledOrder, Execution, Order, OrderState, PlacedOrder
from tests.support.client_log import ClientLog

ENDED = (OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED)


@dataclass(frozen=True)
class Books:
    """What the platform says of one account."""

    account: AccountSummary
    positions: Sequence[Position]
    orders: Sequence[Order]
    executions: Sequence[Execution]


async def read_books(client: AsyncClient, account: str, venue: str) -> Books:
    """Reads everything about an account, page after page."""
    return Books(
        account=await client.account(account, venue=venue),
        positions=[one async for one in client.list_positions(account, venue=venue)],
        orders=[one async for one in client.list_orders(account=account, venue=venue)],
        executions=[one async for one in client.list_executions(account=account, venue=venue)],
    )


def check_orders(log: ClientLog, books: Mapping[str, Books]) -> None:
    """No acknowledged order is missing or doubled, none is there that nobody sent, and none went back in time."""
    orders = [order for one in books.values() for order in one.orders]
    doubled = {key: count for key, count in Counter(order.client_order_id for order in orders).items() if count > 1}
    assert not doubled, f"doubled: {doubled}"
    assert len({order.order_id for order in orders}) == len(orders)
    by_key = {order.client_order_id: order for order in orders}
    sent = {one.client_order_id for one in log.commands if one.kind == "place"}
    assert by_key.keys() <= sent, f"nobody sent {sorted(by_key.keys() - sent)[:5]}"
    for command in log.acknowledged():
        told = command.order
        assert told is not None
        there = by_key.get(command.client_order_id)
        assert there is not None, f"missing: {told}"
        assert there.order_id == told.order_id
        assert there.version >= told.version, f"went back: {told} -> {there}"
        if there.version == told.version or told.state in ENDED:
            assert there == told
    _check_answers(log, by_key)


def _check_answers(log: ClientLog, by_key: Mapping[str, Order]) -> None:
    for command in log.acknowledged():
        there = by_key[command.client_order_id]
        match command.answer:
            case PlacedOrder(order=told):
                assert (told.side, told.account_id) == (command.side, command.account)
                assert there.created_at == told.created_at
            case AmendedOrder(order=told, accepted=True):
                assert command.price in (None, told.price)
            case CanceledOrder(canceled=True):
                assert there.state is OrderState.CANCELED, there
            case CanceledOrder(canceled=False):
                assert there.state in ENDED, there


def check_money(books: Books, deposit: Decimal) -> None:
    """Cash and positions are the deposit and the sum of the executions; orders hold what is open of them."""
    cash, held = deposit, Counter[str]()
    for execution in books.executions:
        signed = execution.quantity if execution.side is Side.BUY else -execution.quantity
        cash -= signed * execution.price
        held[execution.symbol] += int(signed)
    assert books.account.cash.amount == cash
    assert {one.symbol: one.quantity for one in books.positions if one.quantity} == {
        symbol: quantity for symbol, quantity in held.items() if quantity
    }
    open_orders = [order for order in books.orders if order.state is OrderState.OPEN]
    assert books.account.open_orders == len(open_orders)
    buys = [order for order in open_orders if order.side is Side.BUY]
    assert books.account.cash_held.amount == sum((one.price or 0) * one.open_quantity for one in buys)
    filled = Counter[str]()
    for execution in books.executions:
        filled[execution.order_id] += int(execution.quantity)
    assert {one.order_id: one.filled_quantity for one in books.orders if one.filled_quantity} == dict(filled)
    sequences = sorted(execution.sequence for execution in books.executions)
    assert sequences == list(range(1, len(sequences) + 1))


def check_trades_have_two_sides(books: Mapping[str, Books]) -> None:
    """What one account bought, another one sold: nothing was made and nothing was lost."""
    sides: dict[str, list[Execution]] = {}
    for one in books.values():
        for execution in one.executions:
            sides.setdefault(execution.trade_id, []).append(execution)
    for pair in sides.values():
        assert sorted(one.side for one in pair) == [Side.BUY, Side.SELL]
        assert len({(one.price, one.quantity) for one in pair}) == 1
    assert sum(one.account.cash.amount for one in books.values()) % 1 == 0


def check_events(events: Sequence[Event], books: Mapping[str, Books], log: ClientLog) -> None:
    """Kafka has each event of the venue once by its id, in the order of its key, and they say what the books say."""
    executions = [Execution.from_wire(one.execution.execution) for one in events if one.HasField("execution")]
    expected = {execution.execution_id: execution for one in books.values() for execution in one.executions}
    assert len(executions) == len(expected)
    assert {execution.execution_id: execution for execution in executions} == expected
    latest: dict[tuple[str, str], int] = {}
    for event in events:
        key = event.key, event.WhichOneof("payload") or ""
        assert event.sequence >= latest.get(key, 0), f"{event.event_id} came after {latest[key]}"
        latest[key] = event.sequence
    versions = {
        (one.order.order.account_id, one.order.sequence): Order.from_wire(one.order.order)
        for one in events
        if one.HasField("order")
    }
    for account, one in books.items():
        for order in one.orders:
            check_published(versions[account, order.version], order)
    for command in log.acknowledged():
        told = command.order
        assert told is not None
        check_published(versions[told.account_id, told.version], told)


def check_published(published: Order, told: Order) -> None:
    """An order on Kafka is the order that a client is told of, at the same version."""
    assert published == told, f"published: {published}\ntold: {told}"
