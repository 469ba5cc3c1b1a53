"""What a venue's writer is asked to do: requests that become commands, and answers that become durable with them."""

import hashlib
from abc import ABC, abstractmethod
from enum import IntEnum
from typing import Generic, TypeVar

from google.protobuf.message import Message

from aac_grpc.domain.orders import OrderIntent, Verdict
from aac_grpc.servicers.trading.batch import Batch, ClientKey
from aac_grpc.servicers.trading.live import LiveVenue, OrderReference
from aac_grpc.servicers.trading.rows import OrderRow

Answer = TypeVar("Answer", bound=Message)


class KeyKind(IntEnum):
    """Kinds of request; client keys of different kinds have nothing to do with each other."""

    PLACE_ORDER = 1
    AMEND_ORDER = 2
    CANCEL_ORDER = 3
    OPEN_ACCOUNT = 4
    CREATE_VENUE = 5


class Request(ABC, Generic[Answer]):
    """One request to a venue's writer. Its methods see the venue in memory, one batch after another.

    Attributes:
        key: Its client key; None for what carries none.
        fingerprint: Equal for equal requests.
        found: The order that it names, as the database has it, where it was not in memory.
    """

    key: ClientKey | None = None
    fingerprint: bytes = b""
    found: OrderRow | None = None

    @property
    def reference(self) -> OrderReference | None:
        """The order that it names, if it names one."""
        return None

    @property
    def weight(self) -> int:
        """How much of a batch it takes: 1 for a request of a user, more for rows of a feed."""
        return 1

    def lost(self, live: LiveVenue) -> bool:
        """Tells whether the order that it names must be looked for in the database."""
        reference = self.reference
        return reference is not None and self.found is None and live.orders.find(reference) is None

    def prepare(self, live: LiveVenue) -> None:
        """Makes commands of it.

        Raises:
            AacError: It is the caller's fault: nothing will be done.
        """

    def intent(self, live: LiveVenue) -> OrderIntent | None:
        """What risk should judge of it now; None where risk has no say. Called after `prepare`."""
        return None

    @abstractmethod
    def run(self, batch: Batch, verdict: Verdict | None) -> Answer:
        """Carries it out in memory, and returns what to answer once that is committed.

        Raises:
            AacError: It is the caller's fault; nothing was done.
        """

    @abstractmethod
    def read_answer(self, data: bytes) -> Answer:
        """Reads an answer that was kept under the client key."""

    def holder(self, answer: Answer) -> str:
        """The id of what it made, for callers that use its key for something else."""
        return ""


def fingerprint(message: Message) -> bytes:
    """Returns the same bytes for equal requests."""
    return hashlib.sha256(message.SerializeToString(deterministic=True)).digest()[:16]
