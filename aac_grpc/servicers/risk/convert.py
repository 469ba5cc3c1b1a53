"""Orders to judge, and verdicts, between messages and the domain.

Whoever judges here knows no ticks: prices and quantities are integers of 1e-9, money of 1e-18, so that
price x quantity is money (see `domain/limits.py`).
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from aac.risk.v1 import risk_pb2
from aac.risk.v1.risk_pb2 import CheckOrdersRequest, CheckOrdersResponse, GetExposureResponse, OrderCheck
from aac.type.v1 import market_pb2
from aac.type.v1.money_pb2 import Money

from aac_grpc.client.errors import FieldViolation, InvalidFields
from aac_grpc.common.types import EnumNames
from aac_grpc.domain.accounts import AccountState, OpenOrders, PositionState
from aac_grpc.domain.commands import AccountKind
from aac_grpc.domain.decimals import MAX_FRACTION_DIGITS, format_decimal, format_scaled
from aac_grpc.domain.exposure import Exposure
from aac_grpc.domain.limits import Finding, Limits, ReferencePrice, Rule, Verdict
from aac_grpc.domain.orders import OrderIntent, OrderType, Side, TimeInForce

SIDES = EnumNames(market_pb2.Side, Side)
RULES = EnumNames(risk_pb2.Rule, Rule)

_SCALE = MAX_FRACTION_DIGITS
_MONEY_SCALE = 2 * _SCALE
_TO_MONEY = 10**_SCALE
_RULE_SCALES = {
    Rule.ORDER_SIZE: _SCALE,
    Rule.ORDER_NOTIONAL: _MONEY_SCALE,
    Rule.PRICE_BAND: _SCALE,
    Rule.POSITION: _SCALE,
    Rule.BUYING_POWER: _MONEY_SCALE,
    Rule.OPEN_ORDERS: 0,
}
_COUNTED_APART = ""
"""The symbol under which an account's count of open orders stands: the request does not tell it by instrument."""


def scaled(text: str) -> int:
    """Reads a decimal string, whose grammar was checked with the request, as an integer of 1e-9; an empty one is 0."""
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(_SCALE, "0"))


def check_accounts(request: CheckOrdersRequest) -> None:
    """Refuses a request that does not carry the state of every account that its orders name.

    Raises:
        InvalidFields: Names the orders.
    """
    known = {account.account_id for account in request.accounts}
    if any(order.account_id not in known for order in request.orders):
        raise InvalidFields(
            FieldViolation(f"orders[{index}].account_id", f"accounts holds no state of {order.account_id!r}")
            for index, order in enumerate(request.orders)
            if order.account_id not in known
        )


def to_orders(request: CheckOrdersRequest) -> list[OrderIntent]:
    """Reads what is to be judged."""
    currencies = {account.account_id: account.cash.currency for account in request.accounts}
    return [_to_order(order, currencies[order.account_id]) for order in request.orders]


def to_accounts(request: CheckOrdersRequest) -> dict[str, AccountState]:
    """Reads the accounts' states by id."""
    return {account.account_id: _to_account(account) for account in request.accounts}


def to_reference_prices(request: CheckOrdersRequest) -> dict[str, ReferencePrice]:
    """Reads reference prices by symbol."""
    return {
        reference.symbol: ReferencePrice(
            scaled(reference.price) or None, scaled(reference.bid) or None, scaled(reference.ask) or None
        )
        for reference in request.reference_prices
    }


def to_limits(limits: risk_pb2.Limits) -> Limits:
    """Reads limits; what is not set is no limit."""
    return Limits(
        max_order_quantity=scaled(limits.max_order_quantity) or None,
        max_order_notional=scaled(limits.max_order_notional) * _TO_MONEY or None,
        price_band=Decimal(limits.price_band) if limits.price_band else None,
        max_position=scaled(limits.max_position) or None,
        max_open_orders=limits.max_open_orders or None,
    )


def to_response(orders: Iterable[OrderCheck], verdicts: Sequence[Verdict]) -> CheckOrdersResponse:
    """Writes verdicts, one for each order."""
    return CheckOrdersResponse(
        verdicts=[
            risk_pb2.Verdict(
                command_id=order.command_id,
                accepted=verdict.accepted,
                findings=map(_to_finding, verdict.findings),
            )
            for order, verdict in zip(orders, verdicts, strict=True)
        ]
    )


def to_exposure(account_id: str, currency: str, exposure: Exposure) -> GetExposureResponse:
    """Writes what an account has at stake."""

    def money(amount: Decimal | None) -> Money | None:
        return None if amount is None else Money(currency=currency, amount=format_decimal(amount))

    return GetExposureResponse(
        account_id=account_id,
        gross=money(exposure.gross),
        net=money(exposure.net),
        equity=money(exposure.equity),
        leverage="" if exposure.leverage is None else format_decimal(exposure.leverage),
        instruments=[
            risk_pb2.InstrumentExposure(
                symbol=instrument.holding.symbol,
                position=format_decimal(instrument.holding.quantity),
                price="" if instrument.price is None else format_decimal(instrument.price),
                market_value=money(instrument.market_value),
                open_buy_notional=money(instrument.holding.open_buy_notional),
                open_sell_notional=money(instrument.holding.open_sell_notional),
                unrealized_pnl=money(instrument.unrealized_pnl),
            )
            for instrument in exposure.instruments
        ],
    )


def _to_order(order: OrderCheck, currency: str) -> OrderIntent:
    return OrderIntent(
        account_id=order.account_id,
        symbol=order.symbol,
        side=SIDES.member(order.side),
        order_type=OrderType.LIMIT if order.price else OrderType.MARKET,
        time_in_force=TimeInForce.GTC if order.price else TimeInForce.IOC,
        quantity=scaled(order.quantity),
        price=scaled(order.price),
        notional_unit=1,
        currency=currency,
        replaced_quantity=scaled(order.replaces_quantity),
        replaced_price=scaled(order.replaces_price),
    )


def _to_account(account: risk_pb2.AccountState) -> AccountState:
    positions: dict[str, PositionState] = {}
    open_orders: dict[str, OpenOrders] = {_COUNTED_APART: _open_orders(count=account.open_orders)}
    for state in account.instruments:
        sells = scaled(state.open_sell_quantity)
        positions[state.symbol] = PositionState(scaled(state.position), sells, scaled(state.cost) * _TO_MONEY, 0)
        open_orders[state.symbol] = _open_orders(buy_quantity=scaled(state.open_buy_quantity), sell_quantity=sells)
    return AccountState(
        account_id=account.account_id,
        version=account.version,
        kind=AccountKind.USER,
        currency=account.cash.currency,
        allow_short=account.allow_short,
        cash=scaled(account.cash.amount) * _TO_MONEY,
        holds=scaled(account.cash_held.amount) * _TO_MONEY,
        realized_pnl=scaled(account.realized_pnl.amount) * _TO_MONEY,
        positions=positions,
        open_orders=open_orders,
    )


def _open_orders(count: int = 0, buy_quantity: int = 0, sell_quantity: int = 0) -> OpenOrders:
    return OpenOrders(count, 0, buy_quantity, sell_quantity, 0, 0)


def _to_finding(finding: Finding) -> risk_pb2.Finding:
    scale = _RULE_SCALES[finding.rule]
    return risk_pb2.Finding(
        rule=RULES.value(finding.rule),
        passed=finding.passed,
        limit=format_scaled(finding.limit, scale),
        actual=format_scaled(finding.actual, scale),
        headroom=format_scaled(finding.headroom, scale),
        reason=finding.reason,
    )
