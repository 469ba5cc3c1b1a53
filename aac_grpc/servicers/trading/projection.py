"""What a batch of events changes in the tables, beside the journal itself."""

from collections.abc import Callable
from typing import Any

from aac.trading.v1 import order_pb2
from aac.trading.v1.journal_pb2 import VenueEvent

from aac_grpc.domain.accounts import PositionState
from aac_grpc.domain.commands import AccountKind
from aac_grpc.domain.decimals import format_decimal
from aac_grpc.domain.events import CashAdjusted, Event, InstrumentAdded, Trade
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.ledger import postings
from aac_grpc.domain.venue import Venue
from aac_grpc.servicers.trading import rows
from aac_grpc.servicers.trading.rows import ExecutionRow, OrderRow
from aac_grpc.servicers.trading.vocabulary import KINDS

_FLAT = PositionState(0, 0, 0, 0)

Records = dict[str, list[dict[str, Any]]]
"""Rows by table."""


class Projection:
    """The tables' rows that follow from one batch of events.

    Attributes:
        executions: Both sides of every trade.
    """

    def __init__(self, venue: Venue, venue_id: int, orders: dict[str, OrderRow], flow: set[str]) -> None:
        """Begins a batch.

        Args:
            venue: Whose events these are.
            venue_id: Its number.
            orders: Users' live orders, by id; kept up to date. Orders that end stay until `forget_done`.
            flow: Ids of the FLOW accounts; kept up to date.
        """
        self._venue = venue
        self._venue_id = venue_id
        self._orders = orders
        self._flow = flow
        self._touched: dict[str, OrderRow] = {}
        self._accounts: dict[str, int] = {}
        """Sequence of the last event, by account."""
        self._positions: set[tuple[str, str]] = set()
        self._order_sequences: dict[str, int] = {}
        self._instruments: list[dict[str, Any]] = []
        self._ledger: list[dict[str, Any]] = []
        self.executions: list[ExecutionRow] = []
        self._steps: dict[str, Callable[[VenueEvent], None]] = {
            "order_accepted": self._accepted,
            "order_rejected": self._rejected,
            "order_rested": self._rested,
            "order_amended": self._amended,
            "order_canceled": self._canceled,
            "amend_rejected": self._refused,
            "cancel_rejected": self._refused,
            "trade": self._traded,
            "cash_adjusted": self._cash_adjusted,
            "account_created": self._account_created,
        }

    def add(self, event: Event, message: VenueEvent) -> None:
        """Takes the next event, in both its shapes."""
        kind = message.WhichOneof("event")
        step = self._steps.get(kind) if kind is not None else None
        if step is not None:
            step(message)
        if isinstance(event, Trade):
            self._post(event, self._venue.instruments[event.symbol].currency)
        elif isinstance(event, CashAdjusted):
            self._post(event, event.currency)
        elif isinstance(event, InstrumentAdded):
            self._list(event.instrument)

    def forget_done(self) -> dict[str, OrderRow]:
        """Drops ended orders from the live ones, and returns them."""
        done = {order_id: row for order_id, row in self._touched.items() if not row.is_open}
        for order_id in done:
            self._orders.pop(order_id, None)
        return done

    def records(self, batch: int) -> Records:
        """Returns the rows to write, as of the venue's state at the end of the batch."""
        number = self._venue_id
        return {
            "instruments": self._instruments,
            "orders": [row.record(number) for row in self._touched.values()],
            "executions": [row.record(number) for row in self.executions],
            "accounts": [self._account(*item) for item in self._accounts.items()],
            "positions": [self._position(*key) for key in sorted(self._positions)],
            "ledger": self._ledger,
            "journal_accounts": [
                {"venue_id": number, "account_id": account_id, "last_order_sequence": last, "batch": batch}
                for account_id, last in self._order_sequences.items()
            ],
        }

    def _accepted(self, message: VenueEvent) -> None:
        if not message.order_accepted.flow:
            self._put(rows.accepted(message))

    def _rejected(self, message: VenueEvent) -> None:
        self._put(rows.rejected(message))

    def _rested(self, message: VenueEvent) -> None:
        row = self._orders.get(message.order_rested.order_id)
        if row is not None:
            row.venue_sequence = message.sequence
            self._touch(row)

    def _amended(self, message: VenueEvent) -> None:
        if message.order_amended.HasField("terms"):
            self._put(rows.amended(message))

    def _canceled(self, message: VenueEvent) -> None:
        if message.order_canceled.HasField("terms"):
            self._put(rows.canceled(message))

    def _traded(self, message: VenueEvent) -> None:
        for leg, side in enumerate((message.trade.taker, message.trade.maker)):
            self.executions.append(rows.executed(message, leg))
            if side.HasField("terms"):
                self._put(rows.traded(message, leg))

    def _refused(self, message: VenueEvent) -> None:
        said = message.amend_rejected if message.HasField("amend_rejected") else message.cancel_rejected
        self._order_sequences[said.account_id] = said.order_sequence

    def _cash_adjusted(self, message: VenueEvent) -> None:
        self._accounts[message.cash_adjusted.account_id] = message.sequence

    def _account_created(self, message: VenueEvent) -> None:
        said = message.account_created
        self._accounts[said.account_id] = message.sequence
        if said.flow:
            self._flow.add(said.account_id)

    def _put(self, row: OrderRow) -> None:
        self._order_sequences[row.account_id] = row.version
        if row.state != order_pb2.ORDER_STATE_REJECTED:
            self._orders[row.order_id] = row
        self._touch(row)

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

    def _account(self, account_id: str, sequence: int) -> dict[str, Any]:
        state = self._venue.account_state(account_id)
        assert state is not None
        return {
            "venue_id": self._venue_id,
            "account_id": account_id,
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

    def _position(self, account_id: str, symbol: str) -> dict[str, Any]:
        state = self._venue.account_state(account_id)
        assert state is not None
        position = state.positions.get(symbol, _FLAT)
        return {
            "venue_id": self._venue_id,
            "account_id": account_id,
            "symbol": symbol,
            "quantity": position.quantity,
            "quantity_held": position.hold_quantity,
            "cost": position.cost,
            "realized_pnl": position.realized_pnl,
        }
