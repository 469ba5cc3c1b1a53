"""Plain values of ours and their messages: times, money, venues, enums."""

from datetime import UTC, datetime
from decimal import Context, Decimal
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from aac.type.v1.money_pb2 import Money
from aac.type.v1.page_pb2 import TimeRange
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aac_grpc.client.errors import InvalidField

DEFAULT_VENUE = "main"
NANOSECONDS = 1_000_000_000

_LATEST_NS = 2**63 - 1
_MONEY_SCALE = 8
_EXACT = Context(prec=60)


def to_timestamp(moment: int | datetime) -> Timestamp:
    """Writes nanoseconds since the Unix epoch, or an aware datetime, as a timestamp."""
    if isinstance(moment, datetime):
        timestamp = Timestamp()
        timestamp.FromDatetime(moment)
        return timestamp
    seconds, nanos = divmod(moment, NANOSECONDS)
    return Timestamp(seconds=seconds, nanos=nanos)


def from_timestamp(timestamp: Timestamp) -> int:
    """Reads a timestamp as nanoseconds since the Unix epoch."""
    return timestamp.seconds * NANOSECONDS + timestamp.nanos


def to_datetime(timestamp: Timestamp, field: str) -> datetime:
    """Reads a caller's timestamp as an aware datetime, to the microsecond.

    Raises:
        InvalidField: It is out of the range of the type (years 1 to 9999).
    """
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidField(field, "is not a time from year 1 to 9999") from error


def to_duration(nanoseconds: int) -> Duration:
    """Writes nanoseconds, not below zero, as a duration."""
    seconds, nanos = divmod(nanoseconds, NANOSECONDS)
    return Duration(seconds=seconds, nanos=nanos)


def from_duration(duration: Duration) -> int:
    """Reads a duration as nanoseconds."""
    return duration.seconds * NANOSECONDS + duration.nanos


def time_range(given: TimeRange, field: str = "range") -> tuple[int | None, int | None]:
    """Reads a half-open range as nanoseconds since the Unix epoch: first inside, first after; None is open.

    Times that 64 bits of nanoseconds can't hold (before 1677, after 2262) become the nearest that they can.

    Raises:
        InvalidField: It ends before it begins.
    """
    start = _bounded(from_timestamp(given.start)) if given.HasField("start") else None
    end = _bounded(from_timestamp(given.end)) if given.HasField("end") else None
    if start is not None and end is not None and end < start:
        raise InvalidField(f"{field}.end", "is before the start")
    return start, end


def _bounded(nanoseconds: int) -> int:
    return max(-_LATEST_NS, min(nanoseconds, _LATEST_NS))


def money(currency: str, units: int) -> Money:
    """Writes units of 1e-8 of a currency as money."""
    amount = Decimal(units).scaleb(-_MONEY_SCALE, _EXACT).normalize(_EXACT)
    return Money(currency=currency, amount=f"{amount:f}")


class OfVenue(Protocol):
    """A request that names a venue."""

    @property
    def venue(self) -> str:
        """Empty means the default venue."""


def venue_of(request: OfVenue) -> str:
    """The venue that a request is about."""
    return request.venue or DEFAULT_VENUE


Member = TypeVar("Member", bound=StrEnum)


class EnumNames(Generic[Member]):
    """A message enum and the string enum that stands for it inside: SIDE_BUY and Side.BUY ("buy").

    Members match by name; the message's prefix is its first member's, less "UNSPECIFIED".
    """

    def __init__(self, wire: Any, members: type[Member]) -> None:
        prefix = wire.Name(0).removesuffix("UNSPECIFIED")
        names = {value: name.removeprefix(prefix).lower() for name, value in wire.items()}
        known = {member.value: member for member in members}
        self._members: dict[int, Member] = {value: known[name] for value, name in names.items() if name in known}
        self._values = {member: value for value, member in self._members.items()}

    def member(self, value: int) -> Member:
        """Returns what stands for a message's value.

        Raises:
            KeyError: Nothing does; field rules refuse such values before a handler runs.
        """
        return self._members[value]

    def value(self, member: Member) -> Any:
        """Returns the message's value of a member."""
        return self._values[member]
