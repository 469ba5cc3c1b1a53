"""One rule for every stream: sequences, resume, gaps, snapshots, heartbeats, draining. See `session.py`."""

from aac_grpc.common.encoded import Encoded
from aac_grpc.common.streams.frames import Position, frame, position, status_of
from aac_grpc.common.streams.session import StreamSession, Subscription
from aac_grpc.common.streams.topics import Entry, EventTopic, SequenceError, Snapshot, StateTopic

__all__ = [
    "Encoded",
    "Entry",
    "EventTopic",
    "Position",
    "SequenceError",
    "Snapshot",
    "StateTopic",
    "StreamSession",
    "Subscription",
    "frame",
    "position",
    "status_of",
]
