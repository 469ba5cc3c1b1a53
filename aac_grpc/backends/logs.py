"""Logs of supervised processes: written by the processes themselves, kept below a size by the supervisor."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
"""A log that has grown past this is moved aside, over the one moved aside before: at most about twice this is kept."""


def open_log(path: Path) -> int:
    """Opens a log for a child process and returns the file descriptor.

    Append mode is what lets `cap_log` shorten the file under a process that writes to it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def cap_log(path: Path, max_bytes: int = MAX_BYTES) -> bool:
    """Moves the content of a log to `<name>.1` once it has passed the size; True when it did.

    Lines written between the copy and the cut are lost: the price of a process that never waits for its log.
    """
    try:
        if path.stat().st_size <= max_bytes:
            return False
    except FileNotFoundError:
        return False
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)
    return True


def tail(path: Path, lines: int = 12, since: int = 0) -> str:
    """The last lines of a log, from a byte on; empty when there is none."""
    try:
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(since, log.tell() - 200 * lines))
            text = log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
