"""What a batch of events changes in the tables, beside the journal itself."""

from collections.abc import Callable
from typing import Any, ClassVar

from aac.trading.v1.journal_pb2 import VenueEvent

from aac_grpc.domain.accounts import AccountState, PositionState
from aac_grpc.domain.commands import AccountKind
from aac_grpc.domain.decimals import format_decimal
from aac_grpc.domain.events import AccountCreated, CashAdjusted, Event, InstrumentAdded, OrderRested, Trade
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.ledger import postings
from aac_grpc.servicers.trading.live import LiveVenue
from aac_grpc.servicers.trading.order_changes import OrderChange, executions, order_changes
from aac_grpc.servicers.trading.rows import ExecutionRow, OrderRow
from aac_grpc.servicers.trading.vocabulary import KINDS

_FLAT = PositionState(0, 0, 0, 0)

Records = dict[str, list[dict[str, Any]]]
"""Rows by table."""


class Projection:
    """The tables' rows that follow from one batch of events.

    Attributes:
        changes: What happened to users' orders, in order.
    """

    def __init__(self, live: LiveVenue) -> None:
        """Begins a batch of a venue; keeps its orders and accounts up to date."""
        self._venue = live.venue
        self._venue_id = live.venue_id
        self._orders = live.orders
        self._account_kinds = live.accounts
        self._order_sequences = live.order_sequences
        self._touched: dict[str, OrderRow] = {}
        self._accounts: dict[str, int] = {}
        """Sequence of the last event, by account."""
        self._positions: set[tuple[str, str]] = set()
        self._instruments: list[dict[str, Any]] = []
        self._ledger: list[dict[str, Any]] = []
        self._executions: list[ExecutionRow] = []
        self.changes: list[OrderChange] = []

    def add(self, event: Event, message: VenueEvent) -> None:
        """Takes the next event, in both its shapes."""
        for change in order_changes(message):
            self.changes.append(change)
            if change.row is not None:
                self._orders.put(change.row)
                self._touch(change.row)
        step = self._STEPS.get(type(event))
        if step is not None:
            step(self, event, message)

    def retire(self) -> None:
        """Ends the batch: orders that ended in it leave memory with the next one."""
        self._order_sequences.update(self._last_sequences())
        self._orders.retire([row for row in self._touched.values() if row.done])

    def account_record(self, account_id: str) -> dict[str, Any]:
        """Returns the row of an account that the batch has changed, as it is now."""
        return self._account(self._state(account_id), self._accounts[account_id])

    def records(self, batch: int) -> Records:
        """Returns the rows to write, as of the venue's state at the end of the batch."""
        number = self._venue_id
        states = {account_id: self._state(account_id) for account_id in self._accounts}
        return {
            "instruments": self._instruments,
            "orders": [row.record(number) for row in self._touched.values()],
            "executions": [row.record(number) for row in self._executions],
            "accounts": [self._account(states[account_id], last) for account_id, last in self._accounts.items()],
            "positions": [self._position(states[account_id], symbol) for account_id, symbol in sorted(self._positions)],
            "ledger": self._ledger,
            "journal_accounts": [
                {"venue_id": number, "account_id": account_id, "last_order_sequence": last, "batch": batch}
                for account_id, last in self._last_sequences().items()
            ],
        }

    def _last_sequences(self) -> dict[str, int]:
        return {change.account_id: change.sequence for change in self.changes}

    def _rested(self, event: OrderRested, message: VenueEvent) -> None:
        row = self._orders.get(event.order_id)
        if row is not None:
            row.venue_sequence = event.sequence
            self._touch(row)

    def _traded(self, event: Trade, message: VenueEvent) -> None:
        self._executions.extend(executions(message))
        market = self._venue.market(event.symbol)
        assert market is not None
        self._post(event, market.instrument.currency)

    def _cash_adjusted(self, event: CashAdjusted, message: VenueEvent) -> None:
        self._accounts[event.account_id] = event.sequence
        self._post(event, event.currency)

    def _account_created(self, event: AccountCreated, message: VenueEvent) -> None:
        self._accounts[event.account_id] = event.sequence
        self._account_kinds[event.account_id] = event.kind is AccountKind.FLOW

    def _instrument_added(self, event: InstrumentAdded, message: VenueEvent) -> None:
        self._list(event.instrument)

    _STEPS: ClassVar[dict[type, Callable[..., None]]] = {
        OrderRested: _rested,
        Trade: _traded,
        CashAdjusted: _cash_adjusted,
        AccountCreated: _account_created,
        InstrumentAdded: _instrument_added,
    }

    def _touch(self, row: OrderRow) -> None:
        self._touched[row.order_id] = row
        self._accounts[row.account_id] = row.venue_sequence
        self._positions.add((row.account_id, row.symbol))

    def _post(self, event: CashAdjusted | Trade, currency: str) -> None:
        for leg, posting in enumerate(postings(event)):
            self._ledger.append(
                {
                    "venue_id": self._venue_id,
                    "venue_sequence": event.sequence,
                    "leg": leg,
                    "ledger_account": posting.ledger_account,
                    "currency": currency,
                    "amount": posting.amount,
                    "posted_ns": event.time_ns,
                }
            )

    def _list(self, instrument: Instrument) -> None:
        self._instruments.append(
            {
                "venue_id": self._venue_id,
                "symbol": instrument.symbol,
                "kind": KINDS.value(instrument.kind),
                "name": instrument.name,
                "currency": instrument.currency,
                "tick_size": format_decimal(instrument.tick_size),
                "lot_size": format_decimal(instrument.lot_size),
                "min_quantity": instrument.min_quantity,
                "max_quantity": instrument.max_quantity,
            }
        )

    def _state(self, account_id: str) -> AccountState:
        state = self._venue.account_state(account_id)
        assert state is not None
        return state

    def _account(self, state: AccountState, sequence: int) -> dict[str, Any]:
        return {
            "venue_id": self._venue_id,
            "account_id": state.account_id,
            "flow": state.kind is AccountKind.FLOW,
            "currency": state.currency,
            "allow_short": state.allow_short,
            "cash": state.cash,
            "cash_held": state.holds,
            "realized_pnl": state.realized_pnl,
            "open_orders": sum(orders.count for orders in state.open_orders.values()),
            "version": state.version,
            "venue_sequence": sequence,
        }

    def _position(self, state: AccountState, symbol: str) -> dict[str, Any]:
        position = state.positions.get(symbol, _FLAT)
        return {
            "venue_id": self._venue_id,
            "account_id": state.account_id,
            "symbol": symbol,
            "quantity": position.quantity,
            "quantity_held": position.hold_quantity,
            "cost": position.cost,
            "realized_pnl": position.realized_pnl,
        }
