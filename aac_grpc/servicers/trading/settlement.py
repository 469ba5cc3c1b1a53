"""Commits of a venue's batches, and what follows when one fails: never guess, look it up."""

import asyncio
from collections.abc import Callable

import structlog

from aac_grpc.client.errors import AacError, DependencyUnavailable, Internal, UnknownOutcome
from aac_grpc.common.database import CommitUnknown
from aac_grpc.servicers.trading.batch import Batch
from aac_grpc.servicers.trading.journal import Journal, Outcome
from aac_grpc.servicers.trading.leases import LeaseLost
from aac_grpc.servicers.trading.memory import Memory

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0

_log = structlog.get_logger(__name__)


class Settlement:
    """Commits batches; after a failure the venue's memory is doubted until it was built anew."""

    def __init__(self, memory: Memory, journal: Journal, patience_s: float) -> None:
        """Configures.

        Args:
            memory: The writer's.
            journal: Where batches go.
            patience_s: How long callers wait to learn what became of a broken commit.
        """
        self._memory = memory
        self._journal = journal
        self._patience_s = patience_s

    async def commit(self, batch: Batch, tell: Callable[[Exception], None]) -> bool:
        """Commits a batch; returns whether it is committed. Otherwise memory has been built anew.

        Args:
            batch: Carried out in memory.
            tell: Called with the error for its callers, where it is not committed or that is not known yet.

        Raises:
            LeaseLost: Another instance writes the venue.
        """
        try:
            await self._journal.commit(batch)
        except LeaseLost:
            raise
        except CommitUnknown:
            _log.warning("commit broken", venue=batch.live.name, batch=batch.number)
            self._memory.doubt()
            if await self._look_up(batch, tell):
                self._memory.believe()
                return True
        except AacError as error:
            _log.warning("commit failed", venue=batch.live.name, batch=batch.number, error=str(error))
            self._memory.doubt()
            tell(error)
        except Exception:
            _log.exception("commit refused", venue=batch.live.name, batch=batch.number)
            self._memory.doubt()
            tell(Internal())
        else:
            return True
        await self.start_over()
        return False

    async def _look_up(self, batch: Batch, tell: Callable[[Exception], None]) -> bool:
        """Waits until it is known whether a batch was committed.

        Raises:
            LeaseLost: It was not, and another instance writes the venue.
        """
        clock = asyncio.get_running_loop()
        deadline, pause, told = clock.time() + self._patience_s, _FIRST_PAUSE_S, False
        while True:
            try:
                outcome = await self._journal.outcome(batch, self._patience_s)
            except AacError:
                if not told and clock.time() >= deadline:
                    tell(UnknownOutcome())
                    told = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                continue
            _log.warning("commit looked up", venue=batch.live.name, batch=batch.number, outcome=outcome.value)
            if outcome is Outcome.COMMITTED:
                return True
            tell(DependencyUnavailable("postgresql"))
            if outcome is Outcome.LOST:
                raise LeaseLost(batch.live.name)
            return False

    async def start_over(self) -> None:
        """Builds memory anew from what is committed; tries until that works."""
        self._memory.doubt()
        pause = _FIRST_PAUSE_S
        while True:
            try:
                await self._memory.rebuild()
            except AacError as error:
                _log.warning("recovery waits", venue=self._memory.live.name, error=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                return
