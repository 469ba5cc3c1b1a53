"""Committed events as the rest of the platform consumes them from Kafka.

Orders of a feed are ticks, not domain events: of them only the trades go out, and the users' sides of those.
"""

from collections.abc import Callable, Iterator, Sequence

from aac.event.v1.event_pb2 import AccountEvent, Event, ExecutionEvent, OrderEvent, TradeEvent
from aac.trading.v1 import order_pb2
from aac.trading.v1.journal_pb2 import TradeSide, VenueEvent

from aac_grpc.common.event_types import EventType
from aac_grpc.common.topics import ACCOUNTS, EXECUTIONS, ORDERS, TRADES
from aac_grpc.common.types import money, to_timestamp
from aac_grpc.domain.instruments import Instrument
from aac_grpc.servicers.trading.order_changes import OrderChange, executions
from aac_grpc.servicers.trading.rows import ExecutionRow
from aac_grpc.servicers.trading.views import execution_view, order_view

SOURCE = "trading-engine"

_ORDER_TYPES = {
    "order_accepted": EventType.ORDER_ACCEPTED,
    "order_rejected": EventType.ORDER_REJECTED,
    "order_amended": EventType.ORDER_AMENDED,
    "order_canceled": EventType.ORDER_CANCELED,
    "trade": EventType.ORDER_FILLED,
}


class DomainEvents:
    """Maps one venue's events. Ids are made of venue, numbering and sequence: the same at each redelivery."""

    def __init__(self, venue: str, epoch: int, instrument: Callable[[str], Instrument]) -> None:
        """Configures.

        Args:
            venue: The venue's id.
            epoch: Numbering of its events.
            instrument: Gives a listed instrument by its symbol.
        """
        self._venue = venue
        self._epoch = epoch
        self._instrument = instrument

    def of(self, message: VenueEvent, changes: Sequence[OrderChange]) -> Iterator[tuple[str, Event]]:
        """Yields what goes out for an event, each with its topic.

        Args:
            message: The event.
            changes: What it changed of users' orders.
        """
        kind = message.WhichOneof("event")
        if kind == "trade":
            yield TRADES, self._trade(message)
            for execution in executions(message):
                if execution.position_after is not None:
                    yield EXECUTIONS, self._execution(message, execution)
        elif kind == "printed":
            yield TRADES, self._print(message)
        elif kind == "account_created" and not message.account_created.flow:
            yield ACCOUNTS, self._opened(message)
        elif kind == "cash_adjusted":
            yield ACCOUNTS, self._adjusted(message)
        if kind in _ORDER_TYPES:
            for part, change in enumerate(changes):
                yield ORDERS, self._order(message, _ORDER_TYPES[kind], part, change)

    def _event(self, message: VenueEvent, part: str, kind: EventType, name: str) -> Event:
        return Event(
            event_id=f"{self._venue}/{self._epoch}/{message.sequence}/{part}",
            type=kind,
            source=SOURCE,
            key=f"{self._venue}/{name}",
            sequence=message.sequence,
            occurred_at=to_timestamp(message.time_ns),
            venue=self._venue,
        )

    def _order(self, message: VenueEvent, kind: EventType, part: int, change: OrderChange) -> Event:
        event = self._event(message, f"order-{part}", kind, change.account_id)
        row = change.row
        assert row is not None
        order = order_view(self._venue, row, self._instrument(row.symbol))
        event.order.CopyFrom(OrderEvent(order=order, sequence=change.sequence))
        return event

    def _trade(self, message: VenueEvent) -> Event:
        trade = message.trade
        instrument = self._instrument(trade.symbol)
        event = self._event(message, "trade", EventType.TRADE_EXECUTED, trade.symbol)
        event.trade.CopyFrom(
            TradeEvent(
                trade_id=trade.trade_id,
                symbol=trade.symbol,
                price=instrument.from_ticks(trade.price),
                quantity=instrument.from_lots(trade.quantity),
                aggressor=trade.aggressor,
                sequence=trade.trade_sequence,
            )
        )
        return event

    def _print(self, message: VenueEvent) -> Event:
        printed = message.printed
        event = self._event(message, "trade", EventType.TRADE_PRINTED, printed.symbol)
        event.trade.CopyFrom(
            TradeEvent(
                trade_id=printed.trade_id,
                symbol=printed.symbol,
                price=printed.price,
                quantity=self._instrument(printed.symbol).from_lots(printed.quantity),
                aggressor=printed.aggressor,
                sequence=printed.trade_sequence,
                print=True,
            )
        )
        return event

    def _execution(self, message: VenueEvent, row: ExecutionRow) -> Event:
        event = self._event(message, f"execution-{row.leg}", EventType.EXECUTION_CREATED, row.account_id)
        instrument = self._instrument(row.symbol)
        maker = row.liquidity == order_pb2.LIQUIDITY_MAKER
        side: TradeSide = message.trade.maker if maker else message.trade.taker
        event.execution.CopyFrom(
            ExecutionEvent(
                execution=execution_view(self._venue, row, instrument),
                cash_after=money(instrument.currency, side.cash),
                position_cost_after=money(instrument.currency, side.position_cost),
            )
        )
        return event

    def _opened(self, message: VenueEvent) -> Event:
        said = message.account_created
        event = self._event(message, "account", EventType.ACCOUNT_OPENED, said.account_id)
        nothing = money(said.currency, 0)
        event.account.CopyFrom(
            AccountEvent(account_id=said.account_id, amount=nothing, cash_after=nothing, allow_short=said.allow_short)
        )
        return event

    def _adjusted(self, message: VenueEvent) -> Event:
        said = message.cash_adjusted
        event = self._event(message, "account", EventType.CASH_ADJUSTED, said.account_id)
        event.account.CopyFrom(
            AccountEvent(
                account_id=said.account_id,
                amount=money(said.currency, said.amount),
                cash_after=money(said.currency, said.cash),
            )
        )
        return event
