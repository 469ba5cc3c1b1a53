"""The one writer of a venue: requests share batches, a batch is one transaction, nothing leaves before its commit."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import structlog
from google.protobuf.message import Message

from aac_grpc.client.errors import AacError, DeadlineExceeded, Internal, KeyReused, Overloaded, UnknownOutcome
from aac_grpc.common.clock import Clock
from aac_grpc.servicers.trading.batch import Batch, ClientKey, KeyRecord
from aac_grpc.servicers.trading.failpoints import AFTER_ANSWER, AFTER_COMMIT, Failpoint
from aac_grpc.servicers.trading.intake import Intake, Judge
from aac_grpc.servicers.trading.journal import Journal
from aac_grpc.servicers.trading.live import LiveVenue
from aac_grpc.servicers.trading.memory import Memory
from aac_grpc.servicers.trading.pending import Inbox, Pending
from aac_grpc.servicers.trading.requests import Answer, Request
from aac_grpc.servicers.trading.risk import RiskCheck
from aac_grpc.servicers.trading.settings import TradingSettings
from aac_grpc.servicers.trading.settlement import Settlement

Seen = TypeVar("Seen")

_log = structlog.get_logger(__name__)


class VenueWriter:
    """Writes one venue while its lease holds; `run` does the work."""

    def __init__(
        self,
        memory: Memory,
        journal: Journal,
        risk: RiskCheck,
        clock: Clock,
        settings: TradingSettings,
        publish: Callable[[Batch], None],
        failpoint: Failpoint,
    ) -> None:
        """Begins idle.

        Args:
            memory: The venue, just recovered.
            journal: Where batches go.
            risk: Who judges orders.
            clock: The venue's.
            settings: The engine's.
            publish: Called after each commit, before its callers are answered.
            failpoint: For crash tests.
        """
        self._memory = memory
        self._clock = clock
        self._settings = settings
        self._publish = publish
        self._failpoint = failpoint
        self._settlement = Settlement(memory, journal, settings.outcome_timeout_s)
        self._orders, self._feed, to_judge = Inbox(), Inbox(), Inbox()
        self._judge = Judge(memory, risk, settings.batch_orders, to_judge, self._make_ready)
        self._intake = Intake(memory, journal, to_judge, self._make_ready)
        self._to_judge = to_judge
        self._work = asyncio.Event()
        self._by_key: dict[ClientKey, Pending] = {}
        self._waiting: set[Pending] = set()
        self._inspections: list[tuple[Callable[[LiveVenue], Any], asyncio.Future[Any]]] = []
        self._busy = False
        self._closed: Exception | None = None

    @property
    def closed(self) -> bool:
        """It takes no requests any more."""
        return self._closed is not None

    async def run(self) -> None:
        """Works until cancelled, or until the lease is lost; then all who wait are told."""
        tasks = [asyncio.create_task(part()) for part in (self._write, self._intake.run, self._judge.run)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            if self._busy:
                self._memory.doubt()
            failures = [result for result in results if isinstance(result, Exception)]
            known = next((failure for failure in failures if isinstance(failure, AacError)), self._closed)
            self.close(known or UnknownOutcome())
        for failure in failures:
            if not isinstance(failure, AacError):
                raise failure

    def finish(self, reason: Exception) -> None:
        """Takes no more requests; `run` returns after the batch under way, and tells all who wait then."""
        if self._closed is None:
            self._closed = reason
        self._work.set()

    def close(self, reason: Exception) -> None:
        """Takes no more requests, and tells all who wait."""
        if self._closed is None:
            self._closed = reason
        for pending in tuple(self._waiting):
            pending.fail(reason)
        for _, seen in self._inspections:
            if not seen.done():
                seen.set_exception(reason)

    async def submit(self, request: Request[Answer]) -> Answer:
        """Has a request carried out, and returns its answer once that is committed.

        Raises:
            AacError: It was not carried out, or (UnknownOutcome) it is not known whether it was.
        """
        while request.key is not None and (first := self._by_key.get(request.key)) is not None:
            try:
                answer = await first.wait()
            except AacError:
                # Nothing is kept under the key, so this one may try; unless it asks the very same.
                if first.request.fingerprint == request.fingerprint:
                    raise
                continue
            if first.request.fingerprint != request.fingerprint:
                raise KeyReused(request.key.key, first.request.holder(answer))
            return cast(Answer, answer)
        return cast(Answer, await self.enqueue(request).wait())

    def enqueue(self, request: Request[Any]) -> Pending:
        """Takes a request in, for somebody who waits for its answer later.

        Raises:
            AacError: The writer is closed, or too much waits already.
        """
        if self._closed is not None:
            raise self._closed
        if len(self._waiting) >= self._settings.queue_requests:
            raise Overloaded(f"{len(self._waiting)} requests wait for the venue's writer; retry later")
        pending = Pending(request)
        pending.on_done(self._forget)
        self._waiting.add(pending)
        if request.key is None:
            self._make_ready(pending)
        else:
            self._by_key[request.key] = pending
            self._intake.inbox.put([pending])
        return pending

    async def inspect(self, look: Callable[[LiveVenue], Seen]) -> Seen:
        """Looks at the venue between two batches, when memory is what is committed. `look` must not change it."""
        if not self._busy and self._memory.is_trusted:
            return look(self._memory.live)
        if self._closed is not None:
            raise self._closed
        seen: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._inspections.append((look, seen))
        return cast(Seen, await seen)

    def _make_ready(self, pending: Pending) -> None:
        inbox = self._orders if pending.request.weight == 1 else self._feed
        inbox.put([pending])
        self._work.set()

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            await self._memory.trusted()
            if self._closed is not None:
                return
            taken = self._orders.pop(self._settings.batch_orders) + self._feed.pop(self._settings.feed_chunk_rows)
            if not self._orders and not self._feed:
                self._work.clear()
            self._busy = True
            for shared in _batches(taken):
                await self._write_batch(shared)
            self._busy = False
            self._inspect()

    async def _write_batch(self, taken: Sequence[Pending]) -> None:
        """Carries requests out in memory, commits, and only then lets anything leave."""
        batch = Batch(self._memory.live, self._clock.nanoseconds())
        answers: list[tuple[Pending, Message]] = []
        sent_back: set[Pending] = set()
        broken = False
        try:
            self._carry_out(batch, taken, answers, sent_back)
            if not batch.empty:
                batch.seal()
        except Exception:
            _log.exception("a batch failed in memory", venue=batch.live.name, batch=batch.number, requests=len(taken))
            broken = True
        finally:
            for pending in taken:
                self._judge.settle(pending)
        if broken:
            await self._isolate([each for each in taken if not each.answered and each not in sent_back])
            return
        if not batch.empty:
            waiting = [pending for pending, _ in answers]
            if not await self._settlement.commit(batch, lambda error: _fail(waiting, error)):
                return
            self._failpoint.reach(AFTER_COMMIT)
            self._publish(batch)
        for pending, answer in answers:
            pending.answer(answer)
        if not batch.empty:
            self._failpoint.reach(AFTER_ANSWER)

    async def _isolate(self, suspects: Sequence[Pending]) -> None:
        """Builds memory anew and carries each request out in a batch of its own, so that only the culprit fails."""
        if len(suspects) == 1:
            suspects[0].fail(Internal())
            suspects = ()
        await self._settlement.start_over()
        for pending in suspects:
            # Stays so on its way through risk, which has to judge it again.
            pending.alone, pending.verdict = True, None
        for pending in suspects:
            await self._write_batch([pending])

    def _carry_out(
        self,
        batch: Batch,
        taken: Sequence[Pending],
        answers: list[tuple[Pending, Message]],
        sent_back: set[Pending],
    ) -> None:
        """Carries requests out in memory.

        Args:
            batch: Where to.
            taken: The requests.
            answers: Gets what to answer once the batch is committed.
            sent_back: Gets the requests that will come again.
        """
        for pending in taken:
            request = pending.request
            if request.key is not None and not pending.waiters:
                pending.fail(DeadlineExceeded())
                continue
            if request.lost(batch.live):
                # Its order was done, and left memory, since it came in.
                sent_back.add(pending)
                self._intake.inbox.put([pending])
                continue
            if request.intent(batch.live) is not None and not self._is_judged(pending):
                # It adds exposure now, by what happened since it came in.
                sent_back.add(pending)
                self._to_judge.put([pending])
                continue
            before = len(batch.messages)
            try:
                answer = request.run(batch, pending.verdict)
            except AacError as error:
                if len(batch.messages) != before:
                    raise RuntimeError(f"{type(request).__name__} failed after it had changed the venue") from error
                pending.fail(error)
                continue
            answers.append((pending, answer))
            if request.key is not None:
                record = KeyRecord(request.key, request.fingerprint, request.holder(answer), answer.SerializeToString())
                batch.keys.append(record)

    def _is_judged(self, pending: Pending) -> bool:
        return pending.judged_in == self._memory.generation

    def _inspect(self) -> None:
        if not self._memory.is_trusted:
            return
        inspections, self._inspections = self._inspections, []
        for look, seen in inspections:
            if seen.done():
                continue
            try:
                seen.set_result(look(self._memory.live))
            except Exception as error:
                seen.set_exception(error)

    def _forget(self, pending: Pending) -> None:
        self._waiting.discard(pending)
        key = pending.request.key
        if key is not None and self._by_key.get(key) is pending:
            del self._by_key[key]


def _batches(taken: Sequence[Pending]) -> Iterator[Sequence[Pending]]:
    """Yields requests that may share a batch, in order."""
    shared: list[Pending] = []
    for pending in taken:
        if pending.alone and shared:
            yield shared
            shared = []
        shared.append(pending)
        if pending.alone:
            yield shared
            shared = []
    if shared:
        yield shared


def _fail(pendings: Sequence[Pending], error: Exception) -> None:
    for pending in pendings:
        pending.fail(error)
