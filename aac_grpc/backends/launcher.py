"""Becomes another program that does not outlive the supervisor.

Usage: launcher.py PARENT_PID DEATH_SIGNAL UID GID NICENESS CWD PROGRAM [ARGUMENT...]; UID and GID may be `-`.

Run as a file by a bare interpreter (`-I -S`): a hook between fork and exec would run Python in a forked copy of a
threaded supervisor. The order matters: the kernel forgets the death signal when credentials change.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def launch_argv(
    argv: Sequence[str],
    *,
    ids: tuple[int, int] | None = None,
    cwd: str = "/",
    death_signal: signal.Signals = signal.SIGKILL,
    niceness: int = 0,
) -> list[str]:
    """The command that becomes a program tied to the life of the calling thread, which must be the main one.

    Args:
        argv: The program, as an absolute path, and its arguments.
        ids: User and group to drop to.
        cwd: Directory to run it in.
        death_signal: What the kernel sends to it when we end.
        niceness: How far its priority stands below ours, from 0 to 19.
    """
    uid, gid = ("-", "-") if ids is None else map(str, ids)
    bare_python = [sys.executable, "-I", "-S", os.path.realpath(__file__)]
    return [*bare_python, str(os.getpid()), str(int(death_signal)), uid, gid, str(niceness), cwd, *argv]


def _drop_to(uid: str, gid: str) -> None:
    if uid == "-":
        return
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))


def die_with(parent: int, death_signal: int) -> None:
    """Has the kernel send this process a signal when its parent's thread ends; ends it now where that has happened."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("the supervisor ended before this process began")


def main(arguments: list[str]) -> None:
    """Drops privileges, ties its life to the parent's, and becomes the program."""
    parent, death_signal, uid, gid, niceness, cwd, *argv = arguments
    os.nice(int(niceness))
    _drop_to(uid, gid)
    die_with(int(parent), int(death_signal))
    try:
        os.chdir(cwd)
        os.execv(argv[0], argv)  # noqa: S606  the point of this program: the command comes from our own code
    except OSError as error:
        sys.exit(f"cannot run {argv[0]} in {cwd}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
