"""What risk-management is asked about orders before they enter the venue."""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal

from aac.risk.v1.risk_pb2 import (
    AccountState,
    CheckOrdersRequest,
    InstrumentState,
    OrderCheck,
    ReferencePrice,
    Rule,
    Verdict,
)
from aac.risk.v1.risk_pb2_grpc import RiskServiceStub

from aac_grpc.client.errors import AacError, DependencyUnavailable
from aac_grpc.common.types import money
from aac_grpc.domain import accounts, orders
from aac_grpc.domain.decimals import format_decimal, format_money
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.orders import OrderIntent, OrderType, Reason
from aac_grpc.domain.state import Market
from aac_grpc.domain.venue import Venue
from aac_grpc.servicers.trading.vocabulary import SIDES

DEPENDENCY = "risk-management"

_PLACES = Decimal("1e-9")
_WIDE = Context(prec=60, rounding=ROUND_HALF_EVEN)


class RiskCheck:
    """Asks risk-management about a batch of orders. Without its answer nothing that adds exposure enters."""

    def __init__(self, stub: RiskServiceStub, timeout_s: float) -> None:
        self._stub = stub
        self._timeout_s = timeout_s

    async def judge(self, venue: Venue, intents: Sequence[OrderIntent]) -> list[orders.Verdict]:
        """Returns a verdict on each order, judged cumulatively in the given order.

        Raises:
            DependencyUnavailable: Risk-management did not answer, or not about all of them.
        """
        request = check_request(venue, intents)
        try:
            response = await self._stub.CheckOrders(request, timeout=self._timeout_s)
        except AacError as error:
            raise DependencyUnavailable(DEPENDENCY) from error
        if len(response.verdicts) != len(intents):
            raise DependencyUnavailable(DEPENDENCY)
        return [_verdict(verdict) for verdict in response.verdicts]


def check_request(venue: Venue, intents: Sequence[OrderIntent]) -> CheckOrdersRequest:
    """Writes orders with the state of their accounts and the prices of their instruments, as the venue knows them."""
    request = CheckOrdersRequest(venue=venue.venue_id)
    symbols, account_ids = dict.fromkeys(each.symbol for each in intents), {each.account_id for each in intents}
    for index, intent in enumerate(intents):
        instrument = _market(venue, intent.symbol).instrument
        request.orders.append(_order_check(str(index), intent, instrument))
    for account_id in sorted(account_ids):
        state = venue.account_state(account_id)
        assert state is not None
        request.accounts.append(_account_state(venue, state))
    request.reference_prices.extend(_reference_price(_market(venue, symbol)) for symbol in symbols)
    return request


def _order_check(command_id: str, intent: OrderIntent, instrument: Instrument) -> OrderCheck:
    limit = intent.order_type is OrderType.LIMIT
    return OrderCheck(
        command_id=command_id,
        account_id=intent.account_id,
        symbol=intent.symbol,
        side=SIDES.value(intent.side),
        quantity=instrument.from_lots(intent.quantity),
        price=instrument.from_ticks(intent.price) if limit else "",
        replaces_quantity=instrument.from_lots(intent.replaced_quantity) if intent.replaced_quantity else "",
        replaces_price=instrument.from_ticks(intent.replaced_price) if intent.replaced_price else "",
    )


def _account_state(venue: Venue, state: accounts.AccountState) -> AccountState:
    return AccountState(
        account_id=state.account_id,
        version=state.version,
        cash=money(state.currency, state.cash),
        cash_held=money(state.currency, state.holds),
        realized_pnl=money(state.currency, state.realized_pnl),
        instruments=_instrument_states(venue, state),
        open_orders=sum(each.count for each in state.open_orders.values()),
        allow_short=state.allow_short,
    )


def _instrument_states(venue: Venue, state: accounts.AccountState) -> Iterable[InstrumentState]:
    for symbol, position in state.positions.items():
        instrument = _market(venue, symbol).instrument
        open_orders = state.open_orders.get(symbol)
        yield InstrumentState(
            symbol=symbol,
            position=instrument.from_lots(position.quantity),
            open_buy_quantity=instrument.from_lots(open_orders.buy_quantity) if open_orders else "0",
            open_sell_quantity=instrument.from_lots(open_orders.sell_quantity) if open_orders else "0",
            cost=format_money(position.cost),
        )


def _reference_price(market: Market) -> ReferencePrice:
    """The last trade's price or, without one, the middle of the book."""
    instrument = market.instrument
    bid, ask = market.book.best_bid(), market.book.best_ask()
    price = ""
    if market.last_price:
        price = instrument.from_ticks(market.last_price)
    elif bid and ask:
        middle = Decimal(bid[0] + ask[0]) * instrument.tick_size / 2
        price = format_decimal(_WIDE.quantize(middle, _PLACES))
    return ReferencePrice(
        symbol=instrument.symbol,
        price=price,
        bid=instrument.from_ticks(bid[0]) if bid else "",
        ask=instrument.from_ticks(ask[0]) if ask else "",
    )


def _verdict(message: Verdict) -> orders.Verdict:
    broken = [finding for finding in message.findings if not finding.passed]
    reasons = tuple(
        Reason(Rule.Name(finding.rule).removeprefix("RULE_"), finding.reason, finding.limit, finding.actual)
        for finding in broken
    )
    return orders.Verdict(message.accepted, reasons)


def _market(venue: Venue, symbol: str) -> Market:
    market = venue.market(symbol)
    assert market is not None
    return market
