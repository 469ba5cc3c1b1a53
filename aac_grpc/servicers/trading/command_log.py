"""Commands as the journal keeps them, beside their events: enough to match them again."""

from collections.abc import Callable, Iterable
from typing import Any

from aac.trading.v1 import command_pb2
from aac.trading.v1.command_pb2 import VenueCommand
from aac.trading.v1.venue_pb2 import FeedRow

from aac_grpc.domain import commands
from aac_grpc.domain.commands import AccountKind
from aac_grpc.domain.orders import Verdict
from aac_grpc.servicers.trading.vocabulary import SIDES, TIMES_IN_FORCE, TYPES, instrument_message, reason_message

ENGINE_VERSION = 1
"""Of the matching rules; a batch is matched again by the version that it was matched by."""


def command_message(command: commands.Command, verdict: Verdict | None) -> VenueCommand:
    """Writes a command, except the rows of a feed (`feed_rows_message`), with risk's verdict on it."""
    message = VenueCommand()
    _STEPS[type(command)](command, message)
    if verdict is not None:
        message.verdict.accepted = verdict.accepted
        message.verdict.reasons.extend(map(reason_message, verdict.reasons))
    return message


def feed_rows_message(run_id: str, rows: Iterable[FeedRow]) -> VenueCommand:
    """Writes rows of a feed as they came."""
    return VenueCommand(feed_rows=command_pb2.FeedRows(run_id=run_id, rows=rows))


def _place(command: commands.PlaceOrder, message: VenueCommand) -> None:
    out = message.place_order
    out.account_id = command.account_id
    out.client_order_id = command.client_order_id
    out.symbol = command.symbol
    out.side = SIDES.value(command.side)
    out.type = TYPES.value(command.order_type)
    out.time_in_force = TIMES_IN_FORCE.value(command.time_in_force)
    out.quantity = command.quantity
    out.price = command.price or 0


def _amend(command: commands.AmendOrder, message: VenueCommand) -> None:
    out = message.amend_order
    out.account_id, out.order_id = command.account_id, command.order_id
    out.price, out.quantity = command.price or 0, command.quantity or 0


def _cancel(command: commands.CancelOrder, message: VenueCommand) -> None:
    message.cancel_order.account_id, message.cancel_order.order_id = command.account_id, command.order_id


def _list(command: commands.AddInstrument, message: VenueCommand) -> None:
    message.add_instrument.instrument.CopyFrom(instrument_message(command.instrument))


def _open(command: commands.CreateAccount, message: VenueCommand) -> None:
    out = message.create_account
    out.account_id, out.currency, out.allow_short = command.account_id, command.currency, command.allow_short
    out.flow = command.kind is AccountKind.FLOW


def _adjust(command: commands.AdjustCash, message: VenueCommand) -> None:
    out = message.adjust_cash
    out.account_id, out.amount, out.reference = command.account_id, command.amount, command.reference


def _start(command: commands.StartFeed, message: VenueCommand) -> None:
    out = message.start_feed
    out.run_id, out.symbol, out.account_id = command.run_id, command.symbol, command.account_id


_STEPS: dict[type, Callable[[Any, VenueCommand], None]] = {
    commands.PlaceOrder: _place,
    commands.AmendOrder: _amend,
    commands.CancelOrder: _cancel,
    commands.AddInstrument: _list,
    commands.CreateAccount: _open,
    commands.AdjustCash: _adjust,
    commands.StartFeed: _start,
}
