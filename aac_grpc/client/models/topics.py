"""Topics of streams."""

from __future__ import annotations

from typing import Any

from aac.type.v1 import stream_pb2

from aac_grpc.client.models._record import WireEnum


class Topic(WireEnum):
    """What a frame of a stream is about."""

    UNSPECIFIED = "unspecified"
    TRADES = "trades"
    QUOTES = "quotes"
    DEPTH = "depth"
    ORDERS = "orders"
    EXECUTIONS = "executions"
    EVENTS = "events"

    @classmethod
    def wire_type(cls) -> Any:
        return stream_pb2.Topic
