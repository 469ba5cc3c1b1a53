"""What an account has at stake, from its positions and open orders at given prices.

Exact decimals; money is rounded half to even to 1e-8 of the currency where a price makes it finer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

from aac_grpc.domain.decimals import MONEY_SCALE

_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_MONEY = Decimal(1).scaleb(-MONEY_SCALE)
_NINE_DIGITS = Decimal("1e-9")
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Holding:
    """An account's stake in one instrument."""

    symbol: str
    quantity: Decimal = _ZERO
    """Signed position."""
    cost: Decimal = _ZERO
    """Of the position, signed like it."""
    open_buy_notional: Decimal = _ZERO
    """Price x open quantity of resting buys."""
    open_sell_notional: Decimal = _ZERO


@dataclass(frozen=True, slots=True)
class InstrumentExposure:
    """A holding at a price."""

    holding: Holding
    price: Decimal | None
    """None where nothing tells."""
    market_value: Decimal | None
    """Signed; None without a price, unless there is no position."""
    unrealized_pnl: Decimal | None
    """Market value less cost."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """All holdings together; those without a price do not count."""

    gross: Decimal
    """Sum of absolute market values."""
    net: Decimal
    """Sum of signed market values."""
    equity: Decimal
    """Cash plus net."""
    leverage: Decimal | None
    """Gross over equity, rounded half to even to 9 fraction digits; None where equity is not above zero."""
    instruments: tuple[InstrumentExposure, ...]
    """In the order of the holdings."""


def mark(last: Decimal | None, bid: Decimal | None, ask: Decimal | None) -> Decimal | None:
    """Returns the price that a position is valued at: the last trade's, else the middle, else the one side there is.

    The middle is rounded half to even to 9 fraction digits.
    """
    if last is not None:
        return last
    if bid is not None and ask is not None:
        return _EXACT.quantize(_EXACT.divide(bid + ask, Decimal(2)), _NINE_DIGITS)
    return bid if bid is not None else ask


def exposure_of(cash: Decimal, holdings: Iterable[tuple[Holding, Decimal | None]]) -> Exposure:
    """Values holdings, each at its price or at none.

    Args:
        cash: Of the account, in its currency, what open orders hold included.
        holdings: With the price of each.
    """
    instruments = tuple(_value(holding, price) for holding, price in holdings)
    values = [exposure.market_value for exposure in instruments if exposure.market_value is not None]
    gross, net = sum(map(abs, values), _ZERO), sum(values, _ZERO)
    equity = cash + net
    leverage = _EXACT.quantize(_EXACT.divide(gross, equity), _NINE_DIGITS) if equity > 0 else None
    return Exposure(gross, net, equity, leverage, instruments)


def _value(holding: Holding, price: Decimal | None) -> InstrumentExposure:
    if not holding.quantity:
        return InstrumentExposure(holding, price, _ZERO, _ZERO)
    if price is None:
        return InstrumentExposure(holding, None, None, None)
    value = _EXACT.quantize(_EXACT.multiply(holding.quantity, price), _MONEY)
    return InstrumentExposure(holding, price, value, value - holding.cost)
