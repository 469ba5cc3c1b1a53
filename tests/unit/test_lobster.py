"""Recorded days: what a venue without other orders makes of them, and what is refused."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice, zip_longest
from pathlib import Path

import pytest

from aac_grpc.domain.commands import AccountKind, AdjustCash, CreateAccount, PlaceOrder
from aac_grpc.domain.events import FeedAdvanced, Printed, Trade
from aac_grpc.domain.feed import Cancel, FeedRow, FeedRun, New, Print, Reduce, Reset, Take
from aac_grpc.domain.orders import OrderType, Side, TimeInForce
from aac_grpc.feeds.lobster import Counts, LobsterDay, find_recordings
from tests.support.recordings import shared
from tests.unit.recorded_day import NAME, RandomDay, Replay, recorded_levels

Fill = tuple[str, int]
"""(order_ref, lots)."""


@dataclass
class Played:
    """A recording after it went through a venue."""

    run: FeedRun
    counts: Counts
    takes: list[list[Fill]] = field(default_factory=list)
    """The venue's fills of each incoming order."""
    prints: int = 0
    unlike: list[int] = field(default_factory=list)
    """Batches after whose resets the venue did not show the recorded levels."""


def lobster(symbol: str) -> LobsterDay:
    return LobsterDay.open(shared("data/lobster"), symbol)


def play(symbol: str, limit: int | None = None) -> Played:
    """Feeds a recorded day, or its first rows, to a venue."""
    day = lobster(symbol)
    (recording,) = [found for found in find_recordings(shared("data/lobster")) if found.symbol == symbol]
    replay = Replay(day.instrument(symbol, "main"))
    rows = islice(day.rows(symbol), limit)
    played = Played(replay.venue.feeds["day"], day.counts)
    with recording.open(recording.orderbook_file) as lines:
        while batch := tuple(islice(rows, 100)):
            fills: dict[str, list[Fill]] = {}
            for event in replay.feed(*batch):
                if isinstance(event, Trade):
                    maker = event.maker.client_order_id.partition(":")[2]
                    fills.setdefault(event.taker.order_id, []).append((maker, event.quantity))
                played.prints += isinstance(event, Printed)
            played.takes += fills.values()
            recorded = list(islice(lines, len(batch) - (batch[0].row == 0)))[-1].decode()
            under_way = batch[-1].row < day.total_rows(symbol) - 1 and replay.venue.feeds["day"].awaited
            if not under_way and replay.levels(recording.levels) != recorded_levels(recorded):
                played.unlike.append(batch[-1].row)
    return played


def recorded_aggressors(symbol: str) -> Iterator[list[Fill]]:
    """The executions of each aggressor, read from the file by the rule alone."""
    (recording,) = [found for found in find_recordings(shared("data/lobster")) if found.symbol == symbol]
    fills: list[Fill] = []
    key = ("", "")
    with recording.open(recording.message_file) as lines:
        for line in lines:
            time, kind, order_id, size, _, direction = line.decode().split(",")
            if kind == "5" and fills and time == key[0]:
                continue
            if kind == "4" and key == (time, direction):
                fills.append((order_id, int(size)))
                continue
            if fills:
                yield fills
            key, fills = (time, direction), [(order_id, int(size))] if kind == "4" else []
    if fills:
        yield fills


@pytest.fixture(scope="module")
def goog() -> Played:
    return play("GOOG")


def test_the_whole_goog_day_has_the_recorded_top_of_book(goog: Played) -> None:
    run = goog.run
    assert run.rows == 147_917
    assert run.compared == 147_852
    assert run.top_equal / run.compared >= 0.9999
    assert run.resets == goog.counts.resets < 9_000


def test_undisturbed_no_row_of_the_goog_day_diverges(goog: Played) -> None:
    assert (goog.run.applied, goog.run.diverged) == (goog.run.rows, 0)
    assert goog.counts.unplaced == 0
    assert goog.prints == 3_913


def test_after_its_resets_a_goog_row_shows_all_ten_recorded_levels(goog: Played) -> None:
    assert goog.unlike == []


def test_aggressors_of_the_goog_day_meet_the_recorded_makers_in_order(goog: Played) -> None:
    pairs = list(zip_longest(goog.takes, recorded_aggressors("GOOG")))
    exact = sum(met == recorded for met, recorded in pairs)
    assert len(pairs) == goog.counts.aggressors == 5_931
    assert exact == goog.counts.exact >= 5_919


def assert_aapl_works(played: Played, rows: int) -> None:
    """One level shows nothing of what is behind it, so the top is right only where we knew the next level."""
    run = played.run
    assert (run.rows, run.applied, run.diverged) == (rows, rows, 0)
    assert played.unlike == []
    assert run.top_equal / run.compared >= 0.80
    assert played.counts.exact / played.counts.aggressors >= 0.948


def test_a_day_of_one_level_works_too() -> None:
    assert_aapl_works(play("AAPL", 25_000), 25_000)


@pytest.mark.slow
def test_the_whole_aapl_day_of_one_level_works_too() -> None:
    assert_aapl_works(play("AAPL"), 118_498)


def test_rows_are_the_same_each_time_and_go_on_from_any_row() -> None:
    day = lobster("GOOG")
    rows = list(islice(day.rows("GOOG"), 3_000))
    assert list(islice(day.rows("GOOG", 2_000), 1_000)) == rows[2_000:]
    assert [row.row for row in rows] == list(range(3_000))
    assert all(row.expected is None for row in rows if row.time_ns < rows[0].time_ns // 10**9 * 10**9 + 10**9)


def test_a_users_order_in_the_flow_makes_rows_diverge_and_none_is_lost() -> None:
    day = lobster("GOOG")
    replay = Replay(day.instrument("GOOG", "main"))
    venue, rows = replay.venue, day.rows("GOOG")
    venue.execute(CreateAccount("alice", "USD", AccountKind.USER), 0)
    venue.execute(AdjustCash("alice", 10**8 * 10**7), 0)
    filled = 0
    for batch in range(40):
        for event in replay.feed(*islice(rows, 250)):
            if isinstance(event, Trade):
                filled += event.quantity * ("alice" in (event.taker.account_id, event.maker.account_id))
        ask = venue.book("GOOG").best_ask()
        assert ask is not None
        order = (Side.BUY, OrderType.LIMIT, TimeInForce.GTC, 50, ask[0])
        venue.execute(PlaceOrder("alice", f"order-{batch}", "GOOG", *order), 0)
    run = venue.feeds["day"]
    assert filled > 0
    assert run.diverged > 0
    assert run.applied + run.diverged == run.rows == 10_000


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(8))
def test_a_random_day_is_followed_row_by_row_whatever_happens_out_of_view(
    tmp_path: Path, seed: int, levels: int
) -> None:
    recorded = RandomDay(seed, levels).run(600)
    day = LobsterDay.open(recorded.write(tmp_path))
    replay = Replay(day.instrument("TEST", "main"))
    for row in day.rows("TEST"):
        replay.feed(row)
        under_way = replay.venue.feeds["day"].awaited
        if row.row and not under_way:
            assert replay.levels(levels) == recorded_levels(recorded.rows[row.row - 1]), row
    run = replay.venue.feeds["day"]
    assert (run.rows, run.diverged) == (len(recorded.messages) + 1, 0)
    assert run.resets == day.counts.resets


BOOK = "10010000,7,10000000,9\n"


def small_day(folder: Path, *messages: str, books: str | None = None) -> LobsterDay:
    """A day of one level with these messages (after the time) and a book that stays as it is, or the given ones."""
    text = "".join(f"34202.000000{index:03d},{message}\n" for index, message in enumerate(messages))
    (folder / NAME.format(kind="message", levels=1)).write_text(text)
    (folder / NAME.format(kind="orderbook", levels=1)).write_text(books or BOOK * len(messages))
    return LobsterDay.open(folder)


def all_rows(day: LobsterDay) -> list[FeedRow]:
    return list(day.rows("TEST"))


def test_the_book_opens_as_it_was_before_the_first_message(tmp_path: Path) -> None:
    opening, first, _ = all_rows(small_day(tmp_path, "2,5,3,10000000,1", "3,5,9,10000000,1"))
    assert set(opening.resets) == {Reset(Side.SELL, 1001_00, (("~1", 7),)), Reset(Side.BUY, 1000_00, (("5", 12),))}
    assert opening.items == ()
    assert first.items == (Reduce("5", 3),)
    assert first.resets == ()


def test_each_kind_of_message_becomes_its_item(tmp_path: Path) -> None:
    books = "10010000,7,10000000,9\n10010000,7,10000000,12\n10010000,7,10000000,9\n" + BOOK * 3
    messages = ("5,0,4,10005050,1", "1,8,3,10000000,1", "3,8,3,10000000,1", "6,-1,50,10000000,-1", "7,0,0,-1,-1")
    items = [row.items for row in all_rows(small_day(tmp_path, *messages, books=books))]
    (hidden,), (new,), (cancel,), (cross,), halt = items[1:]
    assert isinstance(hidden, Print)
    assert (str(hidden.price), hidden.quantity, hidden.side) == ("1000.5050", 4, Side.SELL)
    assert (new, cancel) == (New("8", Side.BUY, 1000_00, 3), Cancel("8"))
    assert isinstance(cross, Print)
    assert halt == ()


def test_executions_of_one_time_and_direction_are_one_order_at_the_worst_price(tmp_path: Path) -> None:
    lines = ["4,11,7,10010000,-1", "5,0,1,10010000,-1", "4,12,2,10020000,-1", "4,13,1,10000000,1"]
    text = "".join(f"34202.5,{line}\n" for line in lines)
    (tmp_path / NAME.format(kind="message", levels=2)).write_text(text)
    rows = ["10020000,5,10000000,9,10030000,1,9990000,5\n"] * 2 + [
        "10020000,3,10000000,9,10030000,1,9990000,5\n",
        "10020000,3,10000000,8,10030000,1,9990000,5\n",
    ]
    (tmp_path / NAME.format(kind="orderbook", levels=2)).write_text("".join(rows))
    day = LobsterDay.open(tmp_path)
    replay = Replay(day.instrument("TEST", "main"))
    fed = list(day.rows("TEST"))
    replay.feed(*fed)
    (take,) = fed[1].items
    assert isinstance(take, Take)
    assert (take.side, take.price, take.quantity) == (Side.BUY, 1002_00, 9)
    assert [(fill.row, fill.order_ref, fill.quantity) for fill in take.fills] == [(1, "11", 7), (3, "12", 2)]
    assert isinstance(fed[2].items[0], Print)
    assert fed[3].items == ()
    assert day.counts.aggressors == 2
    assert replay.venue.feeds["day"].diverged == 0


def test_times_are_new_yorks_in_summer_and_in_winter(tmp_path: Path) -> None:
    for day, hour in (("2012-06-21", 13), ("2012-01-20", 14), ("2012-03-12", 13), ("2012-11-05", 14)):
        folder = tmp_path / day
        folder.mkdir()
        small_day(folder, "7,0,0,-1,-1")
        for file in list(folder.iterdir()):
            file.rename(folder / file.name.replace("2012-06-21", day))
        opening = all_rows(LobsterDay.open(folder))[0]
        assert datetime.fromtimestamp(opening.time_ns // 10**9, UTC).hour == hour


def test_a_zip_a_folder_and_either_file_open_the_same_recording(tmp_path: Path) -> None:
    small_day(tmp_path, "7,0,0,-1,-1")
    files = sorted(tmp_path.glob("*.csv"))
    with zipfile.ZipFile(tmp_path / "day.zip", "w") as archive:
        for file in files:
            archive.write(file, f"inside/{file.name}")
    titles = {LobsterDay.open(path).title for path in (tmp_path, *files, tmp_path / "day.zip")}
    assert titles == {"LOBSTER TEST 2012-06-21, 1 levels, 1 messages"}


def test_of_several_recordings_the_deepest_book_opens_unless_a_symbol_is_named() -> None:
    assert LobsterDay.open(shared("data/lobster")).symbols == ("GOOG",)
    assert LobsterDay.open(shared("data/lobster"), "AAPL").symbols == ("AAPL",)
    with pytest.raises(FileNotFoundError, match=r"no recording of MSFT .* there are GOOG, AAPL"):
        LobsterDay.open(shared("data/lobster"), "MSFT")


def test_what_is_not_a_recording_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no"):
        LobsterDay.open(tmp_path / "missing.zip")
    with pytest.raises(FileNotFoundError, match="no LOBSTER message and orderbook pair"):
        LobsterDay.open(tmp_path)
    with pytest.raises(ValueError, match=r"message_1.csv is not a LOBSTER message file"):
        small_day(tmp_path, "a,b,c,d,e")
    with pytest.raises(ValueError, match=r"message_1.csv has no messages"):
        small_day(tmp_path)
    with pytest.raises(ValueError, match=r"orderbook_1.csv has fewer rows"):
        all_rows(small_day(tmp_path, "7,0,0,-1,-1", "7,0,0,-1,-1", books=BOOK))
    with pytest.raises(ValueError, match="does not have 1 levels a side"):
        all_rows(small_day(tmp_path, "7,0,0,-1,-1", books="1,2,3\n"))
    with pytest.raises(KeyError):
        next(small_day(tmp_path, "7,0,0,-1,-1").rows("GOOG"))


def test_a_stock_quoted_finer_than_a_cent_has_a_finer_tick(tmp_path: Path) -> None:
    day = small_day(tmp_path, "1,8,3,9950,1", books="10000,7,9950,3\n")
    assert str(day.instrument("TEST", "main").tick_size) == "0.0001"
    assert str(lobster("GOOG").instrument("GOOG", "main").tick_size) == "0.01"


def test_a_row_advances_the_run_by_one(tmp_path: Path) -> None:
    day = small_day(tmp_path, "7,0,0,-1,-1")
    replay = Replay(day.instrument("TEST", "main"))
    events = [event for row in day.rows("TEST") for event in replay.feed(row) if isinstance(event, FeedAdvanced)]
    assert [event.rows for event in events] == [1, 2]
    assert events[-1].top_equal == events[-1].compared == 1
