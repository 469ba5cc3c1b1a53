"""How an account has done, from its executions: the average-cost method, in exact money.

Quantities are lots and money is units of 1e-8 (any two consistent integer units will do). When part of a position
is closed, the cost released is rounded half even to a unit and the rest stays with the position, so that nothing is
lost: over a closed position, realized profit is exactly what was received less what was paid.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf, nan

from aac_grpc.domain.orders import Side


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of the account."""

    symbol: str
    side: Side
    quantity: int
    """Lots."""
    value: int
    """Price x quantity, in money units."""
    executed_ns: int
    fee: int = 0
    """In money units; what it cost is positive."""


@dataclass(slots=True)
class Position:
    """What is held of one instrument, at average cost."""

    quantity: int = 0
    """Signed lots: below zero is short."""
    cost: int = 0
    """Signed money paid for it: below zero is what a short sale brought in."""

    def apply(self, side: Side, quantity: int, value: int) -> int | None:
        """Trades and returns the profit realized in money units; None where nothing was closed."""
        signed, paid = (quantity, value) if side is Side.BUY else (-quantity, -value)
        if self.quantity * signed >= 0:
            self.quantity += signed
            self.cost += paid
            return None
        closing = min(abs(signed), abs(self.quantity))
        released = _portion(self.cost, closing, abs(self.quantity))
        exchanged = _portion(paid, closing, abs(signed))
        self.quantity += signed
        self.cost += paid - exchanged - released
        return -exchanged - released


@dataclass(slots=True)
class Performance:
    """Figures of one instrument or of all; money in units of 1e-8."""

    symbol: str = ""
    """Empty for the total."""
    realized_pnl: int = 0
    """Profit of what was closed, before fees."""
    fees: int = 0
    turnover: int = 0
    """Sum of the executions' values."""
    executions: int = 0
    wins: int = 0
    """Executions that closed at a profit."""
    losses: int = 0
    """Executions that closed at a loss."""
    gross_profit: int = 0
    gross_loss: int = 0
    """Not above zero."""
    max_drawdown: int = 0
    """Largest fall of cumulated realized profit less fees from its peak (0 at the start); not below zero."""
    first_ns: int | None = None
    last_ns: int | None = None
    _peak: int = field(default=0, repr=False)

    @property
    def win_rate(self) -> float:
        """Wins over wins plus losses; NaN where nothing closed at either."""
        decided = self.wins + self.losses
        return self.wins / decided if decided else nan

    @property
    def profit_factor(self) -> float:
        """Gross profit over gross loss; infinite without a loss, NaN where nothing closed at either."""
        if self.gross_loss:
            return self.gross_profit / -self.gross_loss
        return inf if self.gross_profit else nan

    def add(self, fill: Fill, realized: int | None) -> None:
        """Counts in an execution and what it realized."""
        self.executions += 1
        self.turnover += fill.value
        self.fees += fill.fee
        self.first_ns = fill.executed_ns if self.first_ns is None else self.first_ns
        self.last_ns = fill.executed_ns
        if realized is not None and realized > 0:
            self.wins += 1
            self.gross_profit += realized
        elif realized is not None and realized < 0:
            self.losses += 1
            self.gross_loss += realized
        self.realized_pnl += realized or 0
        equity = self.realized_pnl - self.fees
        self._peak = max(self._peak, equity)
        self.max_drawdown = max(self.max_drawdown, self._peak - equity)


@dataclass(slots=True)
class AccountPerformance:
    """The performance of an account in one currency, execution by execution."""

    total: Performance = field(default_factory=Performance)
    instruments: dict[str, Performance] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)

    def add(self, fill: Fill) -> None:
        """Counts in the next execution, in the order of execution."""
        position = self.positions.setdefault(fill.symbol, Position())
        realized = position.apply(fill.side, fill.quantity, fill.value)
        self.instruments.setdefault(fill.symbol, Performance(fill.symbol)).add(fill, realized)
        self.total.add(fill, realized)


def performance_of(fills: Iterable[Fill]) -> AccountPerformance:
    """Returns the performance of executions given in order of execution."""
    performance = AccountPerformance()
    for fill in fills:
        performance.add(fill)
    return performance


def _portion(amount: int, part: int, whole: int) -> int:
    """Returns amount x part / whole, rounded half even; exact where part is whole."""
    quotient, remainder = divmod(amount * part, whole)
    if 2 * remainder > whole or (2 * remainder == whole and quotient % 2):
        return quotient + 1
    return quotient
