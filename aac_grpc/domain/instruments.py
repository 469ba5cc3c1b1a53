"""What is traded: an instrument and its exact conversions between decimal text and integers."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from aac_grpc.domain.decimals import (
    MAX_FRACTION_DIGITS,
    MONEY_SCALE,
    format_decimal,
    format_scaled,
    parse_decimal,
    to_scaled,
)

_SCALE = MAX_FRACTION_DIGITS
_FACTOR: int = 10**_SCALE
MAX_LOTS = 10**12
"""Most lots of one order: nine million of the largest at one price still add up to a number of 64 bits."""


class OffTick(ValueError):
    """A price is not a multiple of the tick size; it is never rounded."""


class OffLot(ValueError):
    """A quantity is not a multiple of the lot size; it is never rounded."""


class InstrumentKind(StrEnum):
    """Where an instrument's market is made."""

    VENUE = "venue"
    """Traded here: orders enter this venue's book."""
    EXTERNAL = "external"
    """Published from elsewhere; not tradable."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument of one venue.

    Raises:
        ValueError: A size is not positive, a bound is out of order, or one tick of one lot is not a whole number
            of money units (1e-8 of the currency).
    """

    symbol: str
    venue: str
    kind: InstrumentKind
    name: str
    currency: str
    tick_size: Decimal
    """Smallest price step, in currency."""
    lot_size: Decimal
    """Smallest quantity step, in units of the instrument."""
    min_price: int = 1
    """Lowest limit price, in ticks."""
    max_price: int = 10**9
    """Highest limit price, in ticks."""
    min_quantity: int = 1
    """Smallest order quantity, in lots."""
    max_quantity: int = 10**9
    """Largest order quantity, in lots."""
    version: int = 1
    notional_unit: int = field(init=False, compare=False)
    """Money units of one tick times one lot."""
    _tick: int = field(init=False, repr=False, compare=False)
    _lot: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tick, lot = to_scaled(self.tick_size, _SCALE), to_scaled(self.lot_size, _SCALE)
        if tick <= 0 or lot <= 0:
            raise ValueError(f"{self.symbol}: tick size and lot size must be positive")
        if not 0 < self.min_price <= self.max_price or not 0 < self.min_quantity <= self.max_quantity:
            raise ValueError(f"{self.symbol}: bounds must be positive and in order")
        unit, remainder = divmod(tick * lot * 10**MONEY_SCALE, _FACTOR**2)
        if remainder:
            raise ValueError(f"{self.symbol}: tick size x lot size must be a multiple of 1e-{MONEY_SCALE}")
        object.__setattr__(self, "notional_unit", unit)
        object.__setattr__(self, "_tick", tick)
        object.__setattr__(self, "_lot", lot)

    def to_ticks(self, price: str | Decimal) -> int:
        """Converts a price to ticks.

        Raises:
            OffTick: The price is not a multiple of the tick size.
            ValueError: The text is not a decimal.
        """
        value = parse_decimal(price) if isinstance(price, str) else price
        ticks, remainder = _divide(value, self._tick)
        if remainder:
            raise OffTick(f"{value} is not a multiple of the tick size {format_decimal(self.tick_size)}")
        return ticks

    def from_ticks(self, ticks: int) -> str:
        """Writes a price of so many ticks as a decimal string."""
        return format_scaled(ticks * self._tick, _SCALE)

    def to_lots(self, quantity: str | Decimal) -> int:
        """Converts a quantity to lots.

        Raises:
            OffLot: The quantity is not a multiple of the lot size.
            ValueError: The text is not a decimal.
        """
        value = parse_decimal(quantity) if isinstance(quantity, str) else quantity
        lots, remainder = _divide(value, self._lot)
        if remainder:
            raise OffLot(f"{value} is not a multiple of the lot size {format_decimal(self.lot_size)}")
        return lots

    def from_lots(self, lots: int) -> str:
        """Writes a quantity of so many lots as a decimal string."""
        return format_scaled(lots * self._lot, _SCALE)

    def notional(self, price: int, quantity: int) -> int:
        """Returns the money of `quantity` lots at `price` ticks, in units of 1e-8."""
        return price * quantity * self.notional_unit


def _divide(value: Decimal, step: int) -> tuple[int, int]:
    """Divides a decimal by a step of 1e-9 units into whole steps and what remains (zero or not)."""
    numerator, denominator = value.as_integer_ratio()
    return divmod(numerator * _FACTOR, denominator * step)
