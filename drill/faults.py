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
from aac_grpc.platform.composition import SERVICES, TRADING
from drill.platform import DrillPlatform

FREEZE_S = 10.0
BACKENDS = ("valkey", "kafka", "postgres")
KINDS = ("kill", "freeze", "roll")
READY_WITHIN_S = 90.0
_RECOVERY_S = {"kafka": 10.0}
"""From when it is back until everything works, where that is not the usual time: Kafka's JVM is slow to start."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break one part."""

    kind: str
    """kill: SIGKILL; freeze: SIGSTOP for ten seconds; roll: one instance after the other is restarted gracefully."""
    part: str
    """A service or a backend."""

    def __str__(self) -> str:
        return f"{self.kind} {self.part}"

    @property
    def recovery_s(self) -> float:
        """Wanted: seconds from when the part is back until every kind of call and stream goes on."""
        return _RECOVERY_S.get(self.part, 5.0)

    def may_fail_calls(self, replicas: int) -> bool:
        """Nobody serves in the part's place meanwhile; else no idempotent call may fail."""
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
        leader = psutil.Process(platform.process(await self._victim(platform)).pid)
        frozen = [leader, *leader.children(recursive=True)]
        try:
            for process in frozen:
                process.suspend()
            await asyncio.sleep(FREEZE_S)
        finally:
            for process in frozen:
                process.resume()

    async def _roll(self, platform: DrillPlatform) -> None:
        await platform.command("restart", self.part)


def all_faults(kinds: Sequence[str] = KINDS, parts: Sequence[str] = (*SERVICES, *BACKENDS)) -> list[Fault]:
    """Every kind of fault of every part."""
    return [Fault(kind, part) for part in parts for kind in kinds]
