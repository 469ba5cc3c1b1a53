"""Rows of a feed from their messages. This is on the path of every row."""

from collections.abc import Callable
from typing import Any

from aac.trading.v1 import venue_pb2
from aac.type.v1 import market_pb2

from aac_grpc.client.errors import InvalidField
from aac_grpc.domain.decimals import parse_decimal
from aac_grpc.domain.feed import (
    Cancel,
    FeedRow,
    Item,
    New,
    Print,
    RecordedFill,
    Reduce,
    Reset,
    Take,
    TopOfBook,
)
from aac_grpc.domain.instruments import MAX_LOTS
from aac_grpc.domain.orders import Side

MAX_REFERENCE = 64
"""Characters of a recording's id of an order."""

_SIDE = {market_pb2.SIDE_BUY: Side.BUY, market_pb2.SIDE_SELL: Side.SELL}


class _Fault(Exception):
    """A field of a row is wrong: its path within the row, and why."""


def feed_row(message: venue_pb2.FeedRow, path: str) -> FeedRow:
    """Reads a row.

    Args:
        message: The row.
        path: Where it stands in the request, such as "rows[3]".

    Raises:
        InvalidField: A side is not stated, a quantity is not above zero, or the like.
    """
    try:
        items = tuple([_item(item) for item in message.items])
        resets = tuple([_reset(reset) for reset in message.resets]) if message.resets else ()
        expected = _top(message.expected) if message.HasField("expected") else None
        return FeedRow(message.row, message.time_ns, items, expected, resets)
    except _Fault as fault:
        field, why = fault.args
        raise InvalidField(f"{path}.{field}", why) from fault


def _item(message: venue_pb2.FeedItem) -> Item:
    kind = message.WhichOneof("item")
    if kind is None:
        raise _Fault("items", "an item must be one of new, reduce, cancel, take or print")
    return _ITEMS[kind](getattr(message, kind))


def _new(message: venue_pb2.FeedNew) -> New:
    price, quantity = _positive(message.price), _lots(message.quantity)
    return New(_reference(message.order_ref), _side(message.side), price, quantity)


def _reduce(message: venue_pb2.FeedReduce) -> Reduce:
    return Reduce(message.order_ref, _lots(message.quantity))


def _cancel(message: venue_pb2.FeedCancel) -> Cancel:
    return Cancel(message.order_ref)


def _take(message: venue_pb2.FeedTake) -> Take:
    if not message.fills:
        raise _Fault("items.take.fills", "a take has at least one execution")
    fills = tuple([RecordedFill(fill.row, fill.order_ref, fill.quantity) for fill in message.fills])
    return Take(_side(message.side), _positive(message.price), _lots(message.quantity), fills)


def _print(message: venue_pb2.FeedPrint) -> Print:
    try:
        price = parse_decimal(message.price)
    except ValueError as error:
        raise _Fault("items.print.price", str(error)) from error
    if price <= 0:
        raise _Fault("items.print.price", f"must be above zero, not {message.price}")
    return Print(price, _lots(message.quantity), _SIDE.get(message.side))


_ITEMS: dict[str, Callable[[Any], Item]] = {
    "new": _new,
    "reduce": _reduce,
    "cancel": _cancel,
    "take": _take,
    "print": _print,
}


def _reset(message: venue_pb2.FeedReset) -> Reset:
    orders = tuple([(_reference(order.order_ref), _lots(order.quantity)) for order in message.orders])
    return Reset(_side(message.side), _positive(message.price), orders)


def _top(message: venue_pb2.FeedTopOfBook) -> TopOfBook:
    return TopOfBook(message.bid_price, message.bid_quantity, message.ask_price, message.ask_quantity)


def _reference(text: str) -> str:
    if not text or len(text) > MAX_REFERENCE or not text.isprintable():
        raise _Fault("order_ref", f"must be 1 to {MAX_REFERENCE} printable characters")
    return text


def _side(value: "market_pb2.Side.ValueType") -> Side:
    try:
        return _SIDE[value]
    except KeyError:
        raise _Fault("side", "must be BUY or SELL") from None


def _positive(value: int) -> int:
    if value <= 0:
        raise _Fault("quantity", f"prices and quantities must be above zero, not {value}")
    return value


def _lots(value: int) -> int:
    if value > MAX_LOTS:
        raise _Fault("quantity", f"must be at most {MAX_LOTS} lots, not {value}")
    return _positive(value)
