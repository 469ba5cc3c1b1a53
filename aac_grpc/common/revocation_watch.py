"""Follows auth-service's stream of revocations, from one connection and one instance to the next."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import grpc
import structlog
from aac.auth.v1.auth_pb2 import Revocation, WatchRevocationsRequest, WatchRevocationsResponse
from aac.type.v1 import stream_pb2

from aac_grpc.client.errors import AacError, Unavailable
from aac_grpc.client.resume import Position
from aac_grpc.common import metrics
from aac_grpc.common.revocations import Revocations
from aac_grpc.common.types import from_duration

SILENCE_S = 2.0
"""A connection on which nothing came for so long is given up; auth-service sends a heartbeat each second. Should the
next one lead to a frozen instance again, there is still time for a third before what is known gets too old."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0

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
        pause = FIRST_PAUSE_S
        while True:
            try:
                await self._read()
            except (AacError, TimeoutError) as error:
                self._report(error)
            metrics.REVOCATION_RECONNECTS.inc()
            if self._connected:
                pause, self._connected = FIRST_PAUSE_S, False
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 not a secret
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _read(self) -> None:
        """Reads one connection to its end."""
        stream = self._watch(self._request())
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    response = await stream.read()
                if response is grpc.aio.EOF or response.header.kind == stream_pb2.FRAME_KIND_DRAINING:
                    return
                self._take(response)
                self._connected = True
        finally:
            stream.cancel()

    def _request(self) -> WatchRevocationsRequest:
        if not self._whole:
            self._position = self._beginning()
        return WatchRevocationsRequest(resume=self._position.resume_point(""))

    def _take(self, response: WatchRevocationsResponse) -> None:
        header, revocations = response.header, self._revocations
        step = self._position.advance(header, response.revocations)
        if step.missed is not None:
            self._whole = False
            if not step.announced:
                raise Unavailable("revocations were skipped without a word")
        if step.snapshot:
            revocations.replace(step.fresh)
            self._whole = True
        elif step.fresh:
            revocations.add(step.fresh)
        if not self._whole:
            return
        age_s = from_duration(header.staleness) / 1e9 if header.kind == stream_pb2.FRAME_KIND_HEARTBEAT else 0.0
        revocations.heard(age_s)

    def _report(self, error: Exception) -> None:
        # The first failure of many tells; the metric says how long it lasts.
        level = _log.warning if self._connected else _log.debug
        level("the watch of revocations broke", error=str(error), stale_s=round(self._revocations.staleness_s, 1))

    @staticmethod
    def _beginning() -> Position[Revocation]:
        return Position(stream_pb2.TOPIC_REVOCATIONS)
