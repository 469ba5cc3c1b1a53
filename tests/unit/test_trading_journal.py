"""What the journal keeps is what happened: events survive being written, and rows follow from them."""

import random
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from aac.trading.v1 import order_pb2
from aac.trading.v1.command_pb2 import CommandBatch, VenueCommand
from aac.trading.v1.journal_pb2 import JournalBatch, VenueEvent

from aac_grpc.domain.commands import (
    AccountKind,
    AddInstrument,
    AdjustCash,
    AmendOrder,
    CancelOrder,
    Command,
    CreateAccount,
    FeedRows,
    PlaceOrder,
    StartFeed,
)
from aac_grpc.domain.feed import Cancel, FeedRow, New, Print, RecordedFill, Take, TopOfBook
from aac_grpc.domain.instruments import Instrument, InstrumentKind
from aac_grpc.domain.orders import OrderType, Reason, Side, TimeInForce, Verdict
from aac_grpc.domain.venue import Venue
from aac_grpc.feeds.messages import row_message
from aac_grpc.servicers.trading.batch import Batch
from aac_grpc.servicers.trading.command_log import feed_rows_message
from aac_grpc.servicers.trading.decoding import decode
from aac_grpc.servicers.trading.failpoints import Failpoint
from aac_grpc.servicers.trading.feed_rows import feed_row
from aac_grpc.servicers.trading.live import LiveOrders, LiveVenue
from aac_grpc.servicers.trading.vocabulary import SIDES, TIMES_IN_FORCE, TYPES, instrument_of, reasons_of

GOOG = Instrument("GOOG", "v", InstrumentKind.VENUE, "Google", "USD", Decimal("0.01"), Decimal("1"))


def empty() -> LiveVenue:
    return LiveVenue(1, Venue("v"), 0, b"", LiveOrders(), {}, {})


def opening() -> list[Command]:
    return [
        AddInstrument(GOOG),
        CreateAccount("alice", "USD"),
        CreateAccount("bob", "USD", allow_short=True),
        CreateAccount("flow", "USD", AccountKind.FLOW),
        AdjustCash("alice", 10**14, "first deposit"),
        AdjustCash("bob", 10**13),
        StartFeed("run", "GOOG", "flow"),
    ]


class Player:
    """Random commands of users and rows of a feed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rows = 0
        self.orders = 0

    def command(self, live: LiveVenue) -> Command:
        draw = self.random.random()
        resting = [order.order_id for name in ("alice", "bob") for order in live.venue.open_orders(name)]
        if draw < 0.4:
            return FeedRows("run", (self.row(),))
        if draw < 0.6 and resting:
            order_id = self.random.choice([*resting, "v-999999"])
            row = live.orders.get(order_id)
            owner = row.account_id if row else "alice"
            if draw < 0.5:
                return CancelOrder(owner, order_id)
            return AmendOrder(owner, order_id, self.random.choice((None, self.price())), self.quantity())
        self.orders += 1
        kind = self.random.choice((OrderType.LIMIT, OrderType.LIMIT, OrderType.MARKET))
        time = self.random.choice((TimeInForce.IOC, TimeInForce.FOK))
        return PlaceOrder(
            self.random.choice(("alice", "bob")),
            f"c{self.orders}",
            "GOOG",
            self.random.choice(tuple(Side)),
            kind,
            time if kind is OrderType.MARKET else self.random.choice((time, TimeInForce.GTC, TimeInForce.GTC)),
            self.quantity(),
            None if kind is OrderType.MARKET else self.price(),
        )

    def row(self) -> FeedRow:
        row = self.rows
        self.rows += 1
        side = self.random.choice(tuple(Side))
        items = self.random.choice(
            (
                (New(f"f{row}", side, self.price(), self.quantity()),),
                (New(f"f{row}", side, self.price(), self.quantity()),),
                (Cancel(f"f{self.random.randint(0, row)}"),),
                (Take(side, self.price(), 7, (RecordedFill(row, f"f{row}", 3), RecordedFill(row + 1, "f1", 4))),),
                (Print(Decimal("570.123"), 5, side),),
            )
        )
        return FeedRow(row, row * 1000, items, TopOfBook(1, 2, 3, 4))

    def price(self) -> int:
        return self.random.randint(95, 105)

    def quantity(self) -> int:
        return self.random.randint(1, 9)


class Played(NamedTuple):
    """What came of random batches."""

    live: LiveVenue
    events: list[VenueEvent]
    """As read back from the journal."""
    commands: list[CommandBatch]
    """As read back from the journal."""
    rows: list[dict[str, Any]]
    """Of the orders."""


def play(seed: int, batches: int = 60) -> Played:
    """Plays batches of random commands."""
    live, player = empty(), Player(seed)
    events: list[VenueEvent] = []
    told: list[CommandBatch] = []
    rows: dict[str, dict[str, Any]] = {}
    commands = opening()
    for now in range(1, batches + 1):
        batch = Batch(live, now)
        for command in commands:
            if isinstance(command, FeedRows):
                messages = [row_message(row) for row in command.rows]
                assert tuple(feed_row(message, "rows[0]") for message in messages) == command.rows
                batch.execute(command, message=feed_rows_message("run", messages))
            else:
                risk = None
                if live.venue.intent(command) is not None:
                    refused = player.random.random() < 0.1
                    risk = Verdict(not refused, (Reason("ORDER_SIZE", "too large", "1", "2"),) if refused else ())
                batch.execute(command, risk)
        batch.seal()
        events += JournalBatch.FromString(batch.events).events
        told.append(CommandBatch.FromString(batch.commands))
        rows.update({record["order_id"]: record for record in batch.records()["orders"]})
        commands = []
        for _ in range(player.random.randint(1, 8)):
            commands.append(player.command(live))
    return Played(live, events, told, list(rows.values()))


@pytest.mark.parametrize("seed", range(8))
def test_events_that_were_written_and_read_rebuild_the_same_state(seed: int) -> None:
    live, events, _, _ = play(seed)
    rebuilt = Venue("v")
    for message in events:
        rebuilt.apply(decode(message, "v"))
    assert rebuilt.state_hash() == live.venue.state_hash()
    assert [message.sequence for message in events] == list(range(1, len(events) + 1))


def command_of(message: VenueCommand) -> Command:
    """A command as the journal kept it."""
    kind = message.WhichOneof("command")
    said = getattr(message, kind)
    if kind == "place_order":
        return PlaceOrder(
            said.account_id,
            said.client_order_id,
            said.symbol,
            SIDES.member(said.side),
            TYPES.member(said.type),
            TIMES_IN_FORCE.member(said.time_in_force),
            said.quantity,
            said.price or None,
        )
    if kind == "feed_rows":
        return FeedRows(said.run_id, tuple(feed_row(row, "rows[0]") for row in said.rows))
    others: dict[str, Any] = {
        "add_instrument": lambda: AddInstrument(instrument_of(said.instrument, "v")),
        "create_account": lambda: CreateAccount(
            said.account_id, said.currency, AccountKind.FLOW if said.flow else AccountKind.USER, said.allow_short
        ),
        "adjust_cash": lambda: AdjustCash(said.account_id, said.amount, said.reference),
        "amend_order": lambda: AmendOrder(said.account_id, said.order_id, said.price or None, said.quantity or None),
        "cancel_order": lambda: CancelOrder(said.account_id, said.order_id),
        "start_feed": lambda: StartFeed(said.run_id, said.symbol, said.account_id),
    }
    made: Command = others[kind]()
    return made


@pytest.mark.parametrize("seed", range(8))
def test_commands_that_were_written_and_read_match_again_to_the_same_state(seed: int) -> None:
    live, _, told, _ = play(seed)
    again = Venue("v")
    for batch in told:
        for message in batch.commands:
            verdict = None
            if message.HasField("verdict"):
                verdict = Verdict(message.verdict.accepted, reasons_of(message.verdict.reasons))
            again.execute(command_of(message), batch.time_ns, verdict)
    assert again.state_hash() == live.venue.state_hash()


@pytest.mark.parametrize("seed", range(8))
def test_rows_of_orders_are_the_users_orders_as_the_venue_has_them(seed: int) -> None:
    live, _, _, rows = play(seed)
    by_id = {row["order_id"]: row for row in rows}
    assert all(row["account_id"] in ("alice", "bob") for row in rows)
    resting = {order.order_id: order for name in ("alice", "bob") for order in live.venue.open_orders(name)}
    assert {row["order_id"] for row in rows if row["state"] == order_pb2.ORDER_STATE_OPEN} == set(resting)
    fields = ("price", "leaves", "filled", "quantity", "filled_value", "created_ns")
    for order_id, order in resting.items():
        assert [by_id[order_id][name] for name in fields] == [getattr(order, name) for name in fields]
    done = [row for row in rows if row["state"] != order_pb2.ORDER_STATE_OPEN]
    assert all(row["leaves"] == 0 for row in done)


@pytest.mark.parametrize("text", ["", "before_commit", "after_answer:7", "before_commit:3:stop"])
def test_a_failpoint_is_a_step_and_a_count(text: str) -> None:
    Failpoint.parse(text)


@pytest.mark.parametrize("text", ["commit", "before_commit:0", "before_commit:x", ":3", "before_commit:3:wait"])
def test_a_failpoint_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="failpoint"):
        Failpoint.parse(text)
