"""Which account a backend runs under, and what that account can reach."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from aac_grpc.backends.errors import BackendError
from aac_grpc.backends.spec import User

_UNPRIVILEGED = "nobody"


def unprivileged_user() -> User | None:
    """The account that a program which refuses to run as root drops to; None when we are not root.

    Raises:
        BackendError: We are root and the machine has no such account.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise BackendError(
            f"PostgreSQL refuses to run as root and there is no account `{_UNPRIVILEGED}` to drop to; "
            f"run as a plain user, or add the account with `useradd --system {_UNPRIVILEGED}`"
        ) from None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid)


def can_reach(path: Path, user: User | None) -> bool:
    """Whether the account may enter every directory on the way to the path; those that do not exist yet count as open.

    Access control lists are not looked at: what only they permit counts as closed.
    """
    if user is None or user.uid == 0:
        return True
    resolved = path.resolve()
    return all(_may_enter(directory, user) for directory in (*reversed(resolved.parents), resolved))


def _may_enter(path: Path, user: User) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return True
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == user.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
