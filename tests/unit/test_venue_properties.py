"""What holds in a venue whatever is sent to it."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from aac_grpc.domain.accounts import AccountState
from aac_grpc.domain.commands import (
    AccountKind,
    AdjustCash,
    AmendOrder,
    CancelOrder,
    Command,
    FeedRows,
    PlaceOrder,
    StartFeed,
)
from aac_grpc.domain.events import Event, FeedAdvanced, OrderAccepted, OrderCanceled, Trade
from aac_grpc.domain.feed import Cancel, FeedRow, New, RecordedFill, Reduce, Reset, Take, TopOfBook
from aac_grpc.domain.ledger import cash_account, postings
from aac_grpc.domain.orders import OrderType, Side, TimeInForce
from aac_grpc.domain.reasons import CommandRefused
from aac_grpc.domain.venue import Venue
from tests.unit.market import MONEY, NOW, Market

USERS = ("alice", "bob", "carol")
sides = st.sampled_from(list(Side))
prices = st.integers(95, 105)
lots = st.integers(1, 12)
references = st.integers(0, 9).map(str)
users = st.sampled_from(USERS)
targets = st.integers(0, 7).map(str)
"""Which of an account's live orders an amend or a cancel means; `aim` puts the id there."""

limit_orders = st.builds(
    PlaceOrder,
    account_id=users,
    client_order_id=st.integers(0, 15).map(str),
    symbol=st.just("X"),
    side=sides,
    order_type=st.just(OrderType.LIMIT),
    time_in_force=st.sampled_from([TimeInForce.GTC] * 4 + [TimeInForce.IOC, TimeInForce.FOK]),
    quantity=lots,
    price=prices,
)
market_orders = st.builds(
    PlaceOrder,
    account_id=users,
    client_order_id=st.integers(0, 15).map(str),
    symbol=st.just("X"),
    side=sides,
    order_type=st.just(OrderType.MARKET),
    time_in_force=st.sampled_from([TimeInForce.IOC, TimeInForce.FOK]),
    quantity=lots,
)
amends = st.builds(
    AmendOrder,
    account_id=users,
    order_id=targets,
    price=st.none() | prices,
    quantity=st.none() | lots,
)
cancels = st.builds(CancelOrder, account_id=users, order_id=targets)
adjustments = st.builds(AdjustCash, account_id=users, amount=st.integers(-20 * MONEY, 20 * MONEY))
takes = st.builds(
    lambda side, price, quantities, row: Take(
        side,
        price,
        sum(quantity for _, quantity in quantities),
        tuple(RecordedFill(row + n, order_ref, quantity) for n, (order_ref, quantity) in enumerate(quantities)),
    ),
    sides,
    prices,
    st.lists(st.tuples(references, lots), min_size=1, max_size=3),
    st.integers(0, 4),
)
items = st.one_of(
    st.builds(New, references, sides, prices, lots),
    st.builds(New, references, sides, prices, lots),
    st.builds(Reduce, references, lots),
    st.builds(Cancel, references),
    takes,
)
resets = st.builds(
    Reset, sides, prices, st.lists(st.tuples(references, lots), max_size=3, unique_by=lambda o: o[0]).map(tuple)
)
rows = st.builds(
    FeedRow,
    row=st.integers(0, 5),
    time_ns=st.just(0),
    items=st.lists(items, max_size=2).map(tuple),
    expected=st.none() | st.just(TopOfBook(99, 5, 101, 5)),
    resets=st.lists(resets, max_size=1).map(tuple),
)
feeds = st.builds(
    FeedRows,
    run_id=st.just("run"),
    rows=st.lists(rows, max_size=4, unique_by=lambda row: row.row).map(
        lambda rows: tuple(sorted(rows, key=lambda row: row.row))
    ),
)
commands: st.SearchStrategy[Command] = st.one_of(
    limit_orders, limit_orders, limit_orders, market_orders, amends, amends, cancels, adjustments, feeds, feeds
)
flows = st.lists(commands, min_size=30, max_size=60)


def open_market() -> Market:
    """Opens a venue with little cash and few shares, so that some orders are refused, a short seller and a feed."""
    market = Market()
    market.account("alice", dollars=30)
    market.account("bob", dollars=30)
    market.account("carol", dollars=60, allow_short=True)
    for user in ("alice", "bob"):
        market.place("carol", "s", Side.SELL, 20, 100)
        market.place(user, "b", Side.BUY, 20, 100)
    market.flow("flow")
    market.run(StartFeed("run", "X", "flow"))
    return market


def aim(venue: Venue, command: Command) -> Command:
    """Gives an amend or a cancel the id of a live order of its account, and rows of a feed numbers that are new."""
    if isinstance(command, FeedRows):
        first = venue.feeds[command.run_id].last_row + 1
        return replace(command, rows=tuple(renumber(row, first) for row in command.rows))
    if not isinstance(command, AmendOrder | CancelOrder):
        return command
    live = sorted(order.order_id for order in venue.open_orders(command.account_id))
    return replace(command, order_id=live[int(command.order_id) % len(live)]) if live else command


def renumber(row: FeedRow, first: int) -> FeedRow:
    """Adds `first` to the numbers of a row and of its takes' executions."""
    moved = tuple(
        replace(item, fills=tuple(fill._replace(row=fill.row + first) for fill in item.fills))
        if isinstance(item, Take)
        else item
        for item in row.items
    )
    return replace(row, row=row.row + first, items=moved)


def run(market: Market, flow: Iterable[Command]) -> list[Event]:
    """Executes commands; what is refused changes nothing."""
    events = []
    for command in flow:
        before = market.venue.sequence
        try:
            events += market.run(aim(market.venue, command))
        except CommandRefused:
            assert market.venue.sequence == before
    return events


def state(venue: Venue, account_id: str) -> AccountState:
    """Returns an account's state."""
    account = venue.account_state(account_id)
    assert account is not None
    return account


@given(flows)
@settings(max_examples=60, deadline=None)
def test_applying_the_events_rebuilds_the_same_state(flow: list[Command]) -> None:
    market = open_market()
    run(market, flow)
    replayed = Venue("main")
    for event in market.events:
        replayed.apply(event)
    assert replayed.snapshot() == market.venue.snapshot()
    assert replayed.state_hash() == market.venue.state_hash()
    for account_id in market.venue.account_ids():
        assert replayed.account_state(account_id) == market.venue.account_state(account_id)


@given(flows, flows)
@settings(max_examples=40, deadline=None)
def test_a_venue_restored_in_between_goes_on_exactly_as_if_it_had_not_stopped(
    before: list[Command], after: list[Command]
) -> None:
    market = open_market()
    run(market, before)
    snapshot = json.loads(json.dumps(market.venue.snapshot()))
    restored, follower = Market(), Venue.restore(snapshot)
    restored.venue = Venue.restore(snapshot)
    assert restored.venue.state_hash() == market.venue.state_hash()
    events = run(market, after)
    assert run(restored, after) == events
    for event in events:
        follower.apply(event)
    assert restored.venue.state_hash() == market.venue.state_hash() == follower.state_hash()


@given(flows)
@settings(max_examples=50, deadline=None)
def test_the_book_is_never_crossed_and_levels_are_the_sum_of_their_orders(flow: list[Command]) -> None:
    market = open_market()
    for command in flow:
        run(market, [command])
        book = market.venue.book("X")
        bid, ask = book.best_bid(), book.best_ask()
        assert bid is None or ask is None or bid[0] < ask[0]
        for side in Side:
            totals: Counter[int] = Counter()
            for order in book.orders(side):
                assert order.leaves > 0
                assert order.quantity == order.filled + order.leaves
                assert market.venue.order(order.order_id) is order
                totals[order.price] += order.leaves
            assert [(price, quantity) for price, quantity, _ in book.levels(side)] == sorted(
                totals.items(), reverse=side is Side.BUY
            )


@given(flows)
@settings(max_examples=50, deadline=None)
def test_cash_and_positions_are_conserved_and_the_ledger_adds_up_to_zero(flow: list[Command]) -> None:
    market = open_market()
    run(market, flow)
    balances: Counter[str] = Counter()
    positions: Counter[str] = Counter()
    for event in market.events:
        legs = postings(event)
        assert sum(leg.amount for leg in legs) == 0
        for leg in legs:
            balances[leg.ledger_account] += leg.amount
        if isinstance(event, Trade):
            bought = event.quantity if event.aggressor is Side.BUY else -event.quantity
            positions[event.taker.account_id] += bought
            positions[event.maker.account_id] -= bought
    assert sum(positions.values()) == 0
    for user in USERS:
        account = state(market.venue, user)
        assert balances[cash_account(user)] == account.cash
        held = account.positions["X"].quantity if "X" in account.positions else 0
        assert held == positions[user]


@given(flows)
@settings(max_examples=50, deadline=None)
def test_what_is_promised_is_what_rests_and_is_always_covered(flow: list[Command]) -> None:
    market = open_market()
    for command in flow:
        run(market, [command])
        promised: dict[str, Counter[Side]] = defaultdict(Counter)
        for side in Side:
            for order in market.venue.book("X").orders(side):
                promised[order.account_id][side] += order.leaves * (order.price if side is Side.BUY else 1)
        for user in USERS:
            account = state(market.venue, user)
            assert account.holds == promised[user][Side.BUY] * MONEY // 100
            assert account.available >= 0
            position = account.positions.get("X")
            sells = position.hold_quantity if position else 0
            assert sells == promised[user][Side.SELL]
            if not account.allow_short and position:
                assert position.quantity >= sells


@given(flows)
@settings(max_examples=50, deadline=None)
def test_a_follower_of_level_changes_has_the_book_without_matching_anything(flow: list[Command]) -> None:
    market = open_market()
    run(market, flow)
    levels: dict[Side, dict[int, tuple[int, int]]] = {side: {} for side in Side}
    depth_sequence = 0
    for event in market.events:
        change = getattr(event, "level", None)
        if change is None:
            continue
        depth_sequence += 1
        assert change.depth_sequence == depth_sequence
        if change.quantity:
            levels[change.side][change.price] = (change.quantity, change.orders)
        else:
            del levels[change.side][change.price]
    for side in Side:
        followed = [(price, *level) for price, level in sorted(levels[side].items(), reverse=side is Side.BUY)]
        assert followed == market.venue.book("X").levels(side)


@given(flows)
@settings(max_examples=50, deadline=None)
def test_every_sequence_is_gapless(flow: list[Command]) -> None:
    market = open_market()
    run(market, flow)
    assert [event.sequence for event in market.events] == list(range(1, len(market.events) + 1))
    assert len({event.order_id for event in market.events if isinstance(event, OrderAccepted)}) == sum(
        isinstance(event, OrderAccepted) for event in market.events
    )
    orders: dict[str, list[int]] = defaultdict(list)
    executions: dict[str, list[int]] = defaultdict(list)
    for event in market.events:
        if isinstance(event, Trade):
            for execution in (event.taker, event.maker):
                orders[execution.account_id].append(execution.order_sequence)
                executions[execution.account_id].append(execution.execution_sequence)
        elif hasattr(event, "order_sequence"):
            orders[event.account_id].append(event.order_sequence)
    for numbers in (*orders.values(), *executions.values()):
        assert numbers == list(range(1, len(numbers) + 1))


@given(flows)
@settings(max_examples=50, deadline=None)
def test_no_quantity_is_lost(flow: list[Command]) -> None:
    """Of each order: what was filled, cancelled and is open is what it came to."""
    market = open_market()
    run(market, flow)
    filled: Counter[str] = Counter()
    for event in market.events:
        if isinstance(event, Trade):
            filled[event.taker.order_id] += event.quantity
            filled[event.maker.order_id] += event.quantity
            for execution in (event.taker, event.maker):
                assert execution.filled == filled[execution.order_id]
                assert execution.quantity == execution.filled + execution.leaves
        elif isinstance(event, OrderCanceled):
            assert event.filled == filled[event.order_id]
            assert event.quantity == event.filled + event.canceled
            assert market.venue.order(event.order_id) is None


@given(flows)
@settings(max_examples=40, deadline=None)
def test_every_row_of_a_feed_is_either_applied_or_diverged_and_enters_once(flow: list[Command]) -> None:
    market = open_market()
    run(market, flow)
    for event in market.events:
        if isinstance(event, FeedAdvanced):
            assert event.applied + event.diverged == event.rows
            assert event.top_equal <= event.compared <= event.rows
    before = market.venue.state_hash()
    last = market.venue.feeds["run"].last_row
    for command in flow:
        if isinstance(command, FeedRows) and command.rows and command.rows[-1].row <= last:
            assert market.venue.execute(command, NOW + 1) == []
    assert market.venue.state_hash() == before


def test_the_flow_account_has_no_cash_and_no_positions() -> None:
    market = open_market()
    account = state(market.venue, "flow")
    assert account.kind is AccountKind.FLOW
    assert (account.cash, account.positions) == (0, {})
