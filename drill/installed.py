"""A running installation of the user's: whether it may be drilled, and how it is left."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psutil

from aac_grpc.backends.control import read_status
from aac_grpc.backends.spec import ProcessState, SupervisorStatus
from aac_grpc.backends.state import StateDirectory
from aac_grpc.platform.composition import SERVICES, Platform
from aac_grpc.platform.starting import platform_of
from drill.faults import BACKENDS
from drill.platform import DrillPlatform


def find_installed(state: StateDirectory) -> Platform:
    """The installation that runs on a state directory.

    Raises:
        RuntimeError: It may not be drilled, or does not run.
    """
    status = read_status(state)
    if status is None:
        raise RuntimeError(f"nothing runs on {state.path}; start it with `aac up --replicas 2`")
    platform = platform_of(state, status)
    if refusal := why_not(platform, status, environment_of(status.pid)):
        raise RuntimeError(refusal)
    return platform


def why_not(platform: Platform, status: SupervisorStatus, environment: Mapping[str, str]) -> str:
    """Why an installation may not be drilled; empty where it may.

    Args:
        platform: What it is made of.
        status: What runs of it.
        environment: Of its supervisor.
    """
    if "production" in (environment.get("ENVIRONMENT"), os.environ.get("ENVIRONMENT")):
        return "this is ENVIRONMENT=production; drill a platform of its own, without --running"
    single = [service for service in SERVICES if len(platform.instances(service)) < 2]
    if single:
        return f"there is one instance of {', '.join(single)}, and nobody to stand in; start it with --replicas 2"
    ready = {one.name for one in status.processes if one.state is ProcessState.READY}
    if away := [name for name in (*(one.name for one in platform.instances()), *BACKENDS) if name not in ready]:
        return f"not ready, or not this installation's own: {', '.join(away)}; `aac status` tells more"
    return ""


def environment_of(pid: int) -> Mapping[str, str]:
    """The environment of a process.

    Raises:
        RuntimeError: It can't be seen.
    """
    try:
        return psutil.Process(pid).environ()
    except psutil.Error as error:
        raise RuntimeError(f"the supervisor's environment can't be seen: {error}") from None


@asynccontextmanager
async def installed_platform(platform: Platform) -> AsyncIterator[DrillPlatform]:
    """A running installation with a venue for the drill, which goes with the block, as the drill's users do."""
    drilled = DrillPlatform(platform)
    await drilled.open_venue()
    try:
        yield drilled
    finally:
        await drilled.leave()
