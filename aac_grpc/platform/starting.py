"""Starting an installation: backends, their corners, services, and what is done once they run."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from aac_grpc.backends.embedded import ALL, BACKENDS, EmbeddedBackends
from aac_grpc.backends.errors import ProcessFailed
from aac_grpc.backends.forked import can_fork
from aac_grpc.backends.ports import held, require_free
from aac_grpc.backends.spec import Progress, SupervisorStatus
from aac_grpc.backends.state import StateDirectory
from aac_grpc.backends.supervisor import Supervisor
from aac_grpc.client.errors import AacError
from aac_grpc.platform.composition import ADMIN, DEMO, GATEWAY, SERVICES, WITH_SCHEMA, Platform, workers_of
from aac_grpc.platform.databases import make_corners
from aac_grpc.platform.flow import Flow
from aac_grpc.platform.replicas import parse_replicas


def embedded_variables() -> tuple[str, ...]:
    """The URLs that nobody gave: those backends are embedded."""
    return tuple(variable for variable in ALL if not os.environ.get(variable))


async def start(
    stack: AsyncExitStack,
    supervisor: Supervisor,
    state: StateDirectory,
    port_offset: int,
    flow: Flow | None,
    replicas: Mapping[str, int],
    progress: Progress,
) -> Platform:
    """Starts everything, and returns when all services are ready. What was started ends with the supervisor.

    Args:
        stack: Ends what is held while the platform runs.
        supervisor: Runs the processes.
        state: The installation.
        port_offset: Added to every port.
        flow: What puts orders into the venue; None for nothing.
        replicas: How many instances of each service.
        progress: Told which step is being done.

    Raises:
        BackendError: A port is taken, a backend can't be made ready, or a process did not start.
        StopRequested: The supervisor was asked to stop meanwhile.
    """
    wanted = embedded_variables()
    # Told before anything is started: a taken port is the commonest fault.
    planned = Platform(state, port_offset, {}, {}, tuple(BACKENDS[variable] for variable in wanted), flow, replicas)
    await asyncio.to_thread(require_free, planned.ports)
    stack.enter_context(held(planned.ports.values()))
    embedded = EmbeddedBackends(state, port_offset, variables=wanted, supervisor=supervisor, progress=progress)
    async with _fork_server_beside(supervisor, planned):
        await stack.enter_async_context(embedded)
    urls = {variable: os.environ[variable] for variable in ALL if variable not in wanted} | dict(embedded.urls)
    corners = {}
    if "DATABASE_URL" in wanted:
        corners = dict(await make_corners(urls["DATABASE_URL"], WITH_SCHEMA, state.secret))
    platform = Platform(state, port_offset, urls, corners, planned.backends, flow, replicas)
    await asyncio.to_thread(_forget_endpoints, platform)
    await asyncio.to_thread(_write_credentials, platform)
    await supervisor.start(platform.processes())
    return platform


@asynccontextmanager
async def _fork_server_beside(supervisor: Supervisor, platform: Platform) -> AsyncIterator[None]:
    """Starts the fork server during the block, and has it ready, or failed, at the end of it."""
    if not can_fork():
        yield
        return
    starting = asyncio.create_task(supervisor.start([platform.fork_server()]))
    try:
        yield
        with suppress(ProcessFailed):  # the status and its log tell why; services start without it
            await starting
    finally:
        starting.cancel()
        await asyncio.wait({starting})


async def prepare(supervisor: Supervisor, platform: Platform, progress: Progress) -> str | None:
    """Opens the demo account and waits for the flow's first orders.

    Returns:
        A symbol to try things with; None where there is none (yet).

    Raises:
        StopRequested: The supervisor was asked to stop meanwhile.
    """
    from aac_grpc.platform.bootstrap import Bootstrap

    bootstrap = Bootstrap(platform)
    try:
        try:
            await supervisor.unless_stopped(bootstrap.open_demo_account())
            progress("the demo account has cash", 1.0)
        except AacError as error:
            progress(f"the demo account could not be opened: {error.message}", 1.0)
        if platform.flow is None:
            return None
        progress("wait for the first orders of the flow", None)
        return await supervisor.unless_stopped(bootstrap.first_instrument(platform.flow.symbols))
    finally:
        await bootstrap.close()


def describe(platform: Platform, symbol: str | None) -> dict[str, str]:
    """Where things are, for people and for `aac status`; no secrets."""
    return {
        "gateway": platform.address(GATEWAY),
        "port_offset": str(platform.port_offset),
        "flow": platform.flow.title if platform.flow is not None else "none",
        "symbol": symbol or "",
        **{variable: _without_password(url) for variable, url in platform.urls.items()},
        "gateways": platform.addresses(GATEWAY),
        "workers": ",".join(
            f"{one.name}={workers}" for one in platform.instances() if (workers := workers_of(one.service)) > 1
        ),
        "replicas": ",".join(f"{service}={len(platform.instances(service))}" for service in SERVICES),
        **{
            f"admin {one.name}": f"http://{platform.admin_address(one.service, one.number)}"
            for one in platform.instances()
        },
        "logs": str(platform.state.logs),
        "credentials": str(credentials_path(platform.state)),
    }


def platform_of(state: StateDirectory, status: SupervisorStatus) -> Platform:
    """What a running installation is made of, as far as `describe` has told: where its services are, and secrets."""
    offset = int(status.info.get("port_offset", "0"))
    replicas = parse_replicas(filter(None, status.info.get("replicas", "").split(",")))
    return Platform(state, offset, urls={}, database_urls={}, backends=(), flow=None, replicas=replicas)


def credentials_path(state: StateDirectory) -> Path:
    """The file with the passwords of the users that were made at the first start."""
    return state.path / "credentials.json"


def _forget_endpoints(platform: Platform) -> None:
    """Drops what the processes of the last `up` knew: this one may have other ports, and other numbers of instances."""
    for path in platform.endpoints.iterdir():
        path.unlink()


def _write_credentials(platform: Platform) -> None:
    document = {
        "gateway": platform.address(GATEWAY),
        "gateways": platform.addresses(GATEWAY).split(","),
        "users": {name: platform.password(name) for name in (DEMO, ADMIN)},
    }
    path = credentials_path(platform.state)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(json.dumps(document, indent=2) + "\n")
    fresh.replace(path)


def _without_password(url: str) -> str:
    """A URL for people: PostgreSQL's and Redis's without the password."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}{at}{host}"
