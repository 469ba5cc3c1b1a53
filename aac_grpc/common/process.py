"""What a server process asks of the operating system before it serves."""

import contextlib
import os
import sys
from collections.abc import Iterator

OPEN_FILES = 65_536


def allow_open_files() -> None:
    """Raises the limit of open files as far as the system lets it: most begin at 1,024, and a connection takes one."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def background_threads() -> Iterator[None]:
    """Threads that begin within the block, and those that they begin, do not interrupt the event loop by waking up.

    gRPC's threads wake several times for each call, most for microseconds. Where the loop is busy and no other core is
    free, each would take its place at once, and the loop would come back to one event instead of many.
    """
    if not hasattr(os, "SCHED_BATCH") or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    # A thread inherits the policy of the one that begins it; this one gets its own back.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
