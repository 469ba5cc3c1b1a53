"""What risk is asked about a command."""

from aac_grpc.domain.commands import AmendOrder, Command, PlaceOrder
from aac_grpc.domain.orders import Order, OrderIntent
from aac_grpc.domain.state import VenueState


def intent(state: VenueState, command: Command) -> OrderIntent | None:
    """Returns what risk should judge of a command; None where it has no say or the venue will refuse anyway.

    Risk has no say in what does not add exposure: a cancel, an amend that neither grows the open quantity nor
    changes the price, and everything that is not an order.
    """
    if isinstance(command, PlaceOrder):
        market = state.markets.get(command.symbol)
        account = state.accounts.get(command.account_id)
        if market is None or account is None or not account.is_user:
            return None
        return OrderIntent(
            account_id=command.account_id,
            symbol=command.symbol,
            side=command.side,
            order_type=command.order_type,
            time_in_force=command.time_in_force,
            quantity=command.quantity,
            price=command.price or 0,
            notional_unit=market.notional_unit,
            currency=market.instrument.currency,
        )
    if isinstance(command, AmendOrder):
        order = state.orders.get(command.order_id)
        return None if order is None else _amend_intent(state, command, order)
    return None


def _amend_intent(state: VenueState, command: AmendOrder, order: Order) -> OrderIntent | None:
    price = order.price if command.price is None else command.price
    quantity = order.leaves if command.quantity is None else command.quantity
    if order.account_id != command.account_id or (price == order.price and quantity <= order.leaves):
        return None
    market = state.markets[order.symbol]
    return OrderIntent(
        account_id=order.account_id,
        symbol=order.symbol,
        side=order.side,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        quantity=quantity,
        price=price,
        notional_unit=market.notional_unit,
        currency=market.instrument.currency,
        replaced_quantity=order.leaves,
        replaced_price=order.price,
    )
