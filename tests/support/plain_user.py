"""Commands run by an account that is not root, even where the interpreter lies in a home that is closed to it."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from aac_grpc.backends.cache import cache_directory

ACCOUNT = "nobody"

# In mounts of its own: the closed directory becomes an empty one, in which only the interpreter is.
_OPENED = """
set -e
mount --bind "$2" "$3"
mount -t tmpfs -o mode=0755 none "$1"
mkdir -p "$2"
mount --bind "$3" "$2"
shift 3
exec "$@"
"""


def plain_user(folder: Path) -> tuple[list[str], dict[str, str]]:
    """What to put before a command, and its environment, so that a plain user runs it. Where that can't be, it skips.

    Args:
        folder: Of the installation; it becomes the user's.
    """
    if os.geteuid() != 0:
        pytest.skip("the tests run as a plain user already: every test of this module is this test")
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv to become a plain user with")
    entry = pwd.getpwnam(ACCOUNT)
    prefix = [*_opening(folder), "setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    environment = {"HOME": str(folder / "home"), "AAC_CACHE_DIR": str(folder / "cache")}
    try:
        script = "import aac_grpc, os; assert os.geteuid()"
        subprocess.run([*prefix, sys.executable, "-c", script], check=True, capture_output=True, cwd=folder, timeout=60)
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", None) or b"").decode().strip()[-300:]
        pytest.skip(f"a plain user can't run this interpreter on this machine: {said or error}")
    (folder / "home").mkdir()
    # Kafka's jars, so that they need not be fetched again.
    shutil.copytree(cache_directory(), folder / "cache", ignore=shutil.ignore_patterns("lock", "tools"))
    for path in (folder, folder / "home", *(folder / "cache").rglob("*"), folder / "cache"):
        os.chown(path, entry.pw_uid, entry.pw_gid)
    return prefix, environment


def _opening(folder: Path) -> list[str]:
    """A command that lets others reach the interpreter; none where they do already."""
    home = Path(sys.base_prefix).resolve()
    closed = [one for one in reversed(home.parents) if not one.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return []
    if shutil.which("unshare") is None:
        pytest.skip(f"{closed[0]} is closed to other accounts, and there is no unshare to open it with")
    window = folder / "interpreter"
    window.mkdir()
    namespace = ["unshare", "--mount", "--propagation", "private"]
    return [*namespace, "sh", "-c", _OPENED, "sh", str(closed[0]), str(home), str(window)]
