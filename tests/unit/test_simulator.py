"""Simulated flow: the same for a seed, endless, and like a market."""

from collections import Counter
from decimal import Decimal
from itertools import islice, pairwise
from statistics import mean, pvariance

import pytest

from aac_grpc.domain.events import Trade
from aac_grpc.domain.feed import FeedRow, Print, Take
from aac_grpc.domain.orders import Side
from aac_grpc.feeds.lobster import LobsterDay
from aac_grpc.feeds.simulator import BLOCK_ROWS, DEFAULT_INSTRUMENTS, SimulatedInstrument, Simulator
from aac_grpc.feeds.source import Source
from tests.support.recordings import shared
from tests.unit.recorded_day import Replay

SYMBOLS = [instrument.symbol for instrument in DEFAULT_INSTRUMENTS]


@pytest.fixture(scope="module")
def acme() -> list[FeedRow]:
    """The first blocks of a symbol."""
    return list(islice(Simulator(7).rows("ACME"), 2 * BLOCK_ROWS + 500))


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(acme: list[FeedRow]) -> None:
    assert list(islice(Simulator(7).rows("ACME"), 2_000)) == acme[:2_000]
    assert list(islice(Simulator(8).rows("ACME"), 2_000)) != acme[:2_000]


@pytest.mark.parametrize("start", [0, 700, BLOCK_ROWS - 1, BLOCK_ROWS, 2 * BLOCK_ROWS + 300])
def test_flow_goes_on_from_any_row_as_if_it_had_never_stopped(acme: list[FeedRow], start: int) -> None:
    assert list(islice(Simulator(7).rows("ACME", start), 200)) == acme[start : start + 200]


def test_a_far_row_is_reached_without_simulating_all_before_it() -> None:
    far = 10**9
    assert next(Simulator(7).rows("GLOBEX", far)).row == far


def test_rows_and_times_go_up_across_blocks(acme: list[FeedRow]) -> None:
    assert [row.row for row in acme] == list(range(len(acme)))
    assert all(before.time_ns <= after.time_ns for before, after in pairwise(acme))
    seconds = (acme[BLOCK_ROWS].time_ns - acme[0].time_ns) / 10**9
    assert seconds == BLOCK_ROWS / DEFAULT_INSTRUMENTS[0].rows_per_second


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_venue_without_other_orders_follows_every_row(symbol: str) -> None:
    simulator = Simulator(7)
    replay = Replay(simulator.instrument(symbol, "main"))
    rows = simulator.rows(symbol)
    trades = 0
    for _ in range(105):
        trades += sum(isinstance(event, Trade) for event in replay.feed(*islice(rows, 100)))
    run = replay.venue.feeds["day"]
    assert (run.rows, run.applied, run.diverged) == (10_500, 10_500, 0)
    assert run.top_equal == run.compared == 10_498
    assert trades > 500
    assert all(len(replay.venue.book(symbol).levels(side)) > 3 for side in Side)


def test_it_looks_like_a_market(acme: list[FeedRow]) -> None:
    tops = [row.expected for row in acme if row.expected]
    spreads = [top.ask_price - top.bid_price for top in tops]
    assert min(spreads) >= 1
    assert 2 <= mean(spreads) <= 6
    middles = [(top.bid_price + top.ask_price) / 2 for top in tops]
    assert len(set(middles)) > 20
    assert all(0.95 * 9_840 < middle < 1.05 * 9_840 for middle in middles)
    items = [item for row in acme for item in row.items]
    takes = [item for item in items if isinstance(item, Take)]
    assert 0.05 < len(takes) / len(items) < 0.15
    assert any(len(take.fills) > 3 for take in takes)
    assert any(isinstance(item, Print) for item in items)


def test_rows_come_in_bursts(acme: list[FeedRow]) -> None:
    per_second = Counter(row.time_ns // 10**9 for row in acme)
    counts = [per_second[second] for second in range(min(per_second), max(per_second))]
    assert pvariance(counts) > 5 * mean(counts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference_price": Decimal("100.005")}, "multiple of the tick size"),
        ({"reference_price": Decimal("1.99")}, "at least 200 ticks"),
        ({"half_spread": 0}, "half spread"),
        ({"rows_per_second": 0}, "one row per second"),
    ],
)
def test_figures_that_the_model_is_not_made_for_are_refused(changes: dict[str, object], message: str) -> None:
    figures = {"symbol": "X", "name": "X", "reference_price": Decimal(100)} | changes
    with pytest.raises(ValueError, match=message):
        SimulatedInstrument(**figures)  # type: ignore[arg-type]


def test_recorded_and_simulated_flow_have_one_interface() -> None:
    sources: list[Source] = [Simulator(1), LobsterDay.open(shared("data/lobster"))]
    for source in sources:
        symbol = source.symbols[0]
        opening = next(source.rows(symbol))
        assert source.title
        assert source.instrument(symbol, "main").symbol == symbol
        assert (opening.row, opening.items, opening.expected) == (0, (), None)
        assert opening.resets
        with pytest.raises(KeyError):
            source.rows("NONE")
        with pytest.raises(KeyError):
            source.total_rows("NONE")
    assert [source.total_rows(source.symbols[0]) for source in sources] == [None, 147_917]
