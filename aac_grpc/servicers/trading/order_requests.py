"""Placing, amending and cancelling orders."""

from collections.abc import Callable

from aac.trading.v1 import order_pb2
from aac.trading.v1.journal_pb2 import VenueEvent
from aac.trading.v1.order_pb2 import Execution
from aac.trading.v1.trading_pb2 import (
    AmendOrderRequest,
    AmendOrderResponse,
    CancelOrderRequest,
    CancelOrderResponse,
    PlaceOrderRequest,
    PlaceOrderResponse,
)

from aac_grpc.client.errors import FieldViolation, InvalidFields, NotFound
from aac_grpc.domain.commands import AmendOrder, CancelOrder, PlaceOrder
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.orders import OrderIntent, OrderType, TimeInForce, Verdict
from aac_grpc.servicers.trading.batch import Batch, ClientKey
from aac_grpc.servicers.trading.live import LiveVenue, OrderReference
from aac_grpc.servicers.trading.order_changes import executions
from aac_grpc.servicers.trading.requests import Answer, KeyKind, Request, fingerprint
from aac_grpc.servicers.trading.rows import OrderRow
from aac_grpc.servicers.trading.views import execution_view, order_view
from aac_grpc.servicers.trading.vocabulary import SIDES, TIMES_IN_FORCE, TYPES

MAX_STEPS = 2**63 - 1
"""Most ticks or lots that can be written down. An instrument's own bounds are far below, and refuse as the venue."""


class Place(Request[PlaceOrderResponse]):
    """Enters an order."""

    def __init__(self, message: PlaceOrderRequest) -> None:
        """Takes a request whose venue and account are filled in."""
        self._message = message
        self._command: PlaceOrder | None = None
        self.key = ClientKey(message.account_id, KeyKind.PLACE_ORDER, message.client_order_id)
        self.fingerprint = fingerprint(message)

    def prepare(self, live: LiveVenue) -> None:
        """Reads price and quantity as ticks and lots of the instrument; they are never rounded."""
        message = self._message
        _require_account(live, message.account_id)
        instrument = live.instrument(message.symbol)
        if instrument is None:
            problem = f"venue {live.name!r} has no instrument {message.symbol!r}"
            raise InvalidFields([FieldViolation("symbol", problem)])
        reader = _Reader(instrument)
        quantity = reader.lots("quantity", message.quantity)
        price = reader.ticks("price", message.price)
        reader.finish()
        assert quantity is not None
        order_type = TYPES.member(message.type)
        default = TimeInForce.GTC if order_type is OrderType.LIMIT else TimeInForce.IOC
        self._command = PlaceOrder(
            account_id=message.account_id,
            client_order_id=message.client_order_id,
            symbol=message.symbol,
            side=SIDES.member(message.side),
            order_type=order_type,
            time_in_force=TIMES_IN_FORCE.member(message.time_in_force) if message.time_in_force else default,
            quantity=quantity,
            price=price,
        )

    def intent(self, live: LiveVenue) -> OrderIntent | None:
        """The order."""
        assert self._command is not None
        return live.venue.intent(self._command)

    def run(self, batch: Batch, verdict: Verdict | None) -> PlaceOrderResponse:
        """Enters the order; the venue's or risk's refusal is an order in state REJECTED."""
        assert self._command is not None
        happened = batch.execute(self._command, verdict)
        first = happened[0]
        row = batch.live.orders[first.order_rejected.order_id or first.order_accepted.order_id]
        instrument = batch.live.instrument(row.symbol)
        assert instrument is not None
        order = order_view(batch.live.name, row, instrument)
        return PlaceOrderResponse(order=order, executions=_fills(batch, happened, row, instrument))

    def read_answer(self, data: bytes) -> PlaceOrderResponse:
        """Reads the first result."""
        return PlaceOrderResponse.FromString(data)

    def holder(self, answer: PlaceOrderResponse) -> str:
        """The order's id."""
        return answer.order.order_id


class _OnOrder(Request[Answer]):
    """A request about an order that exists."""

    def __init__(self, message: AmendOrderRequest | CancelOrderRequest, kind: KeyKind) -> None:
        self._reference = OrderReference(message.account_id, message.order_id, message.client_order_id)
        self.key = ClientKey(message.account_id, kind, message.request_id)
        self.fingerprint = fingerprint(message)

    @property
    def reference(self) -> OrderReference | None:
        """The order."""
        return self._reference

    def order(self, live: LiveVenue) -> OrderRow:
        """The order as it stands.

        Raises:
            NotFound: The account has none such.
        """
        row = live.orders.find(self._reference) or self.found
        if row is None or not self._reference.matches(row):
            raise NotFound("order", str(self._reference))
        return row


class Amend(_OnOrder[AmendOrderResponse]):
    """Changes an order."""

    def __init__(self, message: AmendOrderRequest) -> None:
        """Takes a request whose venue and account are filled in."""
        super().__init__(message, KeyKind.AMEND_ORDER)
        self._message = message
        self._command: AmendOrder | None = None

    def prepare(self, live: LiveVenue) -> None:
        """Reads price and quantity as ticks and lots of the instrument; they are never rounded."""
        message, row = self._message, self.order(live)
        instrument = live.instrument(row.symbol)
        assert instrument is not None
        reader = _Reader(instrument)
        price = reader.ticks("price", message.price)
        quantity = reader.lots("open_quantity", message.open_quantity)
        reader.finish()
        self._command = AmendOrder(row.account_id, row.order_id, price, quantity)

    def intent(self, live: LiveVenue) -> OrderIntent | None:
        """The order as it would be, where that adds exposure."""
        assert self._command is not None
        return live.venue.intent(self._command)

    def run(self, batch: Batch, verdict: Verdict | None) -> AmendOrderResponse:
        """Changes the order; a refusal leaves it as it is."""
        assert self._command is not None
        before = self.order(batch.live)
        happened = batch.execute(self._command, verdict)
        row = batch.live.orders.get(before.order_id) or before
        instrument = batch.live.instrument(row.symbol)
        assert instrument is not None
        answer = AmendOrderResponse(order=order_view(batch.live.name, row, instrument))
        if happened[0].HasField("amend_rejected"):
            answer.reject_reasons.extend(happened[0].amend_rejected.reasons)
            return answer
        answer.accepted = True
        answer.executions.extend(_fills(batch, happened, row, instrument))
        return answer

    def read_answer(self, data: bytes) -> AmendOrderResponse:
        """Reads the first result."""
        return AmendOrderResponse.FromString(data)

    def holder(self, answer: AmendOrderResponse) -> str:
        """The order's id."""
        return answer.order.order_id


class Cancel(_OnOrder[CancelOrderResponse]):
    """Takes what is open of an order out of the market."""

    def __init__(self, message: CancelOrderRequest) -> None:
        """Takes a request whose venue and account are filled in."""
        super().__init__(message, KeyKind.CANCEL_ORDER)

    def run(self, batch: Batch, verdict: Verdict | None) -> CancelOrderResponse:
        """Cancels the order; one that is done already stays as it is."""
        before = self.order(batch.live)
        happened = batch.execute(CancelOrder(before.account_id, before.order_id))
        row = batch.live.orders.get(before.order_id) or before
        instrument = batch.live.instrument(row.symbol)
        assert instrument is not None
        canceled = happened[0].HasField("order_canceled")
        return CancelOrderResponse(order=order_view(batch.live.name, row, instrument), canceled=canceled)

    def read_answer(self, data: bytes) -> CancelOrderResponse:
        """Reads the first result."""
        return CancelOrderResponse.FromString(data)

    def holder(self, answer: CancelOrderResponse) -> str:
        """The order's id."""
        return answer.order.order_id


class _Reader:
    """Reads prices and quantities of one instrument, and collects what is wrong with them."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._violations: list[FieldViolation] = []

    def ticks(self, field: str, text: str) -> int | None:
        """A price; None where it is left out."""
        return self._steps(field, text, self._instrument.to_ticks)

    def lots(self, field: str, text: str) -> int | None:
        """A quantity; None where it is left out."""
        return self._steps(field, text, self._instrument.to_lots)

    def _steps(self, field: str, text: str, convert: Callable[[str], int]) -> int | None:
        if not text:
            return None
        try:
            steps = convert(text)
        except ValueError as error:
            self._violations.append(FieldViolation(field, str(error)))
            return None
        if steps > MAX_STEPS:
            # The journal, which tells of refused orders too, has no room for it.
            self._violations.append(FieldViolation(field, f"{text} is too large; no order may be near that"))
            return None
        return steps

    def finish(self) -> None:
        """Raises InvalidFields if anything was wrong."""
        if self._violations:
            raise InvalidFields(self._violations)


def _require_account(live: LiveVenue, account_id: str) -> None:
    if live.accounts.get(account_id, True):
        raise NotFound("account", account_id)


def _fills(batch: Batch, happened: list[VenueEvent], row: OrderRow, instrument: Instrument) -> list[Execution]:
    """What an incoming order filled at once."""
    return [
        execution_view(batch.live.name, executions(event)[0], instrument)
        for event in happened
        if event.HasField("trade") and event.trade.taker.order_id == row.order_id
    ]


assert order_pb2.ORDER_STATE_OPEN == 1, "the index orders_open of migration 0001 names this state by its number"
