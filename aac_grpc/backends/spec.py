"""What a supervised process is, and what is known of one that runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

Progress = Callable[[str, float | None], None]
"""Called with a step in words and the share done, from 0 to 1, or None where it is not known."""

ReadyCheck = Callable[[], Awaitable[bool]]
"""True once the process serves its protocol. May raise: that counts as not ready, and is told at the deadline."""


def no_progress(step: str, fraction: float | None) -> None:
    """Ignores progress."""


@dataclass(frozen=True, slots=True)
class User:
    """The account that a process runs under."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process that the supervisor starts, watches and stops."""

    name: str
    argv: tuple[str, ...]
    """The program, as an absolute path, and its arguments."""
    log_path: Path
    """Takes standard output and error; its size is capped."""
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """The whole environment; by default the supervisor's own."""
    cwd: Path = Path("/")
    user: User | None = None
    """The account to drop to; None keeps the supervisor's."""
    ready: ReadyCheck | None = None
    """None: ready as soon as it runs."""
    ready_deadline_s: float = 30.0
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 15.0
    """How long the process may take to end after `stop_signal` before it is killed."""
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends to the process when the supervisor dies without stopping it."""
    niceness: int = 0
    """How far its priority stands below the supervisor's, from 0 to 19."""
    fork_server: Path | None = None
    """Socket of a fork server that has imported what the program, `python -m MODULE`, needs: it is forked there. Where
    nobody answers, and always where this is None, the program is started afresh."""
    depends_on: tuple[str, ...] = ()
    """Processes that stop only after this one."""
    waits_for: tuple[str, ...] | None = None
    """Of those, the ones that must be ready before this one starts; None: all of them."""


class ProcessState(StrEnum):
    """Where a supervised process stands."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """What is known of one supervised process."""

    name: str
    state: ProcessState
    pid: int | None
    restarts: int
    last_exit: str | None
    """How it last ended, in words, as in `exit code 1` or `killed by SIGKILL`; where that was wanted, by whom."""
    started_at: float | None
    """Seconds since the Unix epoch."""
    log_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorStatus:
    """What a supervisor tells about itself."""

    pid: int
    started_at: float
    """Seconds since the Unix epoch."""
    state_dir: str
    info: Mapping[str, str]
    """What the owner published: addresses, URLs without secrets, and the like."""
    processes: tuple[ProcessStatus, ...]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SupervisorStatus:
        """Reads what `dataclasses.asdict` and JSON made of a status."""
        processes = (
            ProcessStatus(**{**process, "state": ProcessState(process["state"])}) for process in document["processes"]
        )
        return cls(**{**document, "processes": tuple(processes)})
