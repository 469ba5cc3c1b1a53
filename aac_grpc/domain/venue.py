"""One venue: a deterministic state machine, commands in, events out."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Self

from aac_grpc.domain import administration, feeding, intents, replay, rules, snapshots
from aac_grpc.domain.accounts import AccountState
from aac_grpc.domain.commands import (
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
from aac_grpc.domain.entry import OrderEntry
from aac_grpc.domain.events import Event
from aac_grpc.domain.feed import FeedRun
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.matching import Book
from aac_grpc.domain.orders import Order, OrderIntent, Reason, Verdict
from aac_grpc.domain.reasons import CommandRefused
from aac_grpc.domain.state import Market, VenueState


class Venue:
    """The instruments, books, accounts, live orders and feed runs of one venue.

    The same commands at the same times give the same events and state. Not safe for threads: one writer calls it.
    """

    def __init__(self, venue_id: str) -> None:
        self._open(VenueState(venue_id))

    def _open(self, state: VenueState) -> None:
        self._state = state
        self._entry = OrderEntry(state)

    @property
    def venue_id(self) -> str:
        """The venue's id; its order and trade ids begin with it."""
        return self._state.venue_id

    @property
    def sequence(self) -> int:
        """The sequence of the last event; 0 before the first."""
        return self._state.sequence

    @property
    def time_ns(self) -> int:
        """The time of the last event, in nanoseconds since the Unix epoch."""
        return self._state.time_ns

    @property
    def instruments(self) -> dict[str, Instrument]:
        """The listed instruments, by symbol."""
        return {symbol: market.instrument for symbol, market in self._state.markets.items()}

    @property
    def feeds(self) -> Mapping[str, FeedRun]:
        """The feed runs, by run id; to be read only."""
        return MappingProxyType(self._state.feeds)

    def market(self, symbol: str) -> Market | None:
        """Returns an instrument's book and counters, to be read only; None if it is not listed."""
        return self._state.markets.get(symbol)

    def book(self, symbol: str) -> Book[Order]:
        """Returns an instrument's book, to be read only; KeyError if it is not listed."""
        return self._state.markets[symbol].book

    def order(self, order_id: str) -> Order | None:
        """Returns a live order, to be read only; None if there is none (done orders have left memory)."""
        return self._state.orders.get(order_id)

    def find_order(self, account_id: str, client_order_id: str) -> Order | None:
        """Returns an account's live order by the client's id, to be read only; None if there is none."""
        account = self._state.accounts.get(account_id)
        return None if account is None else account.orders.get(client_order_id)

    def open_orders(self, account_id: str) -> Iterator[Order]:
        """Yields an account's live orders, to be read only and in no order that can be relied on."""
        account = self._state.accounts.get(account_id)
        return iter(()) if account is None else iter(account.orders.values())

    def account_state(self, account_id: str) -> AccountState | None:
        """Returns an account as it is now; None if there is none."""
        account = self._state.accounts.get(account_id)
        return None if account is None else account.state()

    def account_ids(self) -> list[str]:
        """Returns the ids of all accounts, in order."""
        return sorted(self._state.accounts)

    def intent(self, command: Command) -> OrderIntent | None:
        """Returns what risk should judge of a command; None where risk has no say (see `intents`)."""
        return intents.intent(self._state, command)

    def validate(self, command: Command) -> tuple[Reason, ...]:
        """Returns the venue's own reasons to refuse a command now; none if it would be accepted."""
        return tuple(_CHECKS[type(command)](self._state, command))

    def execute(self, command: Command, now_ns: int, verdict: Verdict | None = None) -> list[Event]:
        """Carries a command out and returns what happened.

        A refused order, amend or cancel is an event. Any other refused command raises. Time that would go back
        stands still.

        Args:
            command: What to do.
            now_ns: The venue's clock.
            verdict: Risk's; None where it has no say.

        Raises:
            CommandRefused: An instrument, account, cash or feed command is refused; nothing has changed.
        """
        entry = self._entry
        if isinstance(command, PlaceOrder):
            events = entry.begin(now_ns)
            entry.place(command, verdict)
        elif isinstance(command, CancelOrder):
            events = entry.begin(now_ns)
            entry.cancel(command)
        elif isinstance(command, AmendOrder):
            events = entry.begin(now_ns)
            entry.amend(command, verdict)
        else:
            if reasons := self.validate(command):
                raise CommandRefused(reasons)
            events = entry.begin(now_ns)
            _STEPS[type(command)](entry, command)
        if events:
            self._state.time_ns = entry.now_ns
        return events

    def apply(self, event: Event) -> None:
        """Applies an event that `execute` made, on the state just before it; nothing is matched or judged again.

        Raises:
            ReplayMismatch: It is not the next event, or it does not lead to what it says.
        """
        replay.apply(self._state, event)

    def snapshot(self) -> dict[str, Any]:
        """Returns the whole state as JSON-able values, between two commands."""
        return snapshots.dump(self._state)

    @classmethod
    def restore(cls, snapshot: Mapping[str, Any]) -> Self:
        """Builds a venue from a snapshot.

        Raises:
            ValueError: The snapshot has a format that this code does not know.
        """
        venue = cls.__new__(cls)
        venue._open(snapshots.load(snapshot))
        return venue

    def state_hash(self) -> str:
        """Returns the SHA-256 of the canonical snapshot, in hex."""
        return snapshots.digest(self.snapshot())


_CHECKS: dict[type, Callable[[VenueState, Any], rules.Reasons]] = {
    PlaceOrder: rules.check_place,
    AmendOrder: rules.check_amend,
    CancelOrder: rules.check_cancel,
    AddInstrument: rules.check_listing,
    CreateAccount: rules.check_opening,
    AdjustCash: rules.check_cash,
    StartFeed: rules.check_feed_start,
    FeedRows: rules.check_feed_rows,
}
_STEPS: dict[type, Callable[[OrderEntry, Any], None]] = {
    AddInstrument: administration.add_instrument,
    CreateAccount: administration.create_account,
    AdjustCash: administration.adjust_cash,
    StartFeed: feeding.start_feed,
    FeedRows: feeding.feed_rows,
}
