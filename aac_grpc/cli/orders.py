"""Orders: place, amend, cancel, list, show."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from aac_grpc.cli.command import AccountOption, LimitOption, Session, VenueOption, session_command
from aac_grpc.cli.failures import WrongUsage
from aac_grpc.cli.market import SymbolArgument
from aac_grpc.cli.output import Column, console, number, print_facts, print_table, short_clock
from aac_grpc.client.models import AmendedOrder, CanceledOrder, Order, OrderState, PlacedOrder, RejectReason, Side

ORDER_COLUMNS: list[Column] = [
    ("order", lambda one: one.order_id),
    ("time", lambda one: short_clock(one.created_at)),
    ("symbol", lambda one: one.symbol),
    ("side", lambda one: one.side),
    ("filled", lambda one: f"{number(one.filled_quantity)}/{number(one.quantity)}"),
    ("price", lambda one: one.price if one.price is not None else "market"),
    ("average", lambda one: one.average_price),
    ("state", lambda one: one.state),
]
EXECUTION_COLUMNS: list[Column] = [
    ("time", lambda one: short_clock(one.executed_at)),
    ("symbol", lambda one: one.symbol),
    ("side", lambda one: one.side),
    ("quantity", lambda one: one.quantity),
    ("price", lambda one: one.price),
    ("liquidity", lambda one: one.liquidity),
    ("order", lambda one: one.order_id),
    ("realized", lambda one: one.realized_pnl),
]

SideArgument = Annotated[str, typer.Argument(metavar="buy|sell", help="Side.")]
OrderArgument = Annotated[str, typer.Argument(metavar="ORDER", help="The venue's id of it, or with --key yours.")]
QuantityArgument = Annotated[str, typer.Argument(help="A multiple of the lot size.")]
PriceOption = Annotated[str, typer.Option("--price", "-p", help="Limit price.", show_default="market order")]
TimeInForceOption = Annotated[
    str,
    typer.Option("--tif", metavar="gtc|ioc|fok", help="How long it lives.", show_default="gtc; ioc for market orders"),
]
ClientKeyOption = Annotated[
    str, typer.Option("--key", help="Client key: the same one never places two orders.", show_default="made")
]
StateOption = Annotated[
    list[str] | None,
    typer.Option("--state", help="Only these: open, filled, canceled or rejected.", show_default="all"),
]
KeyOption = Annotated[bool, typer.Option("--key", help="ORDER is the client key that it was placed with.")]


_HOW_TO_SELL = "a quantity is above zero whatever the side: to sell, say `sell` in place of `buy`"
_HOW_TO_PRICE = "a limit price is above zero: without --price it is a market order"
_MINUS = "\N{MINUS SIGN}"
_NEGATIVE = re.compile(r"-[0-9.][0-9.,_eE+-]*")


class _WithNumbers(TyperCommand):
    """Takes -5 for a number, so that what is wrong with it is told, and not for an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [_MINUS + one[1:] if _NEGATIVE.fullmatch(one) else one for one in args])


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(no_args_is_help=True, help="Place, amend, cancel, list and show orders.")
    session_command(group, kind=_WithNumbers)(place)
    for command in (amend, cancel):
        session_command(group)(command)
    session_command(group, "list")(list_orders)
    session_command(group)(show)
    app.add_typer(group, name="order")


async def place(
    session: Session,
    side: SideArgument,
    quantity: QuantityArgument,
    symbol: SymbolArgument,
    price: PriceOption = "",
    time_in_force: TimeInForceOption = "unspecified",
    client_order_id: ClientKeyOption = "",
    account: AccountOption = "",
    venue: VenueOption = "",
) -> None:
    """Place an order: `aac order place buy 10 GOOG --price 570.12`. Without a price it is a market order."""
    placed = await session.client.place_order(
        symbol,
        Side(side),
        _number("quantity", quantity),
        price=_number("price", price) if price else None,
        time_in_force=time_in_force,
        client_order_id=client_order_id or None,
        account=account,
        venue=venue,
    )
    session.show(placed, _print_placed)


async def amend(
    session: Session,
    order: OrderArgument,
    price: Annotated[str, typer.Option("--price", "-p", help="New limit price.", show_default="as it is")] = "",
    quantity: Annotated[str, typer.Option("--quantity", "-q", help="New open quantity.", show_default="as it is")] = "",
    key: KeyOption = False,
    account: AccountOption = "",
    venue: VenueOption = "",
) -> None:
    """Change an order. It keeps its place in the queue only when it shrinks at its price."""
    amended = await session.client.amend_order(
        **_either_id(order, key),
        price=_number("price", price) if price else None,
        open_quantity=_number("quantity", quantity) if quantity else None,
        account=account,
        venue=venue,
    )
    session.show(amended, _print_amended)


async def cancel(
    session: Session, order: OrderArgument, key: KeyOption = False, account: AccountOption = "", venue: VenueOption = ""
) -> None:
    """Cancel what is open of an order."""
    canceled = await session.client.cancel_order(**_either_id(order, key), account=account, venue=venue)
    session.show(canceled, _print_canceled)


async def list_orders(
    session: Session,
    state: StateOption = None,
    symbol: Annotated[str, typer.Option("--symbol", help="Only this instrument's.", show_default="all")] = "",
    limit: LimitOption = 20,
    account: AccountOption = "",
    venue: VenueOption = "",
) -> None:
    """Orders, newest first."""
    states = [OrderState(one) for one in state or ()]
    found = session.client.list_orders(symbol=symbol, states=states, limit=limit, account=account, venue=venue)
    session.show_rows([order async for order in found], ORDER_COLUMNS, empty="No orders")


async def show(
    session: Session, order: OrderArgument, key: KeyOption = False, account: AccountOption = "", venue: VenueOption = ""
) -> None:
    """Show one order."""
    found = await session.client.order(**_either_id(order, key), account=account, venue=venue)
    session.show(found, _print_order)


def _number(name: str, given: str) -> Decimal:
    """Reads a price or a quantity; what the venue thinks of it is the venue's to say.

    Raises:
        WrongUsage: It is no number above zero.
    """
    written = given.replace(_MINUS, "-")
    try:
        number = Decimal(written)
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite():
        fault, remedy = f"{written!r} is not a {name}", "write a number such as 10 or 570.12"
    elif number <= 0:
        fault, remedy = f"{written} is not above zero", _HOW_TO_SELL if name == "quantity" else _HOW_TO_PRICE
    else:
        return number
    raise WrongUsage(f"invalid {name}", fields={name: fault}, remedy=remedy)


def _either_id(order: str, is_key: bool) -> dict[str, Any]:
    return {"client_order_id" if is_key else "order_id": order}


def _print_placed(placed: PlacedOrder) -> None:
    _print_order(placed.order)
    if placed.executions:
        console.print()
        print_table(placed.executions, EXECUTION_COLUMNS, empty="")


def _print_amended(amended: AmendedOrder) -> None:
    if not amended.accepted:
        console.print("[yellow]Not changed[/yellow]")
        print_reasons(amended.reject_reasons)
    _print_order(amended.order)


def _print_canceled(canceled: CanceledOrder) -> None:
    if not canceled.canceled:
        console.print("[yellow]There was nothing open to cancel[/yellow]")
    _print_order(canceled.order)


def _print_order(order: Order) -> None:
    price = "at the market" if order.price is None else f"at {number(order.price)}"
    colour = {OrderState.REJECTED: "red", OrderState.FILLED: "green"}.get(order.state, "bold")
    console.print(
        f"[{colour}]{order.state}[/{colour}]  {order.side} {number(order.quantity)} {order.symbol} {price}"
        f"{f' ({order.cancel_reason.lower()})' if order.cancel_reason else ''}"
    )
    print_reasons(order.reject_reasons)
    average = f" at {number(order.average_price)} on average" if order.average_price is not None else ""
    print_facts(
        [
            ("order", order.order_id),
            ("client key", order.client_order_id),
            ("account", f"{order.account_id} at {order.venue}"),
            ("filled", f"{number(order.filled_quantity)}{average}"),
            ("open", order.open_quantity),
            ("time in force", order.time_in_force),
            ("changed", order.updated_at),
        ]
    )


def print_reasons(reasons: tuple[RejectReason, ...]) -> None:
    """Prints why an order was refused, each broken rule with its numbers."""
    for reason in reasons:
        told = {"limit": reason.limit, "actual": reason.actual}
        numbers = ", ".join(f"{name} {number(value)}" for name, value in told.items() if value is not None)
        console.print(f"[red]{reason.code}[/red] {reason.message}{f' ({numbers})' if numbers else ''}")
