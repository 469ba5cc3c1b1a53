"""One service and the channel to its instances, which may change under running calls."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import grpc
import structlog

from aac_grpc.client.channel import channel_options, target_of
from aac_grpc.client.errors import DETAILS_KEY
from aac_grpc.client.retry import RetryBudget
from aac_grpc.common.outliers import FAULTS, Outliers, tag_in
from aac_grpc.common.windows import WINDOW_OPTIONS

_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})
LEFT_OUT_S = 5.0
"""For how long an instance that fails gets no calls."""
REDIAL_S = 3.0
"""Least time between channels that are made because calls are not answered."""

_log = structlog.get_logger("target")

# gRPC's words for a call that never left the process.
_NEVER_SENT = ("failed to connect", "connections to all backends failing", "name resolution", "dns resolution failed")
_SERVING = {grpc.ChannelConnectivity.READY: True, grpc.ChannelConnectivity.TRANSIENT_FAILURE: False}


class _Line:
    """One channel, and how many calls run on it."""

    def __init__(self, channel: grpc.aio.Channel, on_idle: Callable[["_Line"], None]) -> None:
        self.channel = channel
        self.calls = 0
        self.left = asyncio.Event()
        """New calls go elsewhere."""
        self._on_idle = on_idle

    def begun(self, call: Any) -> None:
        self.calls += 1
        call.add_done_callback(self._ended)

    def leave(self) -> None:
        self.left.set()
        if not self.calls:
            self._on_idle(self)

    def _ended(self, call: Any) -> None:
        self.calls -= 1
        if self.left.is_set() and not self.calls:
            self._on_idle(self)


class Target:
    """One service and the channel to its instances.

    New addresses make a new channel for new calls. The old one is kept until its last call has ended, be it in hours.
    gRPC has no way to give a channel other addresses from here, and does not share connections between channels whose
    lists of addresses differ: a move costs a connection an instance, and about a millisecond of the next call.

    An instance that fails its calls while others do not (`outliers.py`) is left out for some seconds, half of them at
    most at a time. Where calls go unanswered the channel is made anew, at no instance's cost: whoever is frozen does
    not finish the handshake, and gets no calls.

    Attributes:
        service: Such as "risk-management".
        budget: Tokens for retries of calls on it.
    """

    def __init__(
        self, service: str, addresses: Sequence[str], max_message_bytes: int, service_config: str = _CONFIG
    ) -> None:
        self.service = service
        self.budget = RetryBudget()
        self._addresses = tuple(addresses)
        self._max_message_bytes = max_message_bytes
        self._service_config = service_config
        self._line: _Line | None = None
        self._outliers = Outliers()
        self._left_out: dict[str, asyncio.TimerHandle] = {}
        self._redialed_at = float("-inf")
        self._left: set[_Line] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where new calls go: host:port of each instance."""
        return self._addresses

    def callable(
        self,
        arity: str,
        path: str,
        serializer: Callable[[Any], bytes] | None = None,
        deserializer: Callable[[bytes], Any] | None = None,
    ) -> Callable[..., Any]:
        """gRPC's callable of a method. Each call begins on the channel of that moment and stays on it.

        Args:
            arity: Such as "unary_stream".
            path: Such as "/aac.risk.v1.RiskService/CheckOrders".
            serializer: Makes bytes of requests; None takes bytes.
            deserializer: Makes responses of bytes; None gives bytes.

        Returns:
            A function that takes what gRPC's own takes, and gives its `grpc.aio.Call`.
        """
        on: _Line | None = None
        make: Any = None

        def begin(*args: Any, **options: Any) -> Any:
            nonlocal on, make
            line = self._line or self._open()
            if line is not on:
                make = getattr(line.channel, arity)(path, serializer, deserializer)
                on = line
            call = make(*args, **options)
            line.begun(call)
            self._outliers.begun += 1
            return call

        return begin

    def move(self, addresses: Sequence[str]) -> None:
        """Sends new calls to other addresses; running ones stay where they are."""
        if set(addresses) != set(self._addresses):
            self._addresses = tuple(addresses)
            self.retire()

    def failed(self, code: grpc.StatusCode, trailers: Sequence[Any]) -> None:
        """Judges by a call that ended otherwise than OK, with these pairs of trailing metadata."""
        if code in FAULTS and (tag := tag_in(trailers)) is not None:
            now = asyncio.get_running_loop().time()
            if (address := self._outliers.failed(tag, self._in_use, now)) is not None:
                self._leave_out(address)
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED and not any(key == DETAILS_KEY for key, _ in trailers):
            self.unanswered()

    def unanswered(self) -> None:
        """Judges by a call that was given up, and had no answer until then."""
        now = asyncio.get_running_loop().time()
        if self._outliers.unanswered(len(self._in_use), now) and now >= self._redialed_at + REDIAL_S:
            self._redialed_at = now
            _log.info("calls are not answered: connecting anew", service=self.service)
            self.retire()

    @property
    def _in_use(self) -> list[str]:
        """Instances that get calls."""
        kept = [address for address in self._addresses if address not in self._left_out]
        return kept or list(self._addresses)

    def _leave_out(self, address: str) -> None:
        if len(self._left_out) + 1 > len(self._addresses) / 2:
            return
        _log.warning("an instance that fails its calls gets none", service=self.service, address=address)
        self._left_out[address] = asyncio.get_running_loop().call_later(LEFT_OUT_S, self._take_back, address)
        self._outliers.forget()
        self.retire()

    def _take_back(self, address: str) -> None:
        del self._left_out[address]
        self._outliers.forget()
        self.retire()

    def retire(self) -> None:
        """Lets running calls end on the present channel; a later call opens another one."""
        line, self._line = self._line, None
        if line is not None:
            self._left.add(line)
            line.leave()

    async def reachable(self) -> AsyncGenerator[bool, None]:
        """Yields whether some instance can be reached and serves, once it is known, and then at each change.

        Keeps the channel connected.
        """
        known: bool | None = None
        while True:
            line = self._line or self._open()
            state = line.channel.get_state(try_to_connect=True)
            # While a channel connects, as after a move, the last answer stands.
            if (now := _SERVING.get(state, known)) is not None and now is not known:
                known = now
                yield now
            await _first(line.channel.wait_for_state_change(state), line.left.wait())

    async def close(self) -> None:
        """Ends all calls."""
        for timer in self._left_out.values():
            timer.cancel()
        lines = [*self._left, *([self._line] if self._line else [])]
        self._line = None
        await asyncio.gather(*self._closing, *(line.channel.close() for line in lines), return_exceptions=True)

    def _open(self) -> _Line:
        options = channel_options(max_message_bytes=self._max_message_bytes, service_config=self._service_config)
        options.extend(WINDOW_OPTIONS)
        channel = grpc.aio.insecure_channel(target_of(self._in_use), options=options)
        self._line = _Line(channel, self._idle)
        return self._line

    def _idle(self, line: _Line) -> None:
        self._left.discard(line)
        task = asyncio.get_running_loop().create_task(line.channel.close(), name=f"close {self.service}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def was_sent(message: str) -> bool:
    """Whether a call that gRPC ended with these words may have reached an instance."""
    return not any(words in message.lower() for words in _NEVER_SENT)


async def _first(*waits: Any) -> None:
    """Waits until one of several has come, and ends the rest."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
