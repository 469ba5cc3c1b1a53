"""Becomes another program that does not outlive the supervisor.

Usage: launcher.py PARENT_PID DEATH_SIGNAL UID GID CWD PROGRAM [ARGUMENT...]; UID and GID may be `-`.

Run as a file by a bare interpreter (`-I -S`): a hook between fork and exec would run Python in a forked copy of a
threaded supervisor. The order matters: the kernel forgets the death signal when credentials change.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def _drop_to(uid: str, gid: str) -> None:
    if uid == "-":
        return
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))


def _die_with(parent: int, death_signal: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("the supervisor ended before this process began")


def main(arguments: list[str]) -> None:
    """Drops privileges, ties its life to the parent's, and becomes the program."""
    parent, death_signal, uid, gid, cwd, *argv = arguments
    _drop_to(uid, gid)
    _die_with(int(parent), int(death_signal))
    try:
        os.chdir(cwd)
        os.execv(argv[0], argv)
    except OSError as error:
        sys.exit(f"cannot run {argv[0]} in {cwd}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
