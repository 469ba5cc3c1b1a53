"""How messages become Python values: one rule by the types of a record's fields."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from aac.type.v1.page_pb2 import TimeRange
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from aac_grpc.client.decimals import from_wire, from_wire_optional

Reader = Callable[[Any], Any]


class WireEnum(StrEnum):
    """An enum whose members are the names of a protobuf enum without their prefix, in lower case."""

    @classmethod
    def wire_type(cls) -> Any:
        """The protobuf enum."""
        raise NotImplementedError

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        name = re.sub("(?<=[a-z])(?=[A-Z])", " ", cls.__name__).lower()
        known = ", ".join(member for member in cls if member != "unspecified")
        raise ValueError(f"{value!r} is not {'an' if name[0] in 'aeiou' else 'a'} {name}; there are {known}")

    @classmethod
    def from_wire(cls, value: int) -> Self:
        """Reads a number of the wire; one that this version does not know is UNSPECIFIED."""
        member: Self = _numbers(cls)[1].get(value, cls("unspecified"))
        return member

    def to_wire(self) -> Any:
        """The number that stands on the wire."""
        return _numbers(type(self))[0][self]


class Record:
    """Base of the frozen dataclasses that stand for messages.

    Each field is read from the message's field of the same name (or the one that `wire_name` gives), by its type:
    decimal strings become Decimal, timestamps aware datetimes, enums, records and tuples of records what they say.
    `X | None` is None where the message's field is empty or absent.
    """

    __slots__ = ()

    @classmethod
    def from_wire(cls, message: Any) -> Self:
        """Reads the message that this record stands for."""
        values = [read(message) for read in _readers(cls)]
        return cls(*values)


def wire_name(name: str) -> Any:
    """A record's field that has another name in the message."""
    return field(metadata={"wire_name": name})


def moment(timestamp: Timestamp) -> datetime:
    """A timestamp as an aware UTC datetime, to the microsecond."""
    return datetime.fromtimestamp(timestamp.seconds, UTC) + timedelta(microseconds=timestamp.nanos // 1000)


def to_timestamp(value: datetime | None) -> Timestamp | None:
    """An aware datetime as a timestamp; None stays None.

    Raises:
        ValueError: The datetime has no zone.
    """
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; give an aware datetime such as datetime.now(UTC)")
    result = Timestamp()
    result.FromDatetime(value)
    return result


def time_range(start: datetime | None, end: datetime | None) -> TimeRange | None:
    """A half-open span; None where neither end is stated."""
    return TimeRange(start=to_timestamp(start), end=to_timestamp(end)) if start or end else None


def to_duration(value: timedelta) -> Duration:
    """A timedelta as a duration."""
    result = Duration()
    result.FromTimedelta(value)
    return result


_NUMBERS: dict[type[WireEnum], tuple[dict[Any, int], dict[int, Any]]] = {}
_READERS: dict[type[Record], list[Reader]] = {}


def _numbers(cls: type[WireEnum]) -> tuple[dict[Any, int], dict[int, Any]]:
    if cls not in _NUMBERS:
        enum = cls.wire_type()
        prefix = enum.Name(0).removesuffix("UNSPECIFIED")
        by_name = {name.removeprefix(prefix).lower(): number for name, number in enum.items()}
        to_wire = {member: by_name[member.value] for member in cls}
        _NUMBERS[cls] = to_wire, {number: member for member, number in to_wire.items()}
    return _NUMBERS[cls]


def _readers(cls: type[Record]) -> list[Reader]:
    if cls not in _READERS:
        hints = get_type_hints(cls)
        _READERS[cls] = [
            _reader(item.metadata.get("wire_name", item.name), hints[item.name])
            for item in fields(cls)  # type: ignore[arg-type]  # each subclass is a dataclass
        ]
    return _READERS[cls]


def _reader(name: str, kind: Any) -> Reader:
    if get_origin(kind) is tuple:
        convert = _converter(get_args(kind)[0])
        return lambda message: tuple(map(convert, getattr(message, name)))
    if isinstance(kind, UnionType):
        (present,) = (part for part in get_args(kind) if part is not NoneType)
        if present is Decimal:
            return lambda message: from_wire_optional(getattr(message, name))
        convert = _converter(present)
        return lambda message: convert(getattr(message, name)) if message.HasField(name) else None
    convert = _converter(kind)
    return lambda message: convert(getattr(message, name))


def _converter(kind: Any) -> Callable[[Any], Any]:
    if kind is Decimal:
        return from_wire
    if kind is datetime:
        return moment
    if issubclass(kind, WireEnum | Record):
        return kind.from_wire  # type: ignore[no-any-return]
    if issubclass(kind, Message):
        return lambda message: message
    return kind  # type: ignore[no-any-return]  # str, int, float, bool
