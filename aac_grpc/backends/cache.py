"""The per-user cache: what two checkouts can share, because it can be made again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from aac_grpc.backends.errors import BackendError

ENVIRONMENT_VARIABLE = "AAC_CACHE_DIR"
_RETRY_EVERY_S = 0.1


def cache_directory() -> Path:
    """AAC_CACHE_DIR, else `aac` in XDG_CACHE_HOME, else `~/.cache/aac`; made when it is not there.

    Raises:
        BackendError: It cannot be made.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    directory = Path(named or f"{base}/aac").expanduser().absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(
            f"cannot make the cache directory {directory}: {error.strerror}; "
            f"set {ENVIRONMENT_VARIABLE} to a directory that you can write"
        ) from error
    return directory


@contextlib.contextmanager
def exclusive(path: Path, wait_s: float) -> Iterator[bool]:
    """Holds a lock file against other processes of the machine; blocks the calling thread while it waits.

    Args:
        path: The lock file; made when it is not there.
        wait_s: How long to wait for another holder.

    Yields:
        Whether the lock is held.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield _lock(descriptor, wait_s)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_RETRY_EVERY_S)
