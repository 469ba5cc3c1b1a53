"""What a server process asks of the operating system before it serves."""

import contextlib
import sys

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
