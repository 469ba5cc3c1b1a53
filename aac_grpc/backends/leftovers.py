"""Processes that a dead supervisor left behind: recorded while they run, ended at the next start."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_POLL_S = 0.05
_LONGEST_GRACE_S = 10.0
_KILL_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Record:
    """A running process, told apart from a later one with the same process id."""

    name: str
    pid: int
    start_ticks: int
    boot_id: str
    stop_signal: int
    grace_s: float


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it does not run (or is a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command may hold spaces and parentheses; what follows its last parenthesis begins with field 3, the state.
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """Identifies this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def record(name: str, pid: int, stop_signal: signal.Signals, grace_s: float) -> Record | None:
    """Describes a running process; None when it has ended."""
    ticks = start_ticks(pid)
    return None if ticks is None else Record(name, pid, ticks, boot_id(), int(stop_signal), grace_s)


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
    """Ends every recorded process that still runs and forgets the record. Blocks for as long as that takes.

    Returns:
        The names of the processes that were ended.
    """
    running = [item for item in read_records(path) if _runs(item)]
    for item in running:
        _signal(item, item.stop_signal)
    _wait(running, max((min(item.grace_s, _LONGEST_GRACE_S) for item in running), default=0.0))
    for item in running:
        if _runs(item):
            _signal(item, signal.SIGKILL)
    _wait(running, _KILL_WAIT_S)
    path.unlink(missing_ok=True)
    return [item.name for item in running]


def _runs(item: Record) -> bool:
    return item.boot_id == boot_id() and start_ticks(item.pid) == item.start_ticks


def _signal(item: Record, number: int) -> None:
    try:
        if number == signal.SIGKILL:
            os.killpg(item.pid, number)  # each process leads a group of its own
        else:
            os.kill(item.pid, number)
    except ProcessLookupError:
        pass


def _wait(items: Sequence[Record], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(map(_runs, items)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
