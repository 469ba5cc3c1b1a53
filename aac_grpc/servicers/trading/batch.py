"""One transaction in the making: commands carried out in memory, and all that must be written with them."""

import hashlib
from dataclasses import dataclass
from typing import Any

from aac.trading.v1.command_pb2 import CommandBatch, VenueCommand
from aac.trading.v1.journal_pb2 import VenueEvent

from aac_grpc.common.streams import Entry, frame
from aac_grpc.domain.commands import Command
from aac_grpc.domain.orders import Verdict
from aac_grpc.servicers.trading.command_log import command_message
from aac_grpc.servicers.trading.live import LiveVenue
from aac_grpc.servicers.trading.order_changes import OrderChange
from aac_grpc.servicers.trading.projection import Projection, Records

EVENTS_FIELD = 2
"""Of the events in JournalBatch and in FollowMarketResponse."""


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A client key: unique in its venue, account and kind of request."""

    account_id: str
    kind: int
    key: str


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What a client key holds: the request's fingerprint, the id of what it made, and its first result."""

    key: ClientKey
    fingerprint: bytes
    holder: str
    response: bytes


class Batch:
    """One transaction of a venue's writer. Its commands are carried out at one moment of the venue's clock.

    Attributes:
        live: The venue in memory; ahead of the database until the batch is committed.
        number: Counts the venue's batches, from 1, without a gap.
        messages: Its events.
        keys: Client keys to write down.
    """

    def __init__(self, live: LiveVenue, now_ns: int) -> None:
        self.live = live
        self.number = live.batch + 1
        self.now_ns = now_ns
        self.first_sequence = live.venue.sequence + 1
        self.messages: list[VenueEvent] = []
        self.keys: list[KeyRecord] = []
        self._entries: list[Entry] | None = None
        self._commands: list[VenueCommand] = []
        self._projection = Projection(live)

    @property
    def empty(self) -> bool:
        """Nothing happened, and there is nothing to write."""
        return not self.messages and not self.keys

    @property
    def order_changes(self) -> list[OrderChange]:
        """What happened to users' orders, in order."""
        return self._projection.changes

    @property
    def last_sequence(self) -> int:
        """Of its last event."""
        return self.first_sequence + len(self.messages) - 1

    def execute(
        self, command: Command, verdict: Verdict | None = None, *, message: VenueCommand | None = None
    ) -> list[VenueEvent]:
        """Carries a command out in memory and returns what happened.

        Args:
            command: What to do.
            verdict: Risk's.
            message: The command as the journal keeps it, where that is at hand.

        Raises:
            CommandRefused: An instrument, account, cash or feed command is refused; nothing has changed.
        """
        live, add = self.live, self._projection.add
        encode = live.encoder.encode
        happened = []
        for event in live.venue.execute(command, self.now_ns, verdict):
            encoded = encode(event)
            add(event, encoded)
            happened.append(encoded)
        if happened:
            self.messages += happened
            self._commands.append(message or command_message(command, verdict))
        return happened

    def account_record(self, account_id: str) -> dict[str, Any]:
        """Returns the row of an account that the batch has changed, as it is now."""
        return self._projection.account_record(account_id)

    def seal(self) -> None:
        """Ends the batch in memory: what comes next is of the next batch."""
        live = self.live
        self._projection.retire()
        live.batch = self.number
        live.chain = hashlib.sha256(live.chain + self.events).digest()

    @property
    def entries(self) -> list[Entry]:
        """The events, each framed as followers get it."""
        if self._entries is None:
            self._entries = [
                Entry(message.sequence, frame(EVENTS_FIELD, message.SerializeToString())) for message in self.messages
            ]
        return self._entries

    @property
    def events(self) -> bytes:
        """The events as a JournalBatch."""
        return b"".join([entry.data for entry in self.entries])

    @property
    def commands(self) -> bytes:
        """The commands as a CommandBatch."""
        return CommandBatch(time_ns=self.now_ns, commands=self._commands).SerializeToString()

    def records(self) -> Records:
        """Rows of the other tables. To be called before the next batch begins."""
        records = self._projection.records(self.number)
        records["client_keys"] = [
            {
                "venue_id": self.live.venue_id,
                "account_id": record.key.account_id,
                "kind": record.key.kind,
                "key": record.key.key,
                "fingerprint": f"\\x{record.fingerprint.hex()}",
                "holder": record.holder,
                "response": f"\\x{record.response.hex()}",
            }
            for record in self.keys
        ]
        return records
