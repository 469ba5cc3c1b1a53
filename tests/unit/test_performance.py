"""Performance: figures of an account from its executions."""

from collections.abc import Iterable
from math import inf, isnan

from hypothesis import given
from hypothesis import strategies as st

from aac_grpc.domain.events import Trade
from aac_grpc.domain.orders import Side
from aac_grpc.domain.performance import AccountPerformance, ExecutionRecord
from tests.unit.market import BUY, MONEY, SELL, Market


def executions(*realized: int, symbol: str = "GOOG", fee: int = 0) -> list[ExecutionRecord]:
    """Executions of value 1,000 a second apart, realizing these profits."""
    return [ExecutionRecord(symbol, 1_000, pnl, second, fee) for second, pnl in enumerate(realized)]


def performance_of(records: Iterable[ExecutionRecord]) -> AccountPerformance:
    performance = AccountPerformance()
    performance.add_all(records)
    return performance


def test_nothing_executed_has_no_rates_and_no_times() -> None:
    total = performance_of([]).total
    assert (total.executions, total.realized_pnl, total.turnover, total.max_drawdown) == (0, 0, 0, 0)
    assert isnan(total.win_rate)
    assert isnan(total.profit_factor)
    assert (total.first_ns, total.last_ns) == (None, None)


def test_wins_losses_and_rates_count_only_what_closed() -> None:
    total = performance_of(executions(0, 300, 0, -100, 200)).total
    assert (total.executions, total.wins, total.losses) == (5, 2, 1)
    assert (total.gross_profit, total.gross_loss, total.realized_pnl) == (500, -100, 400)
    assert total.win_rate == 2 / 3
    assert total.profit_factor == 5.0
    assert total.turnover == 5_000
    assert (total.first_ns, total.last_ns) == (0, 4)


def test_the_profit_factor_is_infinite_without_a_loss() -> None:
    assert performance_of(executions(1, 2)).total.profit_factor == inf
    assert performance_of(executions(-1)).total.profit_factor == 0.0


def test_the_drawdown_is_the_largest_fall_from_a_peak() -> None:
    assert performance_of(executions(100, -30, 50, -90, 10, -20, 500)).total.max_drawdown == 100
    assert performance_of(executions(-40, 10, 100)).total.max_drawdown == 40
    assert performance_of(executions(1, 2, 3)).total.max_drawdown == 0


def test_fees_reduce_the_equity_but_not_the_realized_profit() -> None:
    total = performance_of(executions(100, 0, 0, fee=10)).total
    assert (total.realized_pnl, total.fees, total.max_drawdown) == (100, 30, 20)


def test_each_symbol_has_its_own_figures() -> None:
    performance = performance_of([*executions(10, -5), *executions(7, symbol="AAPL")])
    assert performance.instruments["GOOG"].realized_pnl == 5
    assert performance.instruments["GOOG"].max_drawdown == 5
    assert performance.instruments["AAPL"].wins == 1
    assert performance.total.realized_pnl == 12


@given(st.lists(st.integers(-(10**20), 10**20)))
def test_money_is_exact_at_any_size(realized: list[int]) -> None:
    total = performance_of(executions(*realized)).total
    assert total.gross_profit + total.gross_loss == total.realized_pnl == sum(realized)
    peak = equity = drawdown = 0
    for pnl in realized:
        equity += pnl
        peak = max(peak, equity)
        drawdown = max(drawdown, peak - equity)
    assert total.max_drawdown == drawdown


@given(st.lists(st.tuples(st.sampled_from([BUY, SELL]), st.integers(1, 9), st.integers(95, 105)), max_size=30))
def test_realized_profit_is_what_the_venue_says_and_what_cash_shows_once_flat(
    orders: list[tuple[Side, int, int]],
) -> None:
    market = Market()
    market.account("alice", dollars=1_000, allow_short=True)
    market.flow()
    held = 0
    for number, (side, quantity, price) in enumerate(orders):
        held += quantity if side is BUY else -quantity
        market.place("flow", f"f{number}", side.opposite, quantity, price)
        market.place("alice", f"a{number}", side, quantity, price)
    if held:
        side = SELL if held > 0 else BUY
        market.place("flow", "flat", side.opposite, abs(held), 100)
        market.place("alice", "flat", side, abs(held), 100)
    records = [
        ExecutionRecord(event.symbol, event.notional, event.taker.realized_pnl, event.time_ns)
        for event in market.events
        if isinstance(event, Trade)
    ]
    alice = market.venue.account_state("alice")
    assert alice is not None
    assert performance_of(records).total.realized_pnl == alice.realized_pnl == alice.cash - 1_000 * MONEY
