"""Rows of a feed, and what they are rows of, as messages. This is on the path of every row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aac.trading.v1 import venue_pb2 as pb
from aac.type.v1 import market_pb2

from aac_grpc.domain.decimals import format_decimal
from aac_grpc.domain.feed import Cancel, FeedRow, Item, New, Print, Reduce, Reset, Take
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.orders import Side

_SIDE = {Side.BUY: market_pb2.SIDE_BUY, Side.SELL: market_pb2.SIDE_SELL}


def instrument_message(instrument: Instrument) -> market_pb2.Instrument:
    """An instrument to be listed where the venue does not have it."""
    return market_pb2.Instrument(
        venue=instrument.venue,
        symbol=instrument.symbol,
        name=instrument.name,
        kind=market_pb2.INSTRUMENT_KIND_VENUE,
        currency=instrument.currency,
        tick_size=format_decimal(instrument.tick_size),
        lot_size=format_decimal(instrument.lot_size),
    )


def row_message(row: FeedRow) -> pb.FeedRow:
    """A row."""
    message = pb.FeedRow(row=row.row, time_ns=row.time_ns, items=[_ITEMS[type(item)](item) for item in row.items])
    if row.expected is not None:
        bid_price, bid_quantity, ask_price, ask_quantity = row.expected
        message.expected.bid_price, message.expected.bid_quantity = bid_price, bid_quantity
        message.expected.ask_price, message.expected.ask_quantity = ask_price, ask_quantity
        message.expected.SetInParent()
    if row.resets:
        message.resets.extend(map(_reset, row.resets))
    return message


def _new(item: New) -> pb.FeedItem:
    order = pb.FeedNew(order_ref=item.order_ref, side=_SIDE[item.side], price=item.price, quantity=item.quantity)
    return pb.FeedItem(new=order)


def _reduce(item: Reduce) -> pb.FeedItem:
    return pb.FeedItem(reduce=pb.FeedReduce(order_ref=item.order_ref, quantity=item.quantity))


def _cancel(item: Cancel) -> pb.FeedItem:
    return pb.FeedItem(cancel=pb.FeedCancel(order_ref=item.order_ref))


def _take(item: Take) -> pb.FeedItem:
    fills = [pb.FeedFill(row=fill.row, order_ref=fill.order_ref, quantity=fill.quantity) for fill in item.fills]
    return pb.FeedItem(take=pb.FeedTake(side=_SIDE[item.side], price=item.price, quantity=item.quantity, fills=fills))


def _print(item: Print) -> pb.FeedItem:
    side = market_pb2.SIDE_UNSPECIFIED if item.side is None else _SIDE[item.side]
    return pb.FeedItem(print=pb.FeedPrint(price=format_decimal(item.price), quantity=item.quantity, side=side))


def _reset(reset: Reset) -> pb.FeedReset:
    orders = [pb.FeedResetOrder(order_ref=order_ref, quantity=quantity) for order_ref, quantity in reset.orders]
    return pb.FeedReset(side=_SIDE[reset.side], price=reset.price, orders=orders)


_ITEMS: dict[type[Item], Callable[[Any], pb.FeedItem]] = {
    New: _new,
    Reduce: _reduce,
    Cancel: _cancel,
    Take: _take,
    Print: _print,
}
