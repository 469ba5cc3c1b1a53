"""Rows as callers see them: decimal strings, money, timestamps."""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

from aac.trading.v1.order_pb2 import AccountSummary, Execution, Order, Position, RejectReason

from aac_grpc.common.types import money, to_timestamp
from aac_grpc.domain.decimals import format_decimal
from aac_grpc.domain.instruments import Instrument
from aac_grpc.servicers.trading.rows import ExecutionRow, OrderRow

_PLACES = Decimal("1e-9")
_WIDE = Context(prec=60, rounding=ROUND_HALF_EVEN)
_UNIT = Decimal("1e-8")


def order_view(venue: str, row: OrderRow, instrument: Instrument) -> Order:
    """An order."""
    order = Order(
        venue=venue,
        order_id=row.order_id,
        client_order_id=row.client_order_id,
        account_id=row.account_id,
        symbol=row.symbol,
        side=row.side,  # type: ignore[arg-type]  # enums are kept by number
        type=row.type,  # type: ignore[arg-type]
        time_in_force=row.time_in_force,  # type: ignore[arg-type]
        price=instrument.from_ticks(row.price) if row.price else "",
        quantity=instrument.from_lots(row.quantity),
        filled_quantity=instrument.from_lots(row.filled),
        open_quantity=instrument.from_lots(row.leaves),
        average_price=_average(Decimal(row.filled_value) * instrument.tick_size, Decimal(row.filled)),
        state=row.state,  # type: ignore[arg-type]
        cancel_reason=row.cancel_reason,
        version=row.version,
        venue_sequence=row.venue_sequence,
        created_at=to_timestamp(row.created_ns),
        updated_at=to_timestamp(row.updated_ns),
    )
    if row.reject_reasons:
        order.reject_reasons.extend(RejectReason(**reason) for reason in row.reject_reasons)
    return order


def execution_view(venue: str, row: ExecutionRow, instrument: Instrument) -> Execution:
    """One side of a trade."""
    return Execution(
        venue=venue,
        execution_id=row.execution_id,
        trade_id=row.trade_id,
        order_id=row.order_id,
        client_order_id=row.client_order_id,
        account_id=row.account_id,
        symbol=row.symbol,
        side=row.side,  # type: ignore[arg-type]
        price=instrument.from_ticks(row.price),
        quantity=instrument.from_lots(row.quantity),
        liquidity=row.liquidity,  # type: ignore[arg-type]
        position_after="" if row.position_after is None else instrument.from_lots(row.position_after),
        realized_pnl=money(instrument.currency, row.realized_pnl),
        sequence=row.sequence,
        venue_sequence=row.venue_sequence,
        executed_at=to_timestamp(row.executed_ns),
    )


def account_view(venue: str, record: dict[str, Any]) -> AccountSummary:
    """Cash of an account, from its row."""
    currency, cash, held = record["currency"], int(record["cash"]), int(record["cash_held"])
    return AccountSummary(
        venue=venue,
        account_id=record["account_id"],
        cash=money(currency, cash),
        cash_held=money(currency, held),
        cash_available=money(currency, cash - held),
        realized_pnl=money(currency, int(record["realized_pnl"])),
        open_orders=record["open_orders"],
        version=record["version"],
        venue_sequence=record["venue_sequence"],
        allow_short=record["allow_short"],
    )


def position_view(venue: str, record: dict[str, Any], instrument: Instrument) -> Position:
    """A holding, from its row."""
    cost, lots = int(record["cost"]), record["quantity"]
    return Position(
        venue=venue,
        account_id=record["account_id"],
        symbol=record["symbol"],
        quantity=instrument.from_lots(lots),
        quantity_held=instrument.from_lots(record["quantity_held"]),
        cost=money(instrument.currency, cost),
        average_price=_average(Decimal(cost) * _UNIT, Decimal(lots) * instrument.lot_size),
        realized_pnl=money(instrument.currency, int(record["realized_pnl"])),
    )


def _average(value: Decimal, quantity: Decimal) -> str:
    """value / quantity, rounded half to even at nine places; empty for a quantity of zero."""
    if not quantity:
        return ""
    return format_decimal(_WIDE.quantize(_WIDE.divide(value, quantity), _PLACES))
