"""Exposure: what is at stake at given prices."""

from decimal import Decimal

import pytest

from aac_grpc.domain.exposure import Holding, exposure_of, mark


def holding(quantity: str, cost: str, symbol: str = "GOOG") -> Holding:
    return Holding(symbol, Decimal(quantity), Decimal(cost))


def test_long_and_short_positions_add_up_in_gross_and_cancel_in_net() -> None:
    exposure = exposure_of(
        Decimal(1000),
        [(holding("10", "900"), Decimal(100)), (holding("-4", "-200", "MSFT"), Decimal(60))],
    )
    assert (exposure.gross, exposure.net, exposure.equity) == (1240, 760, 1760)
    assert exposure.leverage == Decimal("0.704545455")
    assert [one.unrealized_pnl for one in exposure.instruments] == [100, -40]


def test_what_has_no_price_says_so_and_does_not_count() -> None:
    exposure = exposure_of(Decimal(50), [(holding("10", "900"), None)])
    assert (exposure.gross, exposure.equity) == (0, 50)
    only = exposure.instruments[0]
    assert (only.price, only.market_value, only.unrealized_pnl) == (None, None, None)


def test_an_account_whose_equity_is_gone_has_no_leverage() -> None:
    assert exposure_of(Decimal(-100), [(holding("1", "100"), Decimal(100))]).leverage is None


def test_a_position_that_is_flat_is_worth_nothing_at_any_price() -> None:
    only = exposure_of(Decimal(0), [(Holding("GOOG", open_buy_notional=Decimal(500)), None)]).instruments[0]
    assert (only.market_value, only.unrealized_pnl) == (0, 0)


@pytest.mark.parametrize(
    ("last", "bid", "ask", "expected"),
    [
        ("10", "8", "9", "10"),
        (None, "8", "9", "8.5"),
        (None, "8", None, "8"),
        (None, None, "9", "9"),
        (None, None, None, None),
        (None, "0.000000001", "0.000000002", "0.000000002"),
    ],
)
def test_the_price_is_the_last_trades_else_the_middle_else_the_one_side_there_is(
    last: str | None, bid: str | None, ask: str | None, expected: str | None
) -> None:
    given = [None if text is None else Decimal(text) for text in (last, bid, ask)]
    assert mark(*given) == (None if expected is None else Decimal(expected))
