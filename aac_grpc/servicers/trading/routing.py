"""Answers calls where their venue is written: here, or at the engine that writes it, which a call is handed on to.

While a venue's writer changes, calls wait. What the former one did not answer is asked of the next: all methods here
are reads, or changes that carry a client key. A call that was handed on goes no further: who sent it looks again.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from aac_grpc.client.errors import AacError, Draining, NotFound, NotWriter, Overloaded, UnknownOutcome
from aac_grpc.common.call import Call, current_call
from aac_grpc.common.encoded import Encoded
from aac_grpc.common.peers import PeerLost, Peers
from aac_grpc.servicers.trading.exchange import Exchange
from aac_grpc.servicers.trading.open_venue import OpenVenue
from aac_grpc.servicers.trading.sharing import Sharing
from aac_grpc.servicers.trading.writers import Writer

Answer = TypeVar("Answer")

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.25
_MARGIN_S = 0.1
"""Before a call's deadline, so that the caller still hears what it waited for."""

Elsewhere = (NotWriter, Draining, PeerLost)
"""What says that a venue's writer has changed, or is changing."""


class Patience:
    """How long one call waits for its venue's writer."""

    def __init__(self, venue: str, call: Call, limit_s: float) -> None:
        """Begins to count.

        Args:
            venue: The venue.
            call: Whose deadline ends the wait, too.
            limit_s: Longest wait.
        """
        self._venue = venue
        self._call = call
        self._limit_s = limit_s
        self._clock = asyncio.get_running_loop().time
        self.sent = False
        """An attempt that failed may have been carried out."""
        self.begin()

    def begin(self) -> None:
        """Somebody has answered: the next wait is another one."""
        self._ends = self._clock() + self._limit_s
        if self._call.deadline is not None:
            self._ends = min(self._ends, self._call.deadline - _MARGIN_S)
        self._pause = _FIRST_PAUSE_S

    def lost(self, failure: AacError | PeerLost) -> None:
        """An attempt failed since the writer has changed."""
        self.sent = self.sent or not isinstance(failure, PeerLost) or failure.sent

    def pause(self) -> float:
        """Returns how long to wait at most before the next attempt.

        Raises:
            NotWriter: It is over, and nothing was done.
            UnknownOutcome: It is over.
        """
        left = self._ends - self._clock()
        if left <= 0 or self._call.forwarded:
            raise self._end()
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE_S)
        return min(left, pause * (0.5 + random.random()))  # noqa: S311 no secret

    def _end(self) -> AacError:
        if self.sent and not self._call.forwarded and self._call.policy.idempotency != "NO_SIDE_EFFECTS":
            return UnknownOutcome()
        return NotWriter(self._venue, retry_after=_LONGEST_PAUSE_S)


class Router:
    """Finds out who writes a venue, and has it answer."""

    def __init__(self, exchange: Exchange, sharing: Sharing, peers: Peers, *, limit_s: float, max_waiting: int) -> None:
        """Configures.

        Args:
            exchange: The venues of this instance, and whom it knows to write the others.
            sharing: Finds out whether another engine has ended.
            peers: The other engines.
            limit_s: How long a call waits for its venue's writer, at most.
            max_waiting: Calls that wait at most; further ones are refused.
        """
        self._exchange = exchange
        self._sharing = sharing
        self._peers = peers
        self._limit_s = limit_s
        self._max_waiting = max_waiting
        self._waiting = 0

    async def ask(
        self,
        venue: str,
        request: Message,
        answer: Callable[[OpenVenue], Awaitable[Answer]],
        ended: Answer | None = None,
    ) -> Answer:
        """Answers a call that gives one message; where another engine gave it, as its bytes (`Encoded`).

        Args:
            venue: The venue that it is about.
            request: Its request, as it is handed on.
            answer: Answers it where this instance writes the venue.
            ended: The answer where an attempt that was not answered has ended the venue, as it should.

        Raises:
            NotFound: There is no such venue.
            NotWriter: Nobody who writes it was reached in time; nothing was done.
            UnknownOutcome: Whoever wrote it did not answer, and nobody else was reached in time.
            AacError: The answer.
        """
        patience = self.patience(venue)
        while True:
            try:
                place = await self.place(venue, patience)
                try:
                    if isinstance(place, OpenVenue):
                        return await answer(place)
                    return cast(Answer, Encoded(await self._peers.ask(place, request.SerializeToString())))
                except Elsewhere as failure:
                    await self.failed(place, failure, patience)
            except NotFound:
                if ended is None or not patience.sent:
                    raise
                return ended

    async def converse(
        self,
        venue: str,
        first: Message,
        more: AsyncIterator[Message],
        answer: Callable[[OpenVenue], AsyncGenerator[Any, None]],
    ) -> AsyncGenerator[Any, None]:
        """Answers a call whose both sides stream. Once its first message was answered, it ends with its writer.

        Args:
            venue: The venue that it is about.
            first: Its first message.
            more: Those that follow.
            answer: Answers it where this instance writes the venue.

        Raises:
            AacError: As `ask` does.
        """
        patience, begun = self.patience(venue), False
        while True:
            place = await self.place(venue, patience)
            try:
                answers = answer(place) if isinstance(place, OpenVenue) else self._handed_on(place, first, more)
                async with aclosing(answers):
                    async for each in answers:
                        begun = True
                        yield each
                return
            except Elsewhere as failure:
                if begun or isinstance(place, OpenVenue):
                    # What follows the first message can't be sent again; the caller can.
                    raise failure if isinstance(failure, AacError) else NotWriter(venue) from failure
                await self.failed(place, failure, patience)

    def patience(self, venue: str) -> Patience:
        """Begins to wait for a venue's writer, in the call that is being served."""
        return Patience(venue, current_call(), self._limit_s)

    async def place(self, venue: str, patience: Patience) -> OpenVenue | Writer:
        """Returns where a venue is written, as soon as it is known.

        Raises:
            NotFound: There is no such venue.
            NotWriter, UnknownOutcome: That is not known in time, or the call goes no further.
        """
        forwarded = current_call().forwarded
        while True:
            place = await self._exchange.locate(venue)
            if isinstance(place, OpenVenue) or (place is not None and not forwarded):
                return place
            await self._wait(patience)

    async def failed(self, place: OpenVenue | Writer, failure: AacError | PeerLost, patience: Patience) -> None:
        """Waits after an attempt at a place that does not write the venue any more, or could not be reached.

        Raises:
            NotWriter, UnknownOutcome: There is no time for another one.
        """
        patience.lost(failure)
        if isinstance(place, Writer):
            self._exchange.writers.doubt(place)
            if isinstance(failure, PeerLost) and not place.over:
                self._peers.forget(place)
                if await self._sharing.has_ended(place):
                    return
        await self._wait(patience)

    async def _wait(self, patience: Patience) -> None:
        pause = patience.pause()
        if self._waiting >= self._max_waiting:
            raise Overloaded(f"{self._waiting} calls wait for their venues' writers; retry later")
        self._waiting += 1
        try:
            await self._exchange.writers.changed(pause)
        finally:
            self._waiting -= 1

    async def _handed_on(
        self, place: Writer, first: Message, more: AsyncIterator[Message]
    ) -> AsyncGenerator[Encoded, None]:
        messages = (message.SerializeToString() async for message in more)
        async with aclosing(self._peers.converse(place, first.SerializeToString(), messages)) as answers:
            async for answer in answers:
                yield Encoded(answer)
