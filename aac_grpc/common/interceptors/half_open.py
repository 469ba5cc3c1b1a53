"""Half-open calls: their headers have come, their one message has not.

gRPC calls no handler before a unary call's message is there (nor that of a call which a stream answers), so until then
neither a deadline nor a credential nor any limit holds, and graceful shutdown waits for it.
"""

import asyncio
import contextlib
import gc
from typing import Any

import grpc
import structlog
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the package has types for what is public

from aac_grpc.client.errors import AacError, DeadlineExceeded, Draining, Overloaded, to_status
from aac_grpc.common.request_ids import request_id_of
from aac_grpc.common.settings import ServiceSettings

DRAIN_PATIENCE_S = 1.0
SWEEP_S = 0.5
"""How exactly time is kept."""

_log = structlog.get_logger("half_open")


class HalfOpenCalls:
    """Ends calls whose message does not come in time."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._patience_s = settings.message_timeout_s
        self._most = settings.max_half_open_calls
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time()
        # The tasks that serve them, the oldest first.
        self._since: dict[asyncio.Task[Any] | None, float] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._late: AacError = DeadlineExceeded("the call began, and its message did not come in time")
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._since)

    def begin(self) -> None:
        """Notes the call that this task serves: its headers are here."""
        if len(self._since) >= self._most:
            self._make_room()
        self._since[asyncio.current_task(self._loop)] = self._now

    def complete(self) -> asyncio.Task[Any] | None:
        """Forgets the call that this task serves: its message is here. Tells which task that is."""
        task = asyncio.current_task(self._loop)
        self._since.pop(task, None)
        return task

    def start(self) -> None:
        """Begins to look, each `SWEEP_S`, who has waited too long."""
        self._timer = self._loop.call_later(SWEEP_S, self._sweep)

    def drain(self) -> None:
        """Shutdown does not wait for them."""
        self._patience_s, self._late = min(self._patience_s, DRAIN_PATIENCE_S), Draining()

    async def close(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._ending)

    def _sweep(self) -> None:
        self._now = self._loop.time()
        before = self._now - self._patience_s
        late = [task for task, since in self._since.items() if since <= before or task is None or task.done()]
        if waited_in_vain := sum([self._end(task, self._late) for task in late]):
            _log.warning("ended calls whose message did not come", calls=waited_in_vain)
        self.start()

    def _make_room(self) -> None:
        # Not the newest: a message that only waits for its turn in the event loop is here in a moment.
        self._end(next(iter(self._since)), Overloaded("too many calls have begun whose message has not come"))

    def _end(self, task: asyncio.Task[Any] | None, error: AacError) -> bool:
        """Ends a call; False where its caller has ended it before."""
        del self._since[task]
        if task is None or task.done():
            return False
        state = _state_of(task)
        task.cancel()
        if state is None:
            _log.error("gRPC keeps its calls elsewhere: a half-open call can't be ended")
            return True
        ending = self._loop.create_task(self._refuse(state, error))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return True

    async def _refuse(self, state: Any, error: AacError) -> None:
        context = cygrpc._ServicerContext(state, None, None, self._loop)
        request_id = request_id_of(dict(context.invocation_metadata()))
        code, message, details = to_status(error, request_id)
        # What is raised tells that the status was sent, or that the caller has gone.
        with contextlib.suppress(grpc.aio.AbortError, grpc.aio.InternalError, grpc.aio.UsageError):
            await context.abort(code, message, (("x-request-id", request_id), *details))


def _state_of(task: asyncio.Task[Any]) -> Any:
    """gRPC's own state of the call that a task serves.

    A task that is cancelled leaves the call open, and before its message is there gRPC gives the call to nobody. The
    variables of the task's coroutine hold it.
    """
    for scope in gc.get_referents(task.get_coro()):
        for variable in gc.get_referents(scope):
            if type(variable) is cygrpc.RPCState:
                return variable
    return None
