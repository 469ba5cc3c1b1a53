"""A state as JSON-able values and back. Equal states have equal snapshots, whatever way led to them."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from aac_grpc.domain.accounts import Account, Position
from aac_grpc.domain.commands import AccountKind
from aac_grpc.domain.decimals import format_decimal
from aac_grpc.domain.feed import AwaitedRow, FeedRun, TopOfBook
from aac_grpc.domain.instruments import Instrument, InstrumentKind
from aac_grpc.domain.orders import Order, OrderType, Side, TimeInForce
from aac_grpc.domain.state import Market, VenueState, rest

FORMAT = 1
"""Version of the snapshot's shape; `load` refuses another."""


def dump(state: VenueState) -> dict[str, Any]:
    """Returns a state as JSON-able values; orders are rows in time priority, not records, since there are many."""
    return {
        "format": FORMAT,
        "venue_id": state.venue_id,
        "sequence": state.sequence,
        "time_ns": state.time_ns,
        "order_count": state.order_count,
        "trade_count": state.trade_count,
        "entry_count": state.entry_count,
        "markets": [_dump_market(market) for _, market in sorted(state.markets.items())],
        "accounts": [_dump_account(account) for _, account in sorted(state.accounts.items())],
        "feeds": [_dump_feed(run) for _, run in sorted(state.feeds.items())],
    }


def load(snapshot: Mapping[str, Any]) -> VenueState:
    """Builds the state that a snapshot was made of.

    Raises:
        ValueError: The snapshot has another format.
    """
    if snapshot["format"] != FORMAT:
        raise ValueError(f"snapshot format {snapshot['format']} is not {FORMAT}")
    state = VenueState(snapshot["venue_id"])
    state.sequence = snapshot["sequence"]
    state.time_ns = snapshot["time_ns"]
    state.order_count = snapshot["order_count"]
    state.trade_count = snapshot["trade_count"]
    state.entry_count = snapshot["entry_count"]
    for record in snapshot["accounts"]:
        account = _load_account(record)
        state.accounts[account.account_id] = account
    for record in snapshot["markets"]:
        _load_market(state, record)
    for record in snapshot["accounts"]:
        # Resting orders have promised cash and positions again, which counts as no change of the account.
        state.accounts[record["account_id"]].version = record["version"]
    for record in snapshot["feeds"]:
        run = _load_feed(record)
        state.feeds[run.run_id] = run
    return state


def digest(snapshot: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a snapshot's canonical JSON, in hex."""
    text = json.dumps(snapshot, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _dump_market(market: Market) -> dict[str, Any]:
    instrument = market.instrument
    return {
        "symbol": instrument.symbol,
        "venue": instrument.venue,
        "kind": instrument.kind.value,
        "name": instrument.name,
        "currency": instrument.currency,
        "tick_size": format_decimal(instrument.tick_size),
        "lot_size": format_decimal(instrument.lot_size),
        "min_price": instrument.min_price,
        "max_price": instrument.max_price,
        "min_quantity": instrument.min_quantity,
        "max_quantity": instrument.max_quantity,
        "version": instrument.version,
        "trade_sequence": market.trade_sequence,
        "depth_sequence": market.depth_sequence,
        "last_price": market.last_price,
        "last_quantity": market.last_quantity,
        "orders": [_dump_order(order) for side in Side for order in market.book.orders(side)],
    }


def _load_market(state: VenueState, record: Mapping[str, Any]) -> None:
    market = state.markets[record["symbol"]] = Market(
        Instrument(
            symbol=record["symbol"],
            venue=record["venue"],
            kind=InstrumentKind(record["kind"]),
            name=record["name"],
            currency=record["currency"],
            tick_size=Decimal(record["tick_size"]),
            lot_size=Decimal(record["lot_size"]),
            min_price=record["min_price"],
            max_price=record["max_price"],
            min_quantity=record["min_quantity"],
            max_quantity=record["max_quantity"],
            version=record["version"],
        )
    )
    market.trade_sequence = record["trade_sequence"]
    market.depth_sequence = record["depth_sequence"]
    market.last_price = record["last_price"]
    market.last_quantity = record["last_quantity"]
    for order in _load_orders(record["symbol"], record["orders"]):
        account = state.accounts[order.account_id]
        state.enter(order, account)
        rest(market, order, account)


def _dump_order(order: Order) -> list[Any]:
    return [
        order.order_id,
        order.client_order_id,
        order.account_id,
        order.side.value,
        order.order_type.value,
        order.time_in_force.value,
        order.price,
        order.quantity,
        order.leaves,
        order.filled,
        order.filled_value,
        order.created_ns,
    ]


def _load_orders(symbol: str, rows: Iterable[list[Any]]) -> Iterable[Order]:
    for row in rows:
        order_id, client_order_id, account_id, side, order_type, time_in_force, price, quantity = row[:8]
        leaves, filled, filled_value, created_ns = row[8:]
        order = Order(
            order_id,
            client_order_id,
            account_id,
            symbol,
            Side(side),
            OrderType(order_type),
            TimeInForce(time_in_force),
            price,
            quantity,
            created_ns,
        )
        order.leaves, order.filled, order.filled_value = leaves, filled, filled_value
        yield order


def _dump_account(account: Account) -> dict[str, Any]:
    return {
        "account_id": account.account_id,
        "kind": account.kind.value,
        "currency": account.currency,
        "allow_short": account.allow_short,
        "cash": account.cash,
        "realized_pnl": account.realized_pnl,
        "version": account.version,
        "order_sequence": account.order_sequence,
        "execution_sequence": account.execution_sequence,
        "positions": {
            symbol: [position.quantity, position.cost, position.realized_pnl]
            for symbol, position in sorted(account.positions.items())
            if position.quantity or position.realized_pnl
        },
    }


def _load_account(record: Mapping[str, Any]) -> Account:
    account = Account(record["account_id"], AccountKind(record["kind"]), record["currency"], record["allow_short"])
    account.cash = record["cash"]
    account.realized_pnl = record["realized_pnl"]
    account.order_sequence = record["order_sequence"]
    account.execution_sequence = record["execution_sequence"]
    account.positions = {symbol: Position(*row) for symbol, row in record["positions"].items()}
    account.invested = sum(abs(position.cost) for position in account.positions.values())
    return account


def _dump_feed(run: FeedRun) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "symbol": run.symbol,
        "account_id": run.account_id,
        "last_row": run.last_row,
        "rows": run.rows,
        "applied": run.applied,
        "diverged": run.diverged,
        "resets": run.resets,
        "compared": run.compared,
        "top_equal": run.top_equal,
        "awaited": [[fill.row, list(fill.top), fill.as_recorded] for fill in run.awaited],
    }


def _load_feed(record: Mapping[str, Any]) -> FeedRun:
    awaited = tuple(AwaitedRow(row, TopOfBook(*top), as_recorded) for row, top, as_recorded in record["awaited"])
    return FeedRun(**{**record, "awaited": awaited})
