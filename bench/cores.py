"""Which core does what: servers that are compared have one to themselves, and whoever calls them the other."""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

if sys.platform == "linux":
    _OURS = sorted(os.sched_getaffinity(0))
else:
    _OURS = []

PINNED = len(_OURS) > 1
"""The system lets us choose, and there is a choice. Otherwise processes go where they are put."""
SERVERS: int | None = _OURS[0] if PINNED else None
CALLERS: int | None = _OURS[1] if PINNED else None

OPEN_FILES = 8192


def describe() -> str:
    """In words, for a report."""
    if not PINNED:
        return "not pinned to cores"
    return f"the server alone on core {SERVERS}, its callers and Valkey on core {CALLERS}"


@contextmanager
def starting_on(core: int | None) -> Iterator[None]:
    """Processes that this thread starts within the block stay on this core; None leaves them all."""
    if core is None or not PINNED:
        yield
        return
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, _OURS)


def allow_open_files() -> None:
    """Lets this process, and those that it starts, have a connection for each of some thousand callers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
