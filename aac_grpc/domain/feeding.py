"""Recorded flow entering a book: each row's items, its comparison with the recording, and its resets."""

from itertools import zip_longest

from aac_grpc.domain.accounts import Account
from aac_grpc.domain.commands import FeedRows, StartFeed
from aac_grpc.domain.decimals import MAX_MONEY, format_decimal
from aac_grpc.domain.entry import OrderEntry
from aac_grpc.domain.events import CancelReason, FeedAdvanced, FeedStarted, Printed, Trade
from aac_grpc.domain.feed import (
    AwaitedRow,
    Cancel,
    FeedRow,
    FeedRun,
    New,
    Print,
    RecordedFill,
    Reduce,
    Reset,
    Take,
    TopOfBook,
)
from aac_grpc.domain.matching import Book
from aac_grpc.domain.orders import Order, OrderType, Side, TimeInForce
from aac_grpc.domain.state import Market, VenueState


def start_feed(entry: OrderEntry, command: StartFeed) -> None:
    """Begins a run on a book without orders of earlier runs of its account."""
    state = entry.state
    market, account = state.markets[command.symbol], state.accounts[command.account_id]
    for side in Side:
        for order in [order for order in market.book.orders(side) if order.account_id == command.account_id]:
            entry.withdraw(market, order, account, CancelReason.FEED)
    state.feeds[command.run_id] = FeedRun(command.run_id, command.symbol, command.account_id)
    state.sequence += 1
    entry.events.append(FeedStarted(state.sequence, entry.now_ns, command.run_id, command.symbol, command.account_id))


def feed_rows(entry: OrderEntry, command: FeedRows) -> None:
    """Applies the rows of a run that are new to it."""
    run = entry.state.feeds[command.run_id]
    last_row = run.last_row
    rows = [row for row in command.rows if row.row > last_row]
    if rows:
        Feeding(entry, run).advance(rows)


def top_of_book(book: Book[Order]) -> TopOfBook:
    """Returns a book's best prices and quantities, zeros where a side is empty."""
    return TopOfBook(*(book.best_bid() or (0, 0)), *(book.best_ask() or (0, 0)))


class Feeding:
    """A batch of rows of one run being applied."""

    __slots__ = ("_account", "_awaited", "_entry", "_market", "_prefix", "_run", "_state")

    def __init__(self, entry: OrderEntry, run: FeedRun) -> None:
        self._entry = entry
        self._state: VenueState = entry.state
        self._run = run
        self._market: Market = entry.state.markets[run.symbol]
        self._account: Account = entry.state.accounts[run.account_id]
        self._prefix = f"{run.run_id}:"
        """Makes client order ids of references: runs of one account may use the same ones."""
        self._awaited = list(run.awaited)

    def advance(self, rows: list[FeedRow]) -> None:
        """Applies rows in order and says how far the run has come."""
        run = self._run
        diverged: list[int] = []
        unequal: list[int] = []
        for row in rows:
            as_recorded = True
            for item in row.items:
                if not self._apply(item):
                    as_recorded = False
            top = None
            if self._awaited:
                as_recorded, top = self._awaited_at(row.row, as_recorded)
            if row.expected is not None:
                run.compared += 1
                if row.expected == (top or top_of_book(self._market.book)):
                    run.top_equal += 1
                else:
                    unequal.append(row.row)
            for reset in row.resets:
                run.resets += 1
                if not self._reset(reset):
                    as_recorded = False
            run.rows += 1
            if as_recorded:
                run.applied += 1
            else:
                run.diverged += 1
                diverged.append(row.row)
        run.last_row = rows[-1].row
        run.awaited = tuple(self._awaited)
        self._say(tuple(diverged), tuple(unequal))

    def _say(self, diverged: tuple[int, ...], unequal: tuple[int, ...]) -> None:
        run, state = self._run, self._state
        state.sequence += 1
        self._entry.events.append(
            FeedAdvanced(
                state.sequence,
                self._entry.now_ns,
                run.run_id,
                run.last_row,
                run.rows,
                run.applied,
                run.diverged,
                run.resets,
                run.compared,
                run.top_equal,
                run.awaited,
                diverged,
                unequal,
            )
        )

    def _awaited_at(self, row: int, as_recorded: bool) -> tuple[bool, TopOfBook | None]:
        """Returns whether a row within a take is as recorded, and the top to compare; None: the book's own."""
        awaited = self._awaited
        fill = awaited[0]
        as_recorded = as_recorded and (fill.row != row or fill.as_recorded)
        while len(awaited) > 1 and awaited[1].row <= row:
            del awaited[0]
            fill = awaited[0]
            as_recorded = as_recorded and (fill.row != row or fill.as_recorded)
        if len(awaited) > 1:
            return as_recorded, fill.top
        awaited.clear()
        return as_recorded, None

    def _apply(self, item: New | Reduce | Cancel | Take | Print) -> bool:
        """Applies an item as far as it can be; returns whether that was as recorded."""
        if isinstance(item, New):
            return self._enter(item.order_ref, item.side, item.price, item.quantity)
        if isinstance(item, Cancel):
            return self._withdraw(item.order_ref, CancelReason.FEED)
        if isinstance(item, Reduce):
            return self._reduce(item)
        if isinstance(item, Take):
            return self._take(item)
        return self._print(item)

    def _enter(self, order_ref: str, side: Side, price: int, quantity: int) -> bool:
        """Enters a limit order; as recorded if it rests whole."""
        client_order_id = self._prefix + order_ref
        if price <= 0 or quantity <= 0 or client_order_id in self._account.orders:
            return False
        if price * quantity * self._market.notional_unit > MAX_MONEY:
            return False
        order_id = self._state.next_order_id()
        order = self._order(order_id, client_order_id, side, TimeInForce.GTC, price, quantity)
        self._entry.accept(self._market, order, self._account)
        return order.filled == 0

    def _withdraw(self, order_ref: str, reason: CancelReason) -> bool:
        order = self._account.orders.get(self._prefix + order_ref)
        if order is None:
            return False
        self._entry.withdraw(self._market, order, self._account, reason)
        return True

    def _reduce(self, item: Reduce) -> bool:
        order = self._account.orders.get(self._prefix + item.order_ref)
        if order is None or item.quantity <= 0:
            return False
        leaves = order.leaves - item.quantity
        if leaves > 0:
            self._entry.reduce(self._market, order, self._account, leaves)
        else:
            self._entry.withdraw(self._market, order, self._account, CancelReason.FEED)
        return leaves >= 0

    def _take(self, item: Take) -> bool:
        """Sends an IOC; the rows of its executions are judged one by one, the first of them now."""
        if item.price <= 0 or item.quantity <= 0 or not item.fills:
            return False
        entry, order_id = self._entry, self._state.next_order_id()
        client_order_id = f"{self._prefix}take:{order_id}"
        before = len(entry.events)
        order = self._order(order_id, client_order_id, item.side, TimeInForce.IOC, item.price, item.quantity)
        entry.accept(self._market, order, self._account)
        trades = [event for event in entry.events[before:] if isinstance(event, Trade)]
        judged = [
            AwaitedRow(fill.row, top, self._is_recorded(fill, trade))
            for fill, trade, top in zip_longest(item.fills, trades, self._tops(trades, len(item.fills)))
            if fill is not None
        ]
        if len(judged) == 1:
            return judged[0].as_recorded
        self._awaited = judged
        return True

    def _is_recorded(self, fill: RecordedFill, trade: Trade | None) -> bool:
        if trade is None:
            return False
        return trade.quantity == fill.quantity and trade.maker.client_order_id == self._prefix + fill.order_ref

    def _tops(self, trades: list[Trade], length: int) -> list[TopOfBook]:
        """Returns the top of book as it was after each of a take's trades, and as it is up to `length`."""
        now = top_of_book(self._market.book)
        tops = [now] * max(length, len(trades))
        for index, trade in enumerate(trades[:-1]):
            following = trades[index + 1]
            price, quantity = trade.price, trade.level.quantity
            if not quantity:
                price, quantity = following.price, following.level.quantity + following.quantity
            if trade.aggressor is Side.BUY:
                tops[index] = now._replace(ask_price=price, ask_quantity=quantity)
            else:
                tops[index] = now._replace(bid_price=price, bid_quantity=quantity)
        return tops

    def _print(self, item: Print) -> bool:
        state, market = self._state, self._market
        state.sequence += 1
        market.trade_sequence += 1
        self._entry.events.append(
            Printed(
                state.sequence,
                self._entry.now_ns,
                state.next_trade_id(),
                self._run.symbol,
                format_decimal(item.price),
                item.quantity,
                item.side,
                market.trade_sequence,
            )
        )
        return True

    def _reset(self, reset: Reset) -> bool:
        """Makes a level's FLOW orders the given ones; those in their right place keep it.

        Returns False if one of them could not rest whole, since an order stood against it.
        """
        entry, market, account = self._entry, self._market, self._account
        level = market.book.level(reset.side, reset.price)
        standing = [order for order in level or () if order.account_id == account.account_id]
        wanted = list(reset.orders)
        for order in standing:
            order_ref, quantity = wanted[0] if wanted else ("", 0)
            if order.client_order_id != self._prefix + order_ref or not 0 < quantity <= order.leaves:
                entry.withdraw(market, order, account, CancelReason.FEED_RESET)
                continue
            if quantity < order.leaves:
                entry.reduce(market, order, account, quantity)
            del wanted[0]
        as_recorded = True
        for order_ref, quantity in wanted:
            self._withdraw(order_ref, CancelReason.FEED_RESET)
            if not self._enter(order_ref, reset.side, reset.price, quantity):
                as_recorded = False
        return as_recorded

    def _order(
        self, order_id: str, client_order_id: str, side: Side, time_in_force: TimeInForce, price: int, quantity: int
    ) -> Order:
        run = self._run
        return Order(
            order_id,
            client_order_id,
            run.account_id,
            run.symbol,
            side,
            OrderType.LIMIT,
            time_in_force,
            price,
            quantity,
            self._entry.now_ns,
        )
