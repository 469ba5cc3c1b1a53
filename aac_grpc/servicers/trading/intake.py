"""What happens to requests before a batch: client keys are looked up, then risk judges what adds exposure.

Cancels, reductions and feeds pass risk by and never wait for it. One question to risk is under way at a time, and the
next is asked only when the orders judged before are in memory, so that it includes them.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from aac_grpc.client.errors import AacError, DeadlineExceeded, Internal, KeyReused, NotFound
from aac_grpc.domain.orders import OrderIntent
from aac_grpc.servicers.trading.journal import Journal
from aac_grpc.servicers.trading.live import OrderReference
from aac_grpc.servicers.trading.memory import Memory
from aac_grpc.servicers.trading.pending import Inbox, Pending
from aac_grpc.servicers.trading.risk import RiskCheck

_log = structlog.get_logger(__name__)

LOOK_UP_LIMIT = 1000
"""Requests whose keys are looked up at once."""
PACE_S = 0.005
"""How long a look-up may wait for others to share it."""


class Intake:
    """Looks up client keys and orders, and sends requests on: to risk, or to the writer."""

    def __init__(self, memory: Memory, journal: Journal, to_judge: Inbox, ready: Callable[[Pending], None]) -> None:
        self._memory = memory
        self._journal = journal
        self._to_judge = to_judge
        self._ready = ready
        self.inbox = Inbox()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await self.inbox.filled()
            # While risk has its hands full, more gathers for one look-up; a cancel is not held up by that.
            await self._to_judge.emptied(PACE_S)
            arrived = self.inbox.pop(LOOK_UP_LIMIT)
            await self._memory.trusted()
            try:
                await self._answer_known(arrived)
                await self._find_orders(arrived)
            except Exception as error:
                _fail(arrived, error)
                continue
            for pending in arrived:
                if not pending.answered:
                    self._send_on(pending)

    async def _answer_known(self, arrived: Sequence[Pending]) -> None:
        """Gives the first result to those whose client key holds one."""
        keys = [pending.request.key for pending in arrived if pending.request.key is not None]
        if not keys:
            return
        known = await self._journal.find_keys(keys)
        for pending in arrived:
            request = pending.request
            record = known.get(request.key) if request.key is not None else None
            if record is None:
                continue
            if record.fingerprint == request.fingerprint:
                pending.answer(request.read_answer(record.response))
            else:
                pending.fail(KeyReused(record.key.key, record.holder))

    async def _find_orders(self, arrived: Sequence[Pending]) -> None:
        """Reads orders that requests name and that are not in memory: they are done, or were never there."""
        # What was in memory may have left it while the others were looked for.
        while absent := [pending for pending in arrived if self._is_absent(pending)]:
            rows = await self._journal.find_orders([_reference(pending) for pending in absent])
            for pending in absent:
                reference = _reference(pending)
                pending.request.found = next((row for row in rows if reference.matches(row)), None)
                if self._is_absent(pending):
                    pending.fail(NotFound("order", str(reference)))

    def _is_absent(self, pending: Pending) -> bool:
        return not pending.answered and pending.request.lost(self._memory.live)

    def _send_on(self, pending: Pending) -> None:
        live = self._memory.live
        try:
            pending.request.prepare(live)
            intent = pending.request.intent(live)
        except Exception as error:
            _fail([pending], error)
            return
        if intent is None:
            self._ready(pending)
        else:
            self._to_judge.put([pending])


def _fail(pendings: Sequence[Pending], error: Exception) -> None:
    """Tells those who wait; one request that breaks our code must not end the work for all others."""
    if not isinstance(error, AacError):
        _log.error("a request failed on its way to the writer", exc_info=error)
        error = Internal()
    for pending in pendings:
        pending.fail(error)


def _reference(pending: Pending) -> OrderReference:
    reference = pending.request.reference
    assert reference is not None
    return reference


class Judge:
    """Asks risk about what adds exposure. Without an answer it does not enter, and nothing is kept under its key."""

    def __init__(
        self, memory: Memory, risk: RiskCheck, limit: int, inbox: Inbox, ready: Callable[[Pending], None]
    ) -> None:
        """Begins idle.

        Args:
            memory: The writer's.
            risk: Whom to ask.
            limit: Orders in one question.
            inbox: What is to be judged.
            ready: Takes what was judged.
        """
        self._memory = memory
        self._risk = risk
        self._limit = limit
        self._inbox = inbox
        self._ready = ready
        self._underway = 0
        self._settled = asyncio.Event()
        self._settled.set()

    def settle(self, pending: Pending) -> None:
        """A judged request is in memory, or will never be."""
        if pending.judged_in >= 0:
            pending.judged_in = -1
            self._underway -= 1
            if self._underway == 0:
                self._settled.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await self._inbox.filled()
            await self._settled.wait()
            await self._memory.trusted()
            await self._judge(self._inbox.pop(self._limit))

    async def _judge(self, arrived: Sequence[Pending]) -> None:
        live, generation = self._memory.live, self._memory.generation
        asked: list[Pending] = []
        intents: list[OrderIntent] = []
        for pending in arrived:
            intent = pending.request.intent(live)
            pending.verdict = None
            if intent is None:
                self._ready(pending)
            elif pending.waiters:
                asked.append(pending)
                intents.append(intent)
            else:
                pending.fail(DeadlineExceeded())
        if not asked:
            return
        try:
            verdicts = await self._risk.judge(live.venue, intents)
        except Exception as error:
            _fail(asked, error)
            return
        self._underway += len(asked)
        self._settled.clear()
        for pending, verdict in zip(asked, verdicts, strict=True):
            pending.verdict, pending.judged_in = verdict, generation
            self._ready(pending)
