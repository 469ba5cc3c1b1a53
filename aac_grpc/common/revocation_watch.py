"""Follows auth-service's stream of revocations, from one connection and one instance to the next."""

from collections.abc import Callable
from typing import Any

import structlog
from aac.auth.v1.auth_pb2 import Revocation, WatchRevocationsRequest, WatchRevocationsResponse
from aac.type.v1 import stream_pb2

from aac_grpc.client.errors import AacError, Unavailable
from aac_grpc.client.reconnect import Call, ReconnectingStream, ReconnectPolicy
from aac_grpc.client.resume import Position
from aac_grpc.common import metrics
from aac_grpc.common.revocations import Revocations
from aac_grpc.common.types import from_duration

# auth-service sends a heartbeat each second. Should the connection after a silent one lead to a frozen instance again,
# there is still time for a third before what is known gets too old.
_POLICY = ReconnectPolicy(endless=True, silence_s=2.0)

_log = structlog.get_logger("revocations")

Watch = Callable[[WatchRevocationsRequest], Any]
"""Opens `AuthService.WatchRevocations`."""


class RevocationWatch:
    """Feeds `Revocations`. What was learned stays while auth-service is away; a new connection goes on from there."""

    def __init__(self, watch: Watch, revocations: Revocations) -> None:
        """Begins before the first snapshot."""
        self._watch = watch
        self._revocations = revocations
        self._position: Position[Revocation] = self._beginning()
        self._whole = False
        """All that was revoked up to the position is known; not so between a GAP and its snapshot."""
        self._connected = False

    async def follow(self) -> None:
        """Runs until it is cancelled."""
        stream = ReconnectingStream(self._open, policy=_POLICY, on_disconnect=self._disconnected)
        async for response in stream.frames():
            self._connected = True
            if (error := self._take(response)) is not None:
                stream.break_off(error)

    async def _open(self) -> Call[WatchRevocationsResponse]:
        if not self._whole:
            self._position = self._beginning()
        call: Call[WatchRevocationsResponse] = self._watch(
            WatchRevocationsRequest(resume=self._position.resume_point(""))
        )
        return call

    def _take(self, response: WatchRevocationsResponse) -> AacError | None:
        """Takes a frame; what it returns is why the rest of the connection is of no use."""
        header, revocations = response.header, self._revocations
        step = self._position.advance(header, response.revocations)
        if step.missed is not None:
            self._whole = False
            if not step.announced:
                return Unavailable("revocations were skipped without a word")
        if step.snapshot:
            revocations.replace(step.fresh)
            self._whole = True
        elif step.fresh:
            revocations.add(step.fresh)
        if self._whole:
            heartbeat = header.kind == stream_pb2.FRAME_KIND_HEARTBEAT
            revocations.heard(from_duration(header.staleness) / 1e9 if heartbeat else 0.0)
        return None

    def _disconnected(self, error: AacError | None) -> None:
        metrics.REVOCATION_RECONNECTS.inc()
        if error is not None:
            # The first failure of many tells; the metric says how long it lasts.
            level = _log.warning if self._connected else _log.debug
            level("the watch of revocations broke", error=str(error), stale_s=round(self._revocations.staleness_s, 1))
        self._connected = False

    @staticmethod
    def _beginning() -> Position[Revocation]:
        return Position(stream_pb2.TOPIC_REVOCATIONS)
