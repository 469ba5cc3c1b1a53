"""One rule for every stream: sequences, resume, gaps, snapshots, heartbeats, draining. See `session.py`."""

from aac_grpc.common.encoded import Encoded
from aac_grpc.common.streams.frames import MAX_FRAME_BYTES, MAX_FRAME_ITEMS, Position, frame, position
from aac_grpc.common.streams.ring import Entry
from aac_grpc.common.streams.session import StreamSession
from aac_grpc.common.streams.subscriptions import Subscription
from aac_grpc.common.streams.topics import EventTopic, SequenceError, Snapshot, StateTopic

__all__ = [
    "MAX_FRAME_BYTES",
    "MAX_FRAME_ITEMS",
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
]
