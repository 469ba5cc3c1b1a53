"""Bytes of streamed responses: `StreamHeader` as field 1, then entries that were framed once and joined.

Joined entries of a repeated field, after a header, parse as one message, so the same bytes serve every subscriber.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aac.type.v1.stream_pb2 import FrameKind, ResumePoint, StreamHeader

from aac_grpc.common.encoded import Encoded
from aac_grpc.common.types import to_timestamp

HEADER_FIELD = 1
_HEADER_TAG = bytes([HEADER_FIELD << 3 | 2])
MAX_FRAME_BYTES = 256 * 1024
"""Entries of one frame, unless a single one is larger."""
MAX_FRAME_ITEMS = 2000
"""Entries of one frame."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader of one key and topic stands: it has `sequence` of `epoch` and all before."""

    epoch: int
    sequence: int


def varint(value: int) -> bytes:
    """Writes a non-negative number as protobuf's base-128 varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def frame(field_number: int, message: bytes) -> bytes:
    """Frames a serialized message as an entry of a repeated field: tag, length, bytes. Frame each entry once."""
    return varint(field_number << 3 | 2) + varint(len(message)) + message


def encode(header: StreamHeader, entries: Iterable[bytes] = (), items: int = 0) -> Encoded:
    """Makes a response of a header and framed entries."""
    return Encoded(frame(HEADER_FIELD, header.SerializeToString()) + b"".join(entries), items)


def header_of(data: bytes) -> StreamHeader:
    """The header that the bytes of a streamed response begin with; an empty one where they begin otherwise."""
    if not data.startswith(_HEADER_TAG):
        return StreamHeader()
    length = shift = 0
    for at in range(1, len(data)):
        length |= (data[at] & 0x7F) << shift
        shift += 7
        if data[at] < 0x80:
            return StreamHeader.FromString(data[at + 1 : at + 1 + length])
    return StreamHeader()


def now_header(kind: "FrameKind.ValueType") -> StreamHeader:
    """A header made now."""
    return StreamHeader(kind=kind, server_time=to_timestamp(time.time_ns()))


def split(entries: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Parts of a long list that each fit one frame; at least one part."""
    parts: list[Sequence[bytes]] = []
    begin = size = 0
    for index, entry in enumerate(entries):
        if index > begin and (size + len(entry) > MAX_FRAME_BYTES or index - begin == MAX_FRAME_ITEMS):
            parts.append(entries[begin:index])
            begin, size = index, 0
        size += len(entry)
    parts.append(entries[begin:])
    return parts


def position(point: ResumePoint | None) -> Position | None:
    """A client's resume point; None where it wants to begin anew (absent, or epoch and sequence both 0)."""
    if point is None or (point.epoch == 0 and point.sequence == 0):
        return None
    return Position(point.epoch, point.sequence)
