"""Sockets of the supervisor's processes, in a directory that only their account can enter."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def short_path(socket: Path) -> Iterator[str]:
    """A path to a socket within the 108 bytes that the kernel allows, however deep its directory lies."""
    descriptor = os.open(socket.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{socket.name}"
    finally:
        os.close(descriptor)
