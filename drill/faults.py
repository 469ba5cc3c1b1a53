"""What a drill does to a platform."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import psutil

from aac_grpc.backends.spec import ProcessState
from aac_grpc.platform.composition import REGISTRY, SERVICES, TRADING
from drill.platform import DrillPlatform

FREEZE_S = 10.0
BACKENDS = ("valkey", "kafka", "postgres")
KINDS = ("kill", "freeze", "roll")
LOSE = "lose"
"""Not of every part: without most of them nothing goes on."""
FREEZING = ("freeze", LOSE)
READY_WITHIN_S = 90.0
_RECOVERY_S = {"kafka": 10.0}
"""From when it is back until everything works, where that is not the usual time: Kafka's JVM is slow to start."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break one part."""

    kind: str
    """kill: SIGKILL; freeze: SIGSTOP; lose: SIGSTOP of all instances; roll: each in turn is restarted gracefully."""
    part: str
    """A service or a backend."""
    frozen_s: float = FREEZE_S
    """How long a process that gets SIGSTOP stands still."""

    def __str__(self) -> str:
        return f"{self.kind} {self.part}"

    @property
    def recovery_s(self) -> float:
        """Wanted: seconds from when the part is back until every kind of call and stream goes on."""
        return _RECOVERY_S.get(self.part, 5.0)

    def may_fail_calls(self, replicas: int) -> bool:
        """Nobody serves in the part's place meanwhile, though calls need it; else no idempotent call may fail."""
        if self.kind == LOSE:
            return self.part != REGISTRY
        return replicas < 2 or self.part not in SERVICES

    async def happen(self, platform: DrillPlatform) -> float:
        """Breaks the part and mends it; returns when it was back, of `time.monotonic`."""
        act: Callable[[DrillPlatform], Awaitable[None]] = getattr(self, f"_{self.kind}")
        await act(platform)
        return time.monotonic()

    async def _victim(self, platform: DrillPlatform) -> str:
        """The process that is hit: of a replicated service the first one, of the engine the one that writes."""
        return await platform.writer() if self.part == TRADING else self.part

    async def _kill(self, platform: DrillPlatform) -> None:
        name = await self._victim(platform)
        before = platform.process(name)
        assert before.pid is not None
        os.kill(before.pid, signal.SIGKILL)
        async with asyncio.timeout(READY_WITHIN_S):
            while True:
                await asyncio.sleep(0.05)
                now = await asyncio.to_thread(platform.process, name)
                if now.state is ProcessState.READY and now.pid not in (None, before.pid):
                    return

    async def _freeze(self, platform: DrillPlatform) -> None:
        await self._stop([await self._victim(platform)], platform)

    async def _lose(self, platform: DrillPlatform) -> None:
        await self._stop(platform.names(self.part), platform)

    async def _stop(self, names: Sequence[str], platform: DrillPlatform) -> None:
        leaders = [psutil.Process(platform.process(name).pid) for name in names]
        frozen = [one for leader in leaders for one in (leader, *leader.children(recursive=True))]
        try:
            for process in frozen:
                process.suspend()
            await asyncio.sleep(self.frozen_s)
        finally:
            for process in frozen:
                process.resume()

    async def _roll(self, platform: DrillPlatform) -> None:
        await platform.command("restart", self.part)


def all_faults(
    kinds: Sequence[str] = KINDS, parts: Sequence[str] = (*SERVICES, *BACKENDS), frozen_s: float = FREEZE_S
) -> list[Fault]:
    """Every kind of fault of every part."""
    return [Fault(kind, part, frozen_s) for part in parts for kind in kinds]
