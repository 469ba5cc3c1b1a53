"""Who guesses passwords at the gateway locks out his own address, of the names that he guesses at, and no user."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aac.auth.v1.auth_pb2 import LoginRequest
from aac.auth.v1.auth_pb2_grpc import AuthServiceStub

from aac_grpc.client.errors import Unauthenticated
from aac_grpc.common.server import Server
from aac_grpc.servicers import gateway
from tests.integration.services import DEMO, Caller, auth_serving, new_installation, serving

IN_ALL = 12
WINDOW_S = 3600


@pytest.fixture(scope="module")
async def installation(backends: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
    async with new_installation(backends) as installation:
        yield installation


@pytest.fixture
async def gateway_server(installation: dict[str, Any]) -> AsyncIterator[Server]:
    settings = {"lockout_tries_in_all": IN_ALL, "lockout_window_s": WINDOW_S}
    async with (
        auth_serving(installation, **settings) as auth,
        serving(gateway.service, installation, auth_address=auth.address, rate_limits={}) as server,
    ):
        yield server


@contextlib.asynccontextmanager
async def caller_from(address: str, server: Server) -> AsyncIterator[Caller]:
    """A caller whose connections to the server come from an address of this machine."""
    host, _, port = server.address.rpartition(":")
    relays: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.TaskGroup() as both:
                there = await asyncio.open_connection(host, int(port), local_addr=(address, 0))
                both.create_task(_copy(reader, there[1]))
                both.create_task(_copy(there[0], writer))
        finally:
            writer.close()  # else a relay that fails leaves its caller waiting for his whole deadline

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relays.add(asyncio.create_task(relay(reader, writer)))

    listening = await asyncio.start_server(begin, "127.0.0.1", 0)
    port_here = listening.sockets[0].getsockname()[1]
    caller = Caller(AuthServiceStub, f"127.0.0.1:{port_here}")
    try:
        yield caller
    finally:
        await caller.channel.close()
        listening.close()
        for task in relays:
            task.cancel()
        await asyncio.gather(*relays, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


async def reason(caller: Caller, username: str, password: str) -> str:
    """Why a sign-in is refused; empty where it is not."""
    try:
        await caller.Login(LoginRequest(username=username, password=password))
    except Unauthenticated as error:
        return error.reason
    return ""


async def test_wrong_guesses_lock_the_guesser_out_and_not_the_user(gateway_server: Server) -> None:
    async with caller_from("127.0.0.2", gateway_server) as guesser, caller_from("127.0.0.3", gateway_server) as user:
        guesses = [await reason(guesser, DEMO[0], f"guess {number}") for number in range(6)]
        assert guesses == ["WRONG_CREDENTIALS"] * 5 + ["LOCKED_OUT"]
        assert await reason(user, *DEMO) == ""
        assert await reason(guesser, *DEMO) == "LOCKED_OUT", "that the user signed in helps nobody else"


async def test_an_address_may_not_guess_at_ever_more_names(gateway_server: Server) -> None:
    async with caller_from("127.0.0.4", gateway_server) as guesser, caller_from("127.0.0.5", gateway_server) as user:
        guesses = [await reason(guesser, f"name {number}", "Password1") for number in range(IN_ALL + 1)]
        assert guesses == ["WRONG_CREDENTIALS"] * IN_ALL + ["LOCKED_OUT"]
        assert await reason(user, *DEMO) == ""


async def test_guesses_at_one_name_from_many_addresses_are_bounded_too(gateway_server: Server) -> None:
    guesses = []
    for number in range(IN_ALL + 1):
        async with caller_from(f"127.0.1.{number + 1}", gateway_server) as guesser:
            guesses.append(await reason(guesser, "wanted", "guess"))
    assert guesses == ["WRONG_CREDENTIALS"] * IN_ALL + ["LOCKED_OUT"]


async def test_signing_in_again_and_again_is_no_guessing(gateway_server: Server) -> None:
    async with caller_from("127.0.0.6", gateway_server) as user:
        assert [await reason(user, *DEMO) for _ in range(IN_ALL + 3)] == [""] * (IN_ALL + 3)
