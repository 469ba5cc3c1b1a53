"""One venue: a deterministic state machine, commands in, events out."""

from collections.abc import Mapping
from typing import Any, Self

from aac_grpc.domain.accounts import AccountState
from aac_grpc.domain.commands import Command
from aac_grpc.domain.events import Event
from aac_grpc.domain.feed import FeedRun
from aac_grpc.domain.instruments import Instrument
from aac_grpc.domain.matching import Book
from aac_grpc.domain.orders import Order, OrderIntent, Reason, Verdict


class Venue:
    """The instruments, books, accounts, live orders and feed runs of one venue.

    Not safe for threads; one writer calls it.
    """

    def __init__(self, venue_id: str) -> None: ...

    @property
    def venue_id(self) -> str:
        """The venue's id; its order and trade ids begin with it."""
        raise NotImplementedError

    @property
    def sequence(self) -> int:
        """The sequence of the last event; 0 before the first."""
        raise NotImplementedError

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """The listed instruments, by symbol."""
        raise NotImplementedError

    @property
    def feeds(self) -> Mapping[str, FeedRun]:
        """The feed runs, by run id; to be read only."""
        raise NotImplementedError

    def book(self, symbol: str) -> Book[Order]:
        """Returns an instrument's book, to be read only; KeyError if there is none."""
        raise NotImplementedError

    def order(self, order_id: str) -> Order | None:
        """Returns a live order; None if there is none (done orders have left memory)."""
        raise NotImplementedError

    def find_order(self, account_id: str, client_order_id: str) -> Order | None:
        """Returns an account's live order by the client's id."""
        raise NotImplementedError

    def account_state(self, account_id: str) -> AccountState | None:
        """Returns an account as it is now; None if there is none."""
        raise NotImplementedError

    def intent(self, command: Command) -> OrderIntent | None:
        """Returns what risk should judge of a command; None where risk has no say (cancels, shrinking amends)."""
        raise NotImplementedError

    def validate(self, command: Command) -> tuple[Reason, ...]:
        """Returns the venue's own reasons to refuse a command now; none if it would be accepted."""
        raise NotImplementedError

    def execute(self, command: Command, now_ns: int, verdict: Verdict | None = None) -> list[Event]:
        """Carries a command out and returns what happened.

        A refused order, amend or cancel is an event. Any other refused command raises.

        Raises:
            CommandRefused: An instrument, account, cash or feed command is refused; nothing has changed.
        """
        raise NotImplementedError

    def apply(self, event: Event) -> None:
        """Applies an event that this venue's `execute` made, on the state just before it."""
        raise NotImplementedError

    def snapshot(self) -> dict[str, Any]:
        """Returns the whole state as JSON-able values."""
        raise NotImplementedError

    @classmethod
    def restore(cls, snapshot: Mapping[str, Any]) -> Self:
        """Builds a venue from a snapshot."""
        raise NotImplementedError

    def state_hash(self) -> str:
        """Returns the SHA-256 of the canonical snapshot, in hex."""
        raise NotImplementedError
