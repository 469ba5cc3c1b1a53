"""Recorded flow in a venue: what is applied as recorded, what diverges, and what is compared with what."""

import csv
import gzip
from collections.abc import Iterator
from decimal import Decimal

import pytest

from aac_grpc.domain.commands import AdjustCash, CancelOrder, FeedRows, StartFeed
from aac_grpc.domain.events import (
    CancelReason,
    FeedAdvanced,
    FeedStarted,
    OrderCanceled,
    Printed,
    Trade,
)
from aac_grpc.domain.feed import (
    Cancel,
    FeedRow,
    FeedRun,
    Item,
    New,
    Print,
    RecordedFill,
    Reduce,
    Reset,
    Take,
    TopOfBook,
)
from aac_grpc.domain.ledger import Posting, postings
from aac_grpc.domain.orders import Side
from aac_grpc.domain.reasons import CommandRefused
from aac_grpc.domain.venue import Venue
from tests.support.recordings import shared
from tests.unit.market import BUY, MONEY, NOW, SELL, Market, fills


class Tape(Market):
    """A market with a run, and its rows in few words."""

    def __init__(self) -> None:
        super().__init__()
        self.flow()
        self.account("user", dollars=10**6, allow_short=True)
        self.run(StartFeed("day1", "X", "flow"))
        self._next = 0

    def row(self, *items: Item, expected: TopOfBook | None = None, resets: tuple[Reset, ...] = ()) -> FeedAdvanced:
        """Feeds one row, numbered in turn."""
        row = FeedRow(self._next, 0, items, expected, resets)
        self._next += 1
        advanced = self.run(FeedRows("day1", (row,)))[-1]
        assert isinstance(advanced, FeedAdvanced)
        return advanced

    @property
    def progress(self) -> FeedRun:
        """The run's counters."""
        return self.venue.feeds["day1"]

    def keys(self, side: Side, price: int) -> list[str]:
        """Returns the client order ids at a level, in time priority."""
        return [order.client_order_id for order in self.venue.book("X").level(side, price) or ()]


@pytest.fixture
def tape() -> Tape:
    """A market with an empty book and a run that has begun."""
    return Tape()


def test_new_reduce_and_cancel_change_the_book_as_recorded(tape: Tape) -> None:
    tape.row(New("1", BUY, 100, 5), expected=TopOfBook(100, 5, 0, 0))
    tape.row(New("2", SELL, 102, 4), expected=TopOfBook(100, 5, 102, 4))
    tape.row(Reduce("1", 2), expected=TopOfBook(100, 3, 102, 4))
    tape.row(Cancel("2"), expected=TopOfBook(100, 3, 0, 0))
    tape.row(Reduce("1", 3), expected=TopOfBook(0, 0, 0, 0))
    run = tape.progress
    assert (run.rows, run.applied, run.diverged, run.compared, run.top_equal) == (5, 5, 0, 5, 5)


def test_a_take_trades_with_the_recorded_makers_and_each_row_is_compared_fill_by_fill(tape: Tape) -> None:
    tape.row(New("1", SELL, 100, 5), New("2", SELL, 100, 3), New("3", SELL, 101, 4), New("4", BUY, 98, 1))
    take = Take(BUY, 101, 10, (RecordedFill(1, "1", 5), RecordedFill(3, "2", 3), RecordedFill(4, "3", 2)))
    tape.row(take, expected=TopOfBook(98, 1, 100, 3))
    tape.row(Print(Decimal("1.005"), 7), expected=TopOfBook(98, 1, 100, 3))
    assert len(tape.progress.awaited) == 3
    tape.row(expected=TopOfBook(98, 1, 101, 4))
    tape.row(expected=TopOfBook(98, 1, 101, 2))
    tape.row(New("5", BUY, 99, 1), expected=TopOfBook(99, 1, 101, 2))
    run = tape.progress
    assert (run.rows, run.applied, run.compared, run.top_equal, run.awaited) == (6, 6, 5, 5, ())


def test_a_restart_between_the_rows_of_a_take_loses_no_comparison(tape: Tape) -> None:
    tape.row(New("1", SELL, 100, 5), New("2", SELL, 101, 3))
    tape.row(Take(BUY, 101, 8, (RecordedFill(1, "1", 5), RecordedFill(2, "2", 3))), expected=TopOfBook(0, 0, 101, 3))
    tape.venue = Venue.restore(tape.venue.snapshot())
    tape.row(expected=TopOfBook(0, 0, 0, 0))
    assert (tape.progress.top_equal, tape.progress.diverged) == (2, 0)


def test_a_take_that_met_a_user_diverges_on_the_rows_it_changed(tape: Tape) -> None:
    tape.row(New("1", SELL, 100, 5), New("2", SELL, 101, 3))
    tape.place("user", "mine", SELL, 2, 101)
    tape.place("user", "first", SELL, 1, 99)
    advanced = tape.row(Take(BUY, 101, 8, (RecordedFill(1, "1", 5), RecordedFill(2, "2", 3))))
    assert fills(tape.events)[0][1] == "first"
    assert advanced.diverged_rows == (1,)
    assert tape.row().diverged_rows == (2,)
    assert tape.progress.applied + tape.progress.diverged == tape.progress.rows == 3


def test_what_a_user_took_away_diverges_and_the_rest_goes_on(tape: Tape) -> None:
    tape.row(New("1", SELL, 100, 5), New("2", SELL, 100, 5))
    tape.place("user", "buy", BUY, 7, 100)
    assert tape.row(Cancel("1")).diverged_rows == (1,)
    assert tape.row(Reduce("2", 4)).diverged_rows == (2,)
    assert tape.levels(SELL) == []
    assert tape.row(New("3", SELL, 100, 1)).diverged_rows == ()


def test_a_new_order_that_meets_a_users_order_trades_and_diverges(tape: Tape) -> None:
    tape.place("user", "bid", BUY, 3, 100)
    advanced = tape.row(New("1", SELL, 99, 5))
    assert advanced.diverged_rows == (0,)
    assert fills(tape.events) == [("day1:1", "bid", 100, 3)]
    assert tape.levels(SELL) == [(99, 2)]


def test_a_users_trade_with_the_feed_posts_against_the_flow_account(tape: Tape) -> None:
    tape.row(New("1", SELL, 100, 5))
    trade = tape.place("user", "buy", BUY, 5, 100)[-1]
    assert isinstance(trade, Trade)
    assert (trade.maker.cash_delta, trade.maker.cash, trade.maker.position) == (0, 0, 0)
    assert postings(trade) == (Posting("cash:user", -5 * MONEY), Posting("flow:flow", 5 * MONEY))
    assert trade.maker.execution_sequence == 1


def test_a_row_without_a_fault_that_shows_another_top_is_counted_unequal(tape: Tape) -> None:
    advanced = tape.row(New("1", BUY, 100, 5), expected=TopOfBook(100, 6, 0, 0))
    assert (advanced.unequal_rows, advanced.diverged_rows) == ((0,), ())
    assert (advanced.compared, advanced.top_equal) == (1, 0)


def test_a_print_counts_as_a_trade_and_leaves_the_book_alone(tape: Tape) -> None:
    tape.row(New("1", BUY, 100, 5))
    tape.row(Print(Decimal("1.0050"), 7, SELL), expected=TopOfBook(100, 5, 0, 0))
    (printed,) = [event for event in tape.events if isinstance(event, Printed)]
    assert (printed.price, printed.quantity, printed.aggressor, printed.trade_sequence) == ("1.005", 7, SELL, 1)
    market = tape.venue.market("X")
    assert market is not None
    assert market.last_price == 0


def test_the_comparison_comes_before_the_rows_resets(tape: Tape) -> None:
    tape.row(expected=TopOfBook(0, 0, 0, 0), resets=(Reset(BUY, 100, (("1", 5),)),))
    tape.row(expected=TopOfBook(100, 5, 0, 0))
    assert (tape.progress.top_equal, tape.progress.resets) == (2, 1)


def test_a_reset_keeps_orders_that_stand_right_and_replaces_the_others(tape: Tape) -> None:
    tape.row(*(New(ref, BUY, 100, 5) for ref in ("1", "2", "3")))
    tape.place("user", "mine", BUY, 1, 100)
    before = tape.venue.find_order("flow", "day1:2")
    tape.row(resets=(Reset(BUY, 100, (("2", 4), ("4", 6))),))
    assert tape.keys(BUY, 100) == ["day1:2", "mine", "day1:4"]
    assert tape.venue.find_order("flow", "day1:2") is before
    assert tape.levels(BUY) == [(100, 11)]


def test_a_reset_restores_the_recorded_priority(tape: Tape) -> None:
    tape.row(*(New(ref, BUY, 100, 5) for ref in ("1", "2", "3")))
    tape.row(resets=(Reset(BUY, 100, (("3", 5), ("1", 7))),))
    assert tape.keys(BUY, 100) == ["day1:3", "day1:1"]
    assert tape.levels(BUY) == [(100, 12)]


def test_an_empty_reset_drops_the_flow_orders_of_a_level_and_no_users(tape: Tape) -> None:
    tape.row(New("1", BUY, 100, 5))
    tape.place("user", "mine", BUY, 1, 100)
    tape.row(resets=(Reset(BUY, 100),))
    assert tape.keys(BUY, 100) == ["mine"]
    (canceled,) = [event for event in tape.events if isinstance(event, OrderCanceled)]
    assert canceled.reason is CancelReason.FEED_RESET


def test_a_reset_may_move_an_order_from_another_level(tape: Tape) -> None:
    tape.row(New("1", BUY, 100, 5))
    tape.row(resets=(Reset(BUY, 101, (("1", 3),)),))
    assert tape.levels(BUY) == [(101, 3)]
    assert tape.progress.diverged == 0


def test_rows_that_came_before_are_skipped_after_a_restart(tape: Tape) -> None:
    rows = tuple(FeedRow(n, 0, (New(str(n), BUY, 100 - n, 1),)) for n in range(6))
    tape.run(FeedRows("day1", rows[:4]))
    tape.venue = Venue.restore(tape.venue.snapshot())
    assert tape.run(FeedRows("day1", rows[:4])) == []
    tape.run(FeedRows("day1", rows[2:]))
    assert (tape.progress.rows, tape.progress.last_row) == (6, 5)
    assert len(tape.levels(BUY)) == 6


def test_a_skipped_batch_leaves_no_trace_in_the_state(tape: Tape) -> None:
    tape.row(New("1", BUY, 100, 1))
    before = tape.venue.state_hash()
    assert tape.venue.execute(FeedRows("day1", (FeedRow(0, 0),)), NOW + 10) == []
    assert tape.venue.state_hash() == before


def test_the_next_run_begins_without_the_orders_of_the_last_one(tape: Tape) -> None:
    tape.row(New("1", BUY, 100, 5), New("2", SELL, 101, 5))
    tape.place("user", "mine", BUY, 1, 100)
    events = tape.run(StartFeed("day2", "X", "flow"))
    assert [type(event) for event in events] == [OrderCanceled, OrderCanceled, FeedStarted]
    tape.run(FeedRows("day2", (FeedRow(0, 0, (New("1", BUY, 100, 5),)),)))
    assert tape.keys(BUY, 100) == ["mine", "day2:1"]
    assert tape.venue.feeds["day2"].diverged == 0


def test_flow_orders_that_are_done_leave_memory(tape: Tape) -> None:
    for number in range(20):
        tape.row(New(str(number), SELL, 100, 1))
        tape.row(Take(BUY, 100, 1, (RecordedFill(2 * number + 1, str(number), 1),)))
    assert list(tape.venue.open_orders("flow")) == []
    assert tape.progress.diverged == 0


@pytest.mark.parametrize(
    "command",
    [
        StartFeed("day1", "X", "flow"),
        StartFeed("day2", "Y", "flow"),
        StartFeed("day2", "X", "user"),
        StartFeed("day2", "X", "nobody"),
        FeedRows("day2", ()),
    ],
)
def test_a_feed_that_cannot_begin_or_go_on_is_refused(tape: Tape, command: StartFeed | FeedRows) -> None:
    before = tape.venue.state_hash()
    with pytest.raises(CommandRefused):
        tape.run(command)
    assert tape.venue.state_hash() == before


def test_items_without_sense_diverge_and_change_nothing(tape: Tape) -> None:
    tape.row(New("1", BUY, 100, 5))
    levels = tape.levels(BUY)
    tape.row(New("1", BUY, 100, 5), New("2", BUY, 0, 5), New("3", BUY, 100, 0), Reduce("1", 0), Take(SELL, 0, 5, ()))
    assert tape.levels(BUY) == levels
    assert tape.progress.diverged == 1


def test_users_cannot_touch_flow_orders(tape: Tape) -> None:
    tape.row(New("1", BUY, 100, 5))
    order_id = tape.order("flow", "day1:1").order_id
    tape.run(CancelOrder("user", order_id))
    assert tape.levels(BUY) == [(100, 5)]
    with pytest.raises(CommandRefused):
        tape.run(AdjustCash("flow", 1))


def recorded_morning() -> Iterator[FeedRow]:
    """Yields the recorded morning's script as rows; a take that rests is a take and a new order."""
    with gzip.open(shared("data/lobster/GOOG10_20k_book5.csv.gz"), "rt") as file:
        tops = {row["row"]: row for row in csv.DictReader(file)}
    with gzip.open(shared("data/lobster/GOOG10_20k.csv.gz"), "rt") as file:
        for line in csv.DictReader(file):
            number = int(line["seq"])
            expected = None
            if line["cmd"] == "CHECK":
                names = ("bid_px1", "bid_qty1", "ask_px1", "ask_qty1")
                expected = TopOfBook(*(int(tops[line["row"]][name]) for name in names))
            yield FeedRow(number, int(line["ts_ns"]), tuple(items_of(line, number)), expected)


def items_of(line: dict[str, str], number: int) -> Iterator[Item]:
    """Yields the items of one line of the script."""
    command, order_ref = line["cmd"], line["order_id"]
    if command == "CANCEL":
        yield Cancel(order_ref)
    elif command == "REDUCE":
        yield Reduce(order_ref, int(line["qty"]))
    elif command != "CHECK":
        side, price, quantity = Side.BUY if line["side"] == "B" else Side.SELL, int(line["price"]), int(line["qty"])
        if command != "NEW":
            recorded = [maker.partition("@")[0].split(":") for maker in line["expect"].split("|")]
            executions = tuple(RecordedFill(number, maker, int(lots)) for maker, lots in recorded)
            taken = sum(execution.quantity for execution in executions)
            yield Take(side, price, taken, executions)
            quantity -= taken
        if command != "TAKE" and quantity:
            yield New(order_ref, side, price, quantity)


def test_the_recorded_google_morning_enters_a_venue_without_a_difference() -> None:
    """Every row as recorded, every top of book equal, and the events rebuild the venue."""
    rows = list(recorded_morning())
    market = Market()
    market.flow()
    market.run(StartFeed("morning", "X", "flow"))
    for start in range(0, len(rows), 500):
        market.run(FeedRows("morning", tuple(rows[start : start + 500])))
    run = market.venue.feeds["morning"]
    assert (run.rows, run.applied, run.diverged) == (len(rows), len(rows), 0)
    assert (run.compared, run.top_equal) == (19_876, 19_876)
    replayed = Venue("main")
    for event in market.events:
        replayed.apply(event)
    assert replayed.state_hash() == market.venue.state_hash()


def test_a_user_in_the_recorded_morning_makes_rows_diverge_and_none_is_lost() -> None:
    rows = list(recorded_morning())[:6000]
    market = Market()
    market.flow()
    market.account("user", dollars=10**9, allow_short=True)
    market.run(StartFeed("morning", "X", "flow"))
    filled = 0
    for start in range(0, len(rows), 50):
        market.run(FeedRows("morning", tuple(rows[start : start + 50])))
        filled += len(fills(market.place("user", f"u{start}", BUY if start % 100 else SELL, 20)))
    run = market.venue.feeds["morning"]
    assert filled > 50
    assert run.diverged > 0
    assert run.applied + run.diverged == run.rows == len(rows)
    assert run.top_equal < run.compared
