"""How an account has done, from its executions, in exact money.

What an execution realized is the venue's figure (average-cost method, `accounts.py`), carried by the execution: it is
counted here, never computed a second time, so that any range of executions can be judged without those before it.
Money is integer units of 1e-8 of one currency.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf, nan


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """One execution of the account."""

    symbol: str
    value: int
    """Price x quantity, in money units."""
    realized_pnl: int
    """Profit of what it closed, at average cost; 0 where it closed nothing."""
    executed_ns: int
    fee: int = 0
    """What it cost, in money units."""


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

    def add(self, execution: ExecutionRecord) -> None:
        """Counts in the next execution, in the order of execution."""
        realized = execution.realized_pnl
        self.executions += 1
        self.turnover += execution.value
        self.fees += execution.fee
        self.first_ns = execution.executed_ns if self.first_ns is None else self.first_ns
        self.last_ns = execution.executed_ns
        if realized > 0:
            self.wins += 1
            self.gross_profit += realized
        elif realized < 0:
            self.losses += 1
            self.gross_loss += realized
        self.realized_pnl += realized
        equity = self.realized_pnl - self.fees
        self._peak = max(self._peak, equity)
        self.max_drawdown = max(self.max_drawdown, self._peak - equity)


@dataclass(slots=True)
class AccountPerformance:
    """The performance of an account in one currency."""

    total: Performance = field(default_factory=Performance)
    instruments: dict[str, Performance] = field(default_factory=dict)
    """By symbol, in the order of their first executions."""

    def add(self, execution: ExecutionRecord) -> None:
        """Counts in the next execution, in the order of execution."""
        self.total.add(execution)
        instrument = self.instruments.get(execution.symbol)
        if instrument is None:
            instrument = self.instruments[execution.symbol] = Performance(execution.symbol)
        instrument.add(execution)

    def add_all(self, executions: Iterable[ExecutionRecord]) -> None:
        """Counts in executions given in the order of execution."""
        for execution in executions:
            self.add(execution)
