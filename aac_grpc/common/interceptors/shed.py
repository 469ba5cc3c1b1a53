"""Load shedding: refuses calls while more come in than can be served, the least urgent first.

A refusal must cost far less than the work, and most of what a call costs is gRPC's own. So it is made where gRPC asks
for the call's handler: before the message is read, without hooks, from bytes that were prepared, and without a line in
the log for each. `concurrency.py` says how it is decided, `pulse.py` how the wait is measured.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from aac_grpc.client.errors import DETAILS_KEY, AacError, Overloaded, to_status_message
from aac_grpc.common import metrics
from aac_grpc.common.call import Call
from aac_grpc.common.concurrency import Admission, Bounds
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.adapter import INVOCATION_METADATA, Handler
from aac_grpc.common.interceptors.hooks import Interceptor
from aac_grpc.common.interceptors.metrics import SERVER
from aac_grpc.common.pulse import Pulse
from aac_grpc.common.request_ids import request_id_of
from aac_grpc.common.settings import ServiceSettings

RANK = {"LOW": 0, "NORMAL": 1, "HIGH": 2}
"""By priority, what is refused first; what is not here never is."""
FLOOR = 8.0
"""Calls that may wait however long each takes."""
CALM_S = 0.2
ALERT_S = 0.05
SHEDDING_S = 0.02
"""How often the wait is measured: while all is well, while it is long, and while load is shed. A measurement costs
about as much as two calls."""
REPORT_S = 10.0
RETRY_AFTER_S = tuple(0.25 + 0.125 * number for number in range(16))
"""What callers are told, in turn, so that they do not all come back at once."""

_log = structlog.get_logger("shed")


class LoadShedding(Interceptor):
    """The shedding of one process.

    Attributes:
        admission: Decides.
        arrived: Calls that came up since the last measurement, refused ones included.
        refused: Calls that were refused since then.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.admission = Admission(Bounds(settings.shed_target_s, settings.shed_burst_s, FLOOR))
        self.arrived = 0
        self.refused = 0
        self._enabled = settings.shedding
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._pulse = Pulse() if self._enabled else None
        self._reported = _Report(self._loop.time)

    def gate(self, policy: MethodPolicy) -> "Gate | None":
        """What stands before a method; None where its calls are never refused."""
        rank = RANK.get(policy.priority)
        return None if rank is None or not self._enabled else Gate(self, policy, rank)

    def for_method(self, policy: MethodPolicy) -> Interceptor | None:
        """Lets handlers of clients' streams ask for each item. Calls are refused before there is a `Call`."""
        gate = self.gate(policy) if policy.client_streaming else None
        return None if gate is None else ItemGate(gate)

    def pulse(self) -> "dict[str, tuple[Handler, PulseGate]]":
        """What must be served for the measurement, and by nobody else's path."""
        return {} if self._pulse is None else {self._pulse.path: (self._pulse.handler, PulseGate(self, self._pulse))}

    def begin(self, server: grpc.aio.Server) -> None:
        """Begins to measure; called before the server starts."""
        if self._pulse is None:
            return
        try:
            self._pulse.listen(server)
        except RuntimeError as error:
            _log.warning("no load is shed: the process can't listen to itself", error=str(error))
            return
        self._timer = self._loop.call_later(CALM_S, self._tick)

    async def until_deaf(self) -> None:
        """Returns once the process takes no calls any more; never where it does not call itself."""
        await (asyncio.Event().wait() if self._pulse is None else self._pulse.until_deaf())

    async def close(self) -> None:
        """Measures no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._pulse is not None:
            await self._pulse.close()

    def _tick(self) -> None:
        pulse, admission = self._pulse, self.admission
        assert pulse is not None
        now = self._loop.time()
        admission.observe(
            pulse.delay(now),
            now=now,
            cpu_s=time.thread_time(),
            begun=self.arrived - self.refused,
            refused=self.refused,
        )
        interval = self._interval()
        if self.arrived or interval < CALM_S:
            pulse.beat()
        else:
            pulse.forget()
        metrics.QUEUE_DELAY.set(admission.delay_s)
        metrics.QUEUED.set(admission.waiting)
        metrics.QUEUE_LIMIT.set(admission.limit)
        metrics.SHED_PRESSURE.set(admission.pressure)
        self._reported.add(self.refused, admission)
        self.arrived = self.refused = 0
        self._timer = self._loop.call_later(interval, self._tick)

    def _interval(self) -> float:
        if self.admission.pressure > 0:
            return SHEDDING_S
        return ALERT_S if self.admission.delay_s > self.admission.bounds.target_s / 2 else CALM_S


class Gate:
    """Stands before one method.

    Attributes:
        refusal: The handler for a call that is refused; it fits calls of all arities.
    """

    def __init__(self, shedding: LoadShedding, policy: MethodPolicy, rank: int) -> None:
        self.refusal: Handler = grpc.stream_stream_rpc_method_handler(self._refuse)
        self._shedding = shedding
        self._admission = shedding.admission
        self._rank = rank
        self._error = Overloaded()
        self._statuses = [_without_request_id(_overloaded(policy, after)) for after in RETRY_AFTER_S]
        self._policy = policy
        self._turn = 0
        self._counts = SERVER.counts(policy)
        self._shed = metrics.SHED.labels(policy.priority)

    def refuses(self) -> bool:
        """Whether the next call is refused; counts it."""
        if self._admission.pressure <= self._rank or not self._admission.refuses(self._rank):
            return False
        self._shedding.refused += 1
        self._shed.inc()
        return True

    def item_refusal(self) -> AacError | None:
        """The error for an item of a stream; None where it is let in."""
        if self._admission.pressure <= self._rank or not self._admission.refuses(self._rank):
            return None
        self._shed.inc()
        return _overloaded(self._policy, random.choice(RETRY_AFTER_S))  # noqa: S311 no secret

    async def _refuse(self, _: Any, context: Any) -> None:
        self._counts.started += 1
        self._counts.failed[grpc.StatusCode.RESOURCE_EXHAUSTED] += 1
        request_id = request_id_of(dict(INVOCATION_METADATA.get()))
        self._turn = (self._turn + 1) % len(self._statuses)
        details = self._statuses[self._turn] + _request_info(request_id)
        context.set_trailing_metadata((("x-request-id", request_id), (DETAILS_KEY, details)))
        # Not `abort`, which costs half as much again.
        context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
        context.set_details(self._error.message)


class PulseGate:
    """Notes that the call that measures came up."""

    def __init__(self, shedding: LoadShedding, pulse: Pulse) -> None:
        self.refusal = pulse.handler
        self._shedding = shedding
        self._pulse = pulse

    def refuses(self) -> bool:
        """Always, by answering it. The call does not count: it is not work that anybody asked for."""
        self._shedding.arrived -= 1
        self._pulse.arrived()
        return True


class ItemGate(Interceptor):
    """Lets a handler refuse items of a stream that is open."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def on_start(self, call: Call) -> None:
        """Gives the call what its handler asks."""
        call.item_refusal = self._gate.item_refusal


class _Report:
    """Says in the log that load is shed: when it begins, each `REPORT_S`, and when it is over."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._refused = 0
        self._due: float | None = None

    def add(self, refused: int, admission: Admission) -> None:
        self._refused += refused
        if self._due is None and not refused:
            return
        now = self._clock()
        over = admission.pressure == 0.0
        if self._due is None or now >= self._due or over:
            _log.warning(
                "load is shed no more" if over else "load is shed",
                refused=self._refused,
                delay_ms=round(admission.delay_s * 1000),
                pressure=round(admission.pressure, 2),
            )
            self._refused, self._due = 0, None if over else now + REPORT_S


def _overloaded(policy: MethodPolicy, retry_after: float) -> Overloaded:
    return Overloaded(metadata={"priority": policy.priority}, retry_after=retry_after)


def _without_request_id(error: AacError) -> bytes:
    status = to_status_message(error)
    kept: Sequence[any_pb2.Any] = [
        one for one in status.details if not one.Is(error_details_pb2.RequestInfo.DESCRIPTOR)
    ]
    return bytes(status_pb2.Status(code=status.code, message=status.message, details=kept).SerializeToString())


def _request_info(request_id: str) -> bytes:
    """The rest of a `google.rpc.Status`: serialized messages that stand one behind the other are one message."""
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
    return bytes(status.SerializeToString())
