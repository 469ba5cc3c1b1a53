"""Bytes of streamed responses: `StreamHeader` as field 1, then entries that were framed once and joined."""

from dataclasses import dataclass

from aac.type.v1.stream_pb2 import ResumePoint
from google.rpc.status_pb2 import Status

from aac_grpc.client.errors import AacError


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader of one key and topic stands: it has `sequence` of `epoch` and all before."""

    epoch: int
    sequence: int


def frame(field_number: int, message: bytes) -> bytes:
    """Frames a serialized message as an entry of a repeated field: tag, length, bytes. Frame each entry once."""
    raise NotImplementedError


def position(point: ResumePoint | None) -> Position | None:
    """A client's resume point; None where it wants to begin anew (absent, or epoch and sequence both 0)."""
    raise NotImplementedError


def status_of(error: AacError | None) -> Status:
    """The status of one item; code 0 where there is no error."""
    raise NotImplementedError
