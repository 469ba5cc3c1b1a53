"""Processes that a dead supervisor left behind: recorded while they run, ended at the next start."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

_POLL_S = 0.05
_LONGEST_GRACE_S = 10.0
_KILL_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Record:
    """A running process, told apart from a later one with the same process id. It leads a session of its own."""

    name: str
    pid: int
    start_ticks: int
    boot_id: str
    stop_signal: int
    grace_s: float


@dataclass(frozen=True, slots=True)
class _Stat:
    session: int
    start_ticks: int


def _stat(pid: int) -> _Stat | None:
    """Reads /proc/PID/stat; None when the process has ended or is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command may hold spaces and parentheses; what follows its last parenthesis begins with field 3, the state.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else _Stat(session=int(fields[3]), start_ticks=int(fields[19]))


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def record(name: str, pid: int, stop_signal: signal.Signals, grace_s: float) -> Record | None:
    """Describes a running process; None when it has ended."""
    stat = _stat(pid)
    return None if stat is None else Record(name, pid, stat.start_ticks, _boot_id(), int(stop_signal), grace_s)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Replaces the record file in one step."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps([asdict(item) for item in records]))
    os.replace(fresh, path)


def read_records(path: Path) -> list[Record]:
    """Reads the record file; empty when there is none or it is damaged."""
    try:
        return [Record(**item) for item in json.loads(path.read_text())]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def end_leftovers(path: Path) -> list[str]:
    """Ends every recorded process that still runs, with its children, and forgets the record. Blocks meanwhile.

    Returns:
        The names of the processes that were ended.
    """
    left = [item for item in read_records(path) if _members(item)]
    leaders = [item for item in left if _leads(item)]
    for item in leaders:
        _signal(item.pid, item.stop_signal)
    _wait(lambda: any(map(_leads, leaders)), max((min(item.grace_s, _LONGEST_GRACE_S) for item in leaders), default=0))
    for item in left:
        for pid in _members(item):
            _signal(pid, signal.SIGKILL)
    _wait(lambda: any(map(_members, left)), _KILL_WAIT_S)
    path.unlink(missing_ok=True)
    return [item.name for item in left]


def _members(item: Record) -> list[int]:
    """The processes of the recorded session: while one of them lives, no other process can get the leader's id."""
    leader = _stat(item.pid)
    if item.boot_id != _boot_id() or (leader is not None and leader.start_ticks != item.start_ticks):
        return []
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [pid for pid in pids if (stat := _stat(pid)) is not None and stat.session == item.pid]


def _leads(item: Record) -> bool:
    return item.pid in _members(item)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait(some_run: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while some_run() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
