"""Order entry: what placing, amending and cancelling do, and the events that say so."""

from aac_grpc.domain import rules
from aac_grpc.domain.accounts import Account
from aac_grpc.domain.commands import AmendOrder, CancelOrder, PlaceOrder
from aac_grpc.domain.events import (
    AmendRejected,
    CancelReason,
    CancelRejected,
    Event,
    Execution,
    LevelChange,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderRejected,
    OrderRested,
    Trade,
)
from aac_grpc.domain.matching import Fill, Level
from aac_grpc.domain.orders import Order, OrderType, Reason, Side, TimeInForce, Verdict
from aac_grpc.domain.state import Market, VenueState, leave, rest, settle_maker, settle_taker, shrink

_GTC = TimeInForce.GTC
_FOK = TimeInForce.FOK
_LIMIT = OrderType.LIMIT


class OrderEntry:
    """Carries out order commands on a state; `begin` opens each command and `events` has what came of it."""

    __slots__ = ("events", "now_ns", "state")

    def __init__(self, state: VenueState) -> None:
        self.state = state
        self.now_ns = 0
        self.events: list[Event] = []

    def begin(self, now_ns: int) -> list[Event]:
        """Opens a command at a time of the venue's clock, which never goes back; returns where its events go."""
        self.now_ns = max(now_ns, self.state.time_ns)
        self.events = []
        return self.events

    def place(self, command: PlaceOrder, verdict: Verdict | None) -> None:
        """Enters an order, or journals its refusal."""
        state = self.state
        reasons = rules.check_place(state, command)
        if verdict is not None and not verdict.accepted:
            reasons = (*reasons, *verdict.reasons)
        if reasons:
            self._reject(command, tuple(reasons))
            return
        order = Order(
            state.next_order_id(),
            command.client_order_id,
            command.account_id,
            command.symbol,
            command.side,
            command.order_type,
            command.time_in_force,
            command.price or 0,
            command.quantity,
            self.now_ns,
        )
        self.accept(state.markets[command.symbol], order, state.accounts[command.account_id])

    def accept(self, market: Market, order: Order, account: Account) -> None:
        """Takes a new order in: it rests at once, or trades and then rests or is cancelled."""
        state = self.state
        state.enter(order, account)
        rests = order.time_in_force is _GTC and not market.book.crosses(order.side, order.price)
        change = _changed(market, order.side, rest(market, order, account)) if rests else None
        state.sequence = sequence = state.sequence + 1
        account.order_sequence = order_sequence = account.order_sequence + 1
        self.events.append(
            OrderAccepted(
                sequence,
                self.now_ns,
                order.order_id,
                order.client_order_id,
                order.account_id,
                order.symbol,
                order.side,
                order.order_type,
                order.time_in_force,
                order.price,
                order.quantity,
                order_sequence,
                change,
            )
        )
        if not rests:
            self._work(market, order, account)

    def amend(self, command: AmendOrder, verdict: Verdict | None) -> None:
        """Changes a live order, or journals the refusal; one that loses its place may trade."""
        state = self.state
        reasons = rules.check_amend(state, command)
        if verdict is not None and not verdict.accepted:
            reasons = (*reasons, *verdict.reasons)
        if reasons:
            self._reject_amend(command, tuple(reasons))
            return
        order = state.orders[command.order_id]
        market, account = state.markets[order.symbol], state.accounts[order.account_id]
        price = order.price if command.price is None else command.price
        leaves = order.leaves if command.quantity is None else command.quantity
        if price == order.price and leaves <= order.leaves:
            self.reduce(market, order, account, leaves)
            return
        before = order.price, order.leaves
        change = _changed(market, order.side, leave(market, order, account))
        order.reprice(price, leaves)
        self._amended(order, account, *before, True, change)
        self._work(market, order, account)

    def reduce(self, market: Market, order: Order, account: Account, leaves: int) -> None:
        """Leaves a resting order `leaves` lots, at least one and at most what is open; it keeps its place."""
        before = order.leaves
        change = None
        if leaves < before:
            change = _changed(market, order.side, shrink(market, order, account, before - leaves))
        self._amended(order, account, order.price, before, False, change)

    def cancel(self, command: CancelOrder) -> None:
        """Takes a live order out, or journals the refusal."""
        state = self.state
        reasons = rules.check_cancel(state, command)
        if reasons:
            sequence, order_sequence = self._number(state.accounts.get(command.account_id))
            self.events.append(
                CancelRejected(
                    sequence, self.now_ns, command.order_id, command.account_id, order_sequence, tuple(reasons)
                )
            )
            return
        order = state.orders[command.order_id]
        market, account = state.markets[order.symbol], state.accounts[order.account_id]
        self.withdraw(market, order, account, CancelReason.REQUESTED)

    def withdraw(self, market: Market, order: Order, account: Account, reason: CancelReason) -> None:
        """Ends an order, whether it rests or not."""
        resting = order.level is not None
        change = _changed(market, order.side, leave(market, order, account)) if resting else None
        self.state.forget(order, account)
        sequence, order_sequence = self._number(account)
        self.events.append(
            OrderCanceled(
                sequence,
                self.now_ns,
                order.order_id,
                order.client_order_id,
                order.account_id,
                order.symbol,
                order.side,
                order.price,
                order.quantity,
                order.leaves,
                order.filled,
                order.filled_value,
                reason,
                order_sequence,
                change,
            )
        )

    def _work(self, market: Market, order: Order, account: Account) -> None:
        """Trades an order that does not rest against the book, then rests or ends what is left of it."""
        limit = order.price if order.order_type is _LIMIT else None
        book = market.book
        if order.time_in_force is _FOK and not book.available(order.side, limit, order.leaves):
            self.withdraw(market, order, account, CancelReason.FOK)
            return
        for fill in book.match(order.side, limit, order.leaves):
            self._trade(market, order, account, fill)
        if not order.leaves:
            self.state.forget(order, account)
        elif order.time_in_force is _GTC:
            self._rested(market, order, account)
        else:
            reason = CancelReason.IOC if order.order_type is _LIMIT else CancelReason.MARKET_REMAINDER
            self.withdraw(market, order, account, reason)

    def _trade(self, market: Market, taker: Order, taker_account: Account, fill: Fill[Order]) -> None:
        """Settles one fill on both sides."""
        state = self.state
        maker, price, quantity, level = fill
        maker_account = state.accounts[maker.account_id]
        notional = price * quantity * market.notional_unit
        change = _changed(market, maker.side, level)
        state.sequence = sequence = state.sequence + 1
        market.trade_sequence = trade_sequence = market.trade_sequence + 1
        market.last_price, market.last_quantity = price, quantity
        profit = settle_taker(market, taker, taker_account, price, quantity)
        taken = _execution(taker, taker_account, notional, 0, profit)
        profit = settle_maker(market, maker, maker_account, price, quantity)
        made = _execution(maker, maker_account, notional, notional, profit)
        if not maker.leaves:
            state.forget(maker, maker_account)
        self.events.append(
            Trade(
                sequence,
                self.now_ns,
                state.next_trade_id(),
                taker.symbol,
                price,
                quantity,
                taker.side,
                notional,
                taken,
                made,
                trade_sequence,
                change,
            )
        )

    def _rested(self, market: Market, order: Order, account: Account) -> None:
        change = _changed(market, order.side, rest(market, order, account))
        state = self.state
        state.sequence += 1
        self.events.append(
            OrderRested(
                state.sequence,
                self.now_ns,
                order.order_id,
                order.account_id,
                order.symbol,
                order.side,
                order.price,
                order.leaves,
                change,
            )
        )

    def _amended(
        self, order: Order, account: Account, price: int, leaves: int, requeued: bool, change: LevelChange | None
    ) -> None:
        """Says that an order was amended; `price` and `leaves` are what it had before."""
        sequence, order_sequence = self._number(account)
        self.events.append(
            OrderAmended(
                sequence,
                self.now_ns,
                order.order_id,
                order.client_order_id,
                order.account_id,
                order.symbol,
                order.side,
                order.price,
                order.quantity,
                order.leaves,
                price,
                leaves,
                requeued,
                order_sequence,
                change,
            )
        )

    def _reject(self, command: PlaceOrder, reasons: tuple[Reason, ...]) -> None:
        state = self.state
        sequence, order_sequence = self._number(state.accounts.get(command.account_id))
        self.events.append(
            OrderRejected(
                sequence,
                self.now_ns,
                state.next_order_id(),
                command.client_order_id,
                command.account_id,
                command.symbol,
                command.side,
                command.order_type,
                command.time_in_force,
                command.price or 0,
                command.quantity,
                order_sequence,
                reasons,
            )
        )

    def _reject_amend(self, command: AmendOrder, reasons: tuple[Reason, ...]) -> None:
        sequence, order_sequence = self._number(self.state.accounts.get(command.account_id))
        self.events.append(
            AmendRejected(
                sequence,
                self.now_ns,
                command.order_id,
                command.account_id,
                command.price,
                command.quantity,
                order_sequence,
                reasons,
            )
        )

    def _number(self, account: Account | None) -> tuple[int, int]:
        """Returns the venue's and the account's next number for an order event; 0 where the account is unknown."""
        state = self.state
        state.sequence += 1
        if account is None:
            return state.sequence, 0
        account.order_sequence += 1
        return state.sequence, account.order_sequence


def _changed(market: Market, side: Side, level: Level[Order]) -> LevelChange:
    """Numbers a change of a level, and says what the level is now."""
    market.depth_sequence = sequence = market.depth_sequence + 1
    return LevelChange(side, level.price, level.quantity, level.orders, sequence)


def _execution(order: Order, account: Account, notional: int, released: int, profit: int) -> Execution:
    """Numbers one side of a trade that has been settled, and says what the order and the account are now."""
    account.order_sequence = order_sequence = account.order_sequence + 1
    account.execution_sequence = execution_sequence = account.execution_sequence + 1
    cash_delta = cash = quantity = cost = 0
    if account.is_user:
        buys = order.side is Side.BUY
        cash_delta = -notional if buys else notional
        cash = account.cash
        released = released if buys else 0
        position = account.positions[order.symbol]
        quantity, cost = position.quantity, position.cost
    else:
        released = 0
    return Execution(
        order.order_id,
        order.client_order_id,
        order.account_id,
        order.price,
        order.quantity,
        order.leaves,
        order.filled,
        order.filled_value,
        order_sequence,
        execution_sequence,
        cash_delta,
        released,
        cash,
        quantity,
        cost,
        profit,
    )
