"""The engine's words and the contract's: enums, instruments, reasons."""

import re
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from aac.trading.v1 import order_pb2
from aac.type.v1 import market_pb2

from aac_grpc.client.errors import InvalidField
from aac_grpc.common.types import EnumNames
from aac_grpc.domain.decimals import format_decimal, parse_decimal
from aac_grpc.domain.instruments import MAX_LOTS, Instrument, InstrumentKind
from aac_grpc.domain.orders import OrderType, Reason, Side, TimeInForce

SIDES = EnumNames(market_pb2.Side, Side)
TYPES = EnumNames(order_pb2.OrderType, OrderType)
TIMES_IN_FORCE = EnumNames(order_pb2.TimeInForce, TimeInForce)
KINDS = EnumNames(market_pb2.InstrumentKind, InstrumentKind)


_TEXTS = {
    "symbol": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
    "name": re.compile(r"[^\x00-\x1f]{0,128}"),
    "currency": re.compile(r"[A-Z]{3,8}"),
}
"""What the texts of an instrument may be."""


def reason_message(reason: Reason) -> order_pb2.RejectReason:
    """Writes why something was refused."""
    return order_pb2.RejectReason(code=reason.code, message=reason.message, limit=reason.limit, actual=reason.actual)


def reasons_of(messages: Iterable[order_pb2.RejectReason]) -> tuple[Reason, ...]:
    """Reads why something was refused."""
    return tuple(Reason(each.code, each.message, each.limit, each.actual) for each in messages)


def instrument_message(instrument: Instrument) -> market_pb2.Instrument:
    """Writes an instrument."""
    return market_pb2.Instrument(
        venue=instrument.venue,
        symbol=instrument.symbol,
        name=instrument.name,
        kind=KINDS.value(instrument.kind),
        currency=instrument.currency,
        tick_size=format_decimal(instrument.tick_size),
        lot_size=format_decimal(instrument.lot_size),
        min_quantity=instrument.from_lots(instrument.min_quantity),
        max_quantity=instrument.from_lots(instrument.max_quantity),
    )


def instrument_of(message: market_pb2.Instrument, venue: str) -> Instrument:
    """Reads an instrument that was written by `instrument_message`."""
    tick_size, lot_size = Decimal(message.tick_size), Decimal(message.lot_size)
    return Instrument(
        symbol=message.symbol,
        venue=venue,
        kind=KINDS.member(message.kind),
        name=message.name,
        currency=message.currency,
        tick_size=tick_size,
        lot_size=lot_size,
        min_quantity=int(Decimal(message.min_quantity) / lot_size),
        max_quantity=int(Decimal(message.max_quantity) / lot_size),
    )


def new_instrument(message: market_pb2.Instrument, venue: str, field: str) -> Instrument:
    """Reads an instrument that a caller wants to list in a venue; bounds that are left out are the widest.

    Raises:
        InvalidField: A size is no decimal, not above zero, or they do not go together.
    """
    for name, pattern in _TEXTS.items():
        if not pattern.fullmatch(getattr(message, name)):
            raise InvalidField(f"{field}.{name}", f"must match {pattern.pattern}")
    if message.kind == market_pb2.INSTRUMENT_KIND_EXTERNAL:
        raise InvalidField(f"{field}.kind", "a venue lists only instruments of kind VENUE")
    try:
        plain = Instrument(
            symbol=message.symbol,
            venue=venue,
            kind=InstrumentKind.VENUE,
            name=message.name or message.symbol,
            currency=message.currency,
            tick_size=parse_decimal(message.tick_size),
            lot_size=parse_decimal(message.lot_size),
        )
    except ValueError as error:
        raise InvalidField(f"{field}.tick_size", str(error)) from error
    low = _bound(plain, message.min_quantity, plain.min_quantity, f"{field}.min_quantity")
    high = _bound(plain, message.max_quantity, plain.max_quantity, f"{field}.max_quantity")
    if high > MAX_LOTS:
        raise InvalidField(f"{field}.max_quantity", f"at most {plain.from_lots(MAX_LOTS)}, {MAX_LOTS} lots")
    try:
        return replace(plain, min_quantity=low, max_quantity=high)
    except ValueError as error:
        raise InvalidField(f"{field}.min_quantity", str(error)) from error


def _bound(instrument: Instrument, text: str, default: int, field: str) -> int:
    try:
        return instrument.to_lots(text) if text else default
    except ValueError as error:
        raise InvalidField(field, str(error)) from error
