"""The venue's own rules: what it refuses whatever risk may think."""

from collections.abc import Sequence

from aac_grpc.domain.accounts import Account
from aac_grpc.domain.commands import (
    AddInstrument,
    AdjustCash,
    AmendOrder,
    CancelOrder,
    CreateAccount,
    FeedRows,
    PlaceOrder,
    StartFeed,
)
from aac_grpc.domain.decimals import MAX_ACCOUNT_MONEY, MAX_MONEY, format_money
from aac_grpc.domain.instruments import Instrument, InstrumentKind
from aac_grpc.domain.orders import Order, OrderType, Reason, Side, TimeInForce
from aac_grpc.domain.reasons import VenueReason
from aac_grpc.domain.state import Market, VenueState

_BUY = Side.BUY
_MARKET = OrderType.MARKET
_GTC = TimeInForce.GTC
_VENUE = InstrumentKind.VENUE

Reasons = Sequence[Reason]


def check_place(state: VenueState, command: PlaceOrder) -> Reasons:
    """Returns why a new order cannot enter; all reasons that can be told apart, nothing if it can."""
    market = state.markets.get(command.symbol)
    account = state.accounts.get(command.account_id)
    reasons: list[Reason] = []
    if account is None:
        reasons.append(Reason(VenueReason.UNKNOWN_ACCOUNT, f"there is no account {command.account_id}"))
    elif not account.is_user:
        reasons.append(Reason(VenueReason.WRONG_ACCOUNT_KIND, "orders of a FLOW account enter by its feed"))
    elif command.client_order_id in account.orders:
        holder = account.orders[command.client_order_id].order_id
        message = f"client order id {command.client_order_id} is in use by the live order {holder}"
        reasons.append(Reason(VenueReason.DUPLICATE_CLIENT_ORDER_ID, message, actual=holder))
    if market is None:
        reasons.append(Reason(VenueReason.UNKNOWN_INSTRUMENT, f"there is no instrument {command.symbol}"))
        return reasons
    instrument = market.instrument
    if instrument.kind is not _VENUE:
        reasons.append(Reason(VenueReason.NOT_TRADABLE, f"{command.symbol} is not traded on this venue"))
    if account is not None and account.currency != instrument.currency:
        reasons.append(_wrong_currency(account, instrument))
    _check_quantity(instrument, command.quantity, reasons)
    _check_pricing(instrument, command, reasons)
    if reasons or account is None:
        return reasons
    return _check_cover(market, account, command.side, command.price, command.quantity) or _check_room(
        market, account, command.side, command.price, command.quantity
    )


def check_amend(state: VenueState, command: AmendOrder) -> Reasons:
    """Returns why a live order cannot be amended so; nothing if it can."""
    order = state.orders.get(command.order_id)
    if order is None or order.account_id != command.account_id:
        return (_unknown_order(command),)
    market, account = state.markets[order.symbol], state.accounts[order.account_id]
    reasons: list[Reason] = []
    if not account.is_user:
        return (Reason(VenueReason.WRONG_ACCOUNT_KIND, "orders of a FLOW account change by its feed"),)
    if command.price is None and command.quantity is None:
        reasons.append(Reason(VenueReason.NOTHING_TO_AMEND, "give a price, an open quantity or both"))
    if command.quantity is not None:
        _check_quantity(market.instrument, command.quantity, reasons)
    if command.price is not None:
        _check_price(market.instrument, command.price, reasons)
    if reasons:
        return reasons
    price = order.price if command.price is None else command.price
    quantity = order.leaves if command.quantity is None else command.quantity
    uncovered = _check_cover(market, account, order.side, price, quantity, order)
    if uncovered or (price == order.price and quantity <= order.leaves):
        return uncovered
    return _check_room(market, account, order.side, price, quantity, order)


def check_cancel(state: VenueState, command: CancelOrder) -> Reasons:
    """Returns why a live order cannot be cancelled; nothing if it can."""
    order = state.orders.get(command.order_id)
    if order is None or order.account_id != command.account_id:
        return (_unknown_order(command),)
    return ()


def check_listing(state: VenueState, command: AddInstrument) -> Reasons:
    """Returns why an instrument cannot be listed; nothing if it can."""
    instrument = command.instrument
    if instrument.symbol in state.markets:
        return (Reason(VenueReason.INSTRUMENT_EXISTS, f"{instrument.symbol} is listed already"),)
    if instrument.venue != state.venue_id:
        message = f"{instrument.symbol} belongs to venue {instrument.venue}, this is {state.venue_id}"
        return (Reason(VenueReason.UNKNOWN_INSTRUMENT, message),)
    return ()


def check_opening(state: VenueState, command: CreateAccount) -> Reasons:
    """Returns why an account cannot be opened; nothing if it can."""
    if command.account_id in state.accounts:
        return (Reason(VenueReason.ACCOUNT_EXISTS, f"account {command.account_id} is open already"),)
    return ()


def check_cash(state: VenueState, command: AdjustCash) -> Reasons:
    """Returns why cash cannot be deposited or withdrawn; nothing if it can."""
    account = state.accounts.get(command.account_id)
    if account is None:
        return (Reason(VenueReason.UNKNOWN_ACCOUNT, f"there is no account {command.account_id}"),)
    if not account.is_user:
        return (Reason(VenueReason.WRONG_ACCOUNT_KIND, "a FLOW account has no cash"),)
    if not 0 < abs(command.amount) <= MAX_MONEY:
        message = f"amounts are not zero and at most {format_money(MAX_MONEY)}"
        actual = format_money(command.amount)
        return (Reason(VenueReason.INVALID_AMOUNT, message, format_money(MAX_MONEY), actual),)
    if command.amount > 0 and (most := account.cash + account.offers + command.amount) > MAX_ACCOUNT_MONEY:
        return (_too_much(account, "cash", most),)
    free = account.cash - account.holds
    if free + command.amount < 0:
        limit, actual = format_money(free), format_money(-command.amount)
        message = f"{actual} {account.currency} cannot be withdrawn, {limit} is free"
        return (Reason(VenueReason.INSUFFICIENT_CASH, message, limit, actual),)
    return ()


def check_feed_start(state: VenueState, command: StartFeed) -> Reasons:
    """Returns why a run cannot begin; nothing if it can."""
    if command.run_id in state.feeds:
        return (Reason(VenueReason.FEED_EXISTS, f"run {command.run_id} has begun already"),)
    market, account = state.markets.get(command.symbol), state.accounts.get(command.account_id)
    reasons = []
    if market is None:
        reasons.append(Reason(VenueReason.UNKNOWN_INSTRUMENT, f"there is no instrument {command.symbol}"))
    elif market.instrument.kind is not _VENUE:
        reasons.append(Reason(VenueReason.NOT_TRADABLE, f"{command.symbol} is not traded on this venue"))
    if account is None:
        reasons.append(Reason(VenueReason.UNKNOWN_ACCOUNT, f"there is no account {command.account_id}"))
    elif account.is_user:
        reasons.append(Reason(VenueReason.WRONG_ACCOUNT_KIND, "a feed enters by a FLOW account"))
    return reasons


def check_feed_rows(state: VenueState, command: FeedRows) -> Reasons:
    """Returns why rows cannot be applied; nothing if they can."""
    if command.run_id not in state.feeds:
        return (Reason(VenueReason.UNKNOWN_FEED, f"run {command.run_id} has not begun"),)
    return ()


def _check_quantity(instrument: Instrument, quantity: int, reasons: list[Reason]) -> None:
    if not instrument.min_quantity <= quantity <= instrument.max_quantity:
        low, high = instrument.from_lots(instrument.min_quantity), instrument.from_lots(instrument.max_quantity)
        actual = instrument.from_lots(quantity)
        limit = low if quantity < instrument.min_quantity else high
        message = f"quantity {actual} is not between {low} and {high}"
        reasons.append(Reason(VenueReason.INVALID_QUANTITY, message, limit, actual))


def _check_price(instrument: Instrument, price: int, reasons: list[Reason]) -> None:
    if not instrument.min_price <= price <= instrument.max_price:
        low, high = instrument.from_ticks(instrument.min_price), instrument.from_ticks(instrument.max_price)
        actual = instrument.from_ticks(price)
        limit = low if price < instrument.min_price else high
        message = f"price {actual} is not between {low} and {high}"
        reasons.append(Reason(VenueReason.INVALID_PRICE, message, limit, actual))


def _check_pricing(instrument: Instrument, command: PlaceOrder, reasons: list[Reason]) -> None:
    if command.order_type is _MARKET:
        if command.price is not None:
            reasons.append(Reason(VenueReason.INVALID_PRICE, "a market order has no price; leave it out"))
        if command.time_in_force is _GTC:
            reasons.append(Reason(VenueReason.INVALID_TIME_IN_FORCE, "a market order is IOC or FOK; it cannot rest"))
    elif command.price is None:
        reasons.append(Reason(VenueReason.INVALID_PRICE, "a limit order needs a price"))
    else:
        _check_price(instrument, command.price, reasons)


def _check_cover(
    market: Market, account: Account, side: Side, price: int | None, quantity: int, replaced: Order | None = None
) -> Reasons:
    """Checks that cash (a buy) or the position (a sell) covers an order, or what replaces a resting one."""
    if price is not None and price * quantity * market.notional_unit > MAX_MONEY:
        limit, actual = format_money(MAX_MONEY), format_money(price * quantity * market.notional_unit)
        message = f"the order comes to {actual} {account.currency}, at most {limit} can enter"
        return (Reason(VenueReason.INVALID_QUANTITY, message, limit, actual),)
    if side is _BUY:
        value = market.book.cost(side, quantity) if price is None else price * quantity
        need = value * market.notional_unit
        free = account.cash - account.holds
        if replaced is not None:
            free += replaced.price * replaced.leaves * market.notional_unit
        if need <= free:
            return ()
        limit, actual = format_money(free), format_money(need)
        message = f"the order needs {actual} {account.currency}, {limit} is free"
        return (Reason(VenueReason.INSUFFICIENT_CASH, message, limit, actual),)
    if account.allow_short:
        return ()
    position = account.positions.get(market.instrument.symbol)
    held = 0 if position is None else position.quantity - position.sell_quantity
    if replaced is not None:
        held += replaced.leaves
    if quantity <= held:
        return ()
    limit, actual = market.instrument.from_lots(held), market.instrument.from_lots(quantity)
    message = f"the order sells {actual}, {limit} is free, and the account may not sell short"
    return (Reason(VenueReason.INSUFFICIENT_POSITION, message, limit, actual),)


def _check_room(
    market: Market, account: Account, side: Side, price: int | None, quantity: int, replaced: Order | None = None
) -> Reasons:
    """Checks that an order, or what replaces a resting one, keeps all the account's money within the journal's room.

    What is open already counts as if it had traded, so that no later trade can break the bound.
    """
    unit, book = market.notional_unit, market.book
    most = account.at_stake()
    if side is not _BUY:
        most = max(most, account.cash + account.offers)
    if replaced is not None:
        most = max(most - replaced.price * replaced.leaves * unit, replaced.filled_value * unit)
    if side is _BUY:
        most += (book.cost(side, quantity) if price is None else price * quantity) * unit
    else:
        best = book.best_bid()
        dearest = max(price or 0, best[0] if best else 0) * quantity * unit
        # Only where the best bid for all of it were too much, the bids are looked at one by one.
        most += dearest if most + dearest <= MAX_ACCOUNT_MONEY else _proceeds(market, price, quantity) * unit
    return () if most <= MAX_ACCOUNT_MONEY else (_too_much(account, "money", most),)


def _proceeds(market: Market, price: int | None, quantity: int) -> int:
    """Returns the most (ticks x lots) that a sell can bring: bids above its price, and its price for the rest."""
    limit, value = price or 0, 0
    for bid, lots, _ in market.book.levels(_BUY):
        if bid <= limit or not quantity:
            break
        traded = min(lots, quantity)
        value += traded * bid
        quantity -= traded
    return value + quantity * limit


def _too_much(account: Account, what: str, most: int) -> Reason:
    limit, actual = format_money(MAX_ACCOUNT_MONEY), format_money(most)
    message = f"the account's {what} could come to {actual} {account.currency}, at most {limit} can be kept"
    return Reason(VenueReason.ACCOUNT_MONEY_LIMIT, message, limit, actual)


def _wrong_currency(account: Account, instrument: Instrument) -> Reason:
    message = f"{instrument.symbol} trades in {instrument.currency}, the account holds {account.currency}"
    return Reason(VenueReason.WRONG_CURRENCY, message, instrument.currency, account.currency)


def _unknown_order(command: AmendOrder | CancelOrder) -> Reason:
    message = f"account {command.account_id} has no live order {command.order_id}"
    return Reason(VenueReason.UNKNOWN_ORDER, message)
