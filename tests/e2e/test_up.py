"""`aac up` and `aac down`: data stay, nothing else does; two live side by side; given backends are used as they are."""

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Mapping
from decimal import Decimal

import psutil
import psycopg
import pytest
from grpc import aio

from aac_grpc.backends.forked import FORK_SERVER
from aac_grpc.backends.ports import DEFAULT_PORTS, is_free
from aac_grpc.client.errors import Unauthenticated
from tests.support.installation import SERVICES, Installation, lives, new_installation
from tests.support.markets import new_traders
from tests.support.plain_user import plain_user
from tests.support.stream_log import until
from tests.support.telling import tell

BACKENDS = ("postgres", "valkey", "kafka")
GONE_WITHIN_S = 20.0

pytestmark = pytest.mark.timeout(400)


async def processes_of(installation: Installation) -> dict[str, str]:
    """States by name, as `aac status --json` tells."""
    status = await installation.status()
    assert status["running"]
    return {one["name"]: one["state"] for one in status["status"]["processes"]}


async def trades(installation: Installation) -> None:
    """The demo user can log in, and has cash and what the market has."""
    async with installation.client("demo") as demo:
        assert (await demo.account()).cash.amount == Decimal(1_000_000)
        assert [one async for one in demo.list_instruments()] == []


async def test_a_second_up_finds_its_data_and_down_leaves_no_process(pytestconfig: pytest.Config) -> None:
    async with new_installation() as installation:
        first = await installation.up("--no-flow")
        names = {*BACKENDS, FORK_SERVER, *SERVICES}
        assert await processes_of(installation) == dict.fromkeys(names, "ready")
        (trader,) = await new_traders(installation, 1, "main", cash="123.45")
        passwords = dict(installation.passwords)
        running = await asyncio.to_thread(installation.processes)
        assert len(running) > len(names)

        stopped = await installation.down()
        assert stopped.code == 0, stopped.errors
        await nothing_is_left(installation, running)
        assert all(is_free(port + installation.port_offset) for port in DEFAULT_PORTS.values())
        outcome = await installation.aac("status", "--json")
        assert (outcome.code, json.loads(outcome.output)["running"]) == (1, False)
        async with aio.insecure_channel(installation.gateway) as channel:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(channel.channel_ready(), 1.0)

        second = await installation.up("--no-flow")
        tell(pytestconfig, f"aac up: ready in {first:.1f} s at first, in {second:.1f} s with its data")
        assert json.loads((installation.state / "credentials.json").read_text())["users"] == passwords
        async with installation.client(trader.username, trader.password) as client:
            assert (await client.account(venue="main")).cash.amount == Decimal("123.45")

        await nothing_survives_the_supervisor(installation)


async def nothing_survives_the_supervisor(installation: Installation) -> None:
    """kill -9 of the supervisor ends everything that it started."""
    running = await asyncio.to_thread(installation.processes)
    os.kill((await installation.status())["status"]["pid"], signal.SIGKILL)
    await nothing_is_left(installation, running)


async def nothing_is_left(installation: Installation, before: list[psutil.Process]) -> None:
    """None of the processes lives, nor any other one of the installation."""
    assert await until(lambda: not any(map(lives, before)), GONE_WITHIN_S), list(filter(lives, before))
    assert await asyncio.to_thread(installation.processes) == []


async def test_two_live_side_by_side_and_ctrl_c_ends_one_of_them(platform: Installation) -> None:
    async with new_installation() as other:
        up = asyncio.create_task(other.aac("up", "--no-flow", "--port-offset", str(other.port_offset), timeout_s=300))
        assert await until(lambda: (other.state / "credentials.json").exists() or up.done(), 120)
        async with asyncio.timeout(120):
            while not await is_ready(other):  # noqa: ASYNC110 another process becomes ready
                await asyncio.sleep(0.2)
        (stranger,) = await new_traders(platform, 1)
        async with other.client(stranger.username, stranger.password) as client:
            with pytest.raises(Unauthenticated):
                await client.account()
        await trades(other)
        await trades(platform)

        running = await asyncio.to_thread(other.processes)
        os.kill((await other.status())["status"]["pid"], signal.SIGINT)
        outcome = await up
        assert outcome.code == 0, outcome.errors
        assert "Ctrl-C" in outcome.output
        await nothing_is_left(other, running)
        await trades(platform)


async def is_ready(installation: Installation) -> bool:
    outcome = await installation.aac("status", "--json")
    document = json.loads(outcome.output or '{"running": false}')
    return bool(document["running"]) and "ready_after_s" in document["status"]["info"]


async def test_with_urls_given_nothing_embedded_starts(backends: Mapping[str, str]) -> None:
    name = f"given_{secrets.token_hex(4)}"
    url = backends["DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f'create database "{name}"'.encode())
    given = {**backends, "DATABASE_URL": f"{url.rpartition('/')[0]}/{name}"}
    async with new_installation(environment=given) as installation:
        await installation.up("--no-flow")
        assert await processes_of(installation) == dict.fromkeys((FORK_SERVER, *SERVICES), "ready")
        await trades(installation)
        running = await asyncio.to_thread(installation.processes)
        assert (await installation.down()).code == 0
        await nothing_is_left(installation, running)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        # They still serve: they are not ours to stop.
        await connection.execute(f'drop database "{name}"'.encode())


async def test_a_plain_user_can_run_it() -> None:
    async with new_installation() as installation:
        prefix, environment = await asyncio.to_thread(plain_user, installation.folder)
        installation.run_by(prefix, environment)
        await installation.up("--no-flow")
        assert await processes_of(installation) == dict.fromkeys((*BACKENDS, FORK_SERVER, *SERVICES), "ready")
        running = await asyncio.to_thread(installation.processes)
        owners = {process.uids().effective for process in running}
        assert 0 not in owners
        assert len(owners) == 1
        await trades(installation)
        assert (await installation.down()).code == 0
        await nothing_is_left(installation, running)
