"""The `aac` command against the real platform: what it prints for people and for programs, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gateway_platform import GatewayPlatform, gateway_platform
from tests.integration.services import ADMIN, DEMO

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    output: str
    errors: str

    def json(self) -> Any:
        """Its one document."""
        return json.loads(self.output)


class Person:
    """Somebody at a terminal, with a configuration directory of their own."""

    def __init__(self, target: str, home: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AAC_")}
        self.home = home
        self._environment = {
            **kept,
            "AAC_TARGET": target,
            "AAC_STATE_DIR": str(home / "state"),
            "XDG_CONFIG_HOME": str(home / "config"),
        }

    async def start(self, *arguments: str, given: bytes | None = None) -> asyncio.subprocess.Process:
        """Begins a command."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "aac_grpc.cli",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        assert process.stdin is not None
        process.stdin.write(given or b"")
        process.stdin.close()
        return process

    async def aac(self, *arguments: str, given: bytes | None = None) -> Ended:
        """Runs a command to its end."""
        process = await self.start(*arguments, given=given)
        output, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return Ended(process.returncode, output.decode(), errors.decode())


@pytest.fixture(scope="module")
async def platform(backends: Mapping[str, str]) -> AsyncIterator[GatewayPlatform]:
    async with gateway_platform(backends) as running:
        yield running


@pytest.fixture(scope="module")
async def venue(platform: GatewayPlatform) -> str:
    return await platform.new_venue()


@pytest.fixture(scope="module")
async def demo(platform: GatewayPlatform, tmp_path_factory: pytest.TempPathFactory) -> Person:
    person = Person(platform.gateway.address, tmp_path_factory.mktemp("demo"))
    ended = await person.aac("login", DEMO[0], "--password-stdin", given=f"{DEMO[1]}\n".encode())
    assert ended.code == 0, ended.errors
    assert "Signed in" in ended.output
    return person


async def test_a_session_is_kept_for_its_owner_alone(demo: Person) -> None:
    path = demo.home / "config" / "aac" / "sessions.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert DEMO[1] not in path.read_text()


async def test_a_wrong_password_is_a_sentence(platform: GatewayPlatform, tmp_path: Path) -> None:
    person = Person(platform.gateway.address, tmp_path)
    ended = await person.aac("login", DEMO[0], "--password-stdin", given=b"wrong wrong wrong\n")
    assert ended.code == 1
    assert ended.errors.startswith("✗ ")
    assert "UNAUTHENTICATED WRONG_CREDENTIALS, request id" in ended.errors
    assert "Traceback" not in ended.errors


async def test_orders_from_placing_to_cancelling(demo: Person, venue: str) -> None:
    where = ("--venue", venue, "--json")
    await demo.aac("order", "place", "sell", "10", "GOOG", "--price", "570.20", *where)
    placed = (await demo.aac("order", "place", "buy", "4", "GOOG", "--price", "570.20", "--key", "mine", *where)).json()
    assert (placed["order"]["state"], placed["executions"][0]["price"]) == ("filled", "570.2")
    again = (await demo.aac("order", "place", "buy", "4", "GOOG", "--price", "570.2", "--key", "mine", *where)).json()
    assert again == placed
    (resting,) = (await demo.aac("order", "list", "--state", "open", *where)).json()
    amended = (await demo.aac("order", "amend", resting["order_id"], "--quantity", "2", *where)).json()
    assert (amended["accepted"], amended["order"]["open_quantity"]) == (True, "2")
    shown = (await demo.aac("order", "show", "mine", "--key", *where)).json()
    assert shown["client_order_id"] == "mine"
    canceled = (await demo.aac("order", "cancel", resting["order_id"], *where)).json()
    assert canceled["canceled"] is True


async def test_what_is_printed_for_people_has_the_figures(demo: Person, venue: str) -> None:
    placed = await demo.aac("order", "place", "buy", "3", "GOOG", "--price", "500.5", "--venue", venue)
    assert "open  buy 3 GOOG at 500.5" in placed.output
    for command in (("quote", "GOOG"), ("book", "GOOG", "--once"), ("order", "list"), ("overview",)):
        ended = await demo.aac(*command, "--venue", venue)
        assert ended.code == 0, ended.errors
        assert "500.5" in ended.output, command
    assert "1,501.50 USD" in (await demo.aac("account", "--venue", venue)).output, "three at 500.5 are held"


@pytest.mark.parametrize(
    "command",
    [
        ("instruments",),
        ("quote",),
        ("trades", "GOOG"),
        ("candles", "GOOG"),
        ("book", "GOOG", "--once"),
        ("order", "list"),
        ("account",),
        ("positions",),
        ("executions",),
        ("overview",),
    ],
    ids=" ".join,
)
async def test_every_reading_command_prints_one_json_document(
    demo: Person, venue: str, command: tuple[str, ...]
) -> None:
    ended = await demo.aac(*command, "--venue", venue, "--json")
    assert ended.code == 0, ended.errors
    assert ended.output.count("\n") == 1
    ended.json()


async def test_an_off_tick_price_names_the_field(demo: Person, venue: str) -> None:
    ended = await demo.aac("order", "place", "buy", "1", "GOOG", "--price", "1.001", "--venue", venue)
    assert ended.code == 1
    assert "price: 1.001 is not a multiple of the tick size 0.01" in ended.errors
    error = json.loads((await demo.aac("order", "show", "nope", "--venue", venue, "--json")).errors)["error"]
    assert (error["code"], error["reason"]) == ("NOT_FOUND", "NOT_FOUND")


async def test_a_stream_is_json_lines_until_it_is_interrupted(demo: Person, venue: str) -> None:
    watching = await demo.start("watch", "GOOG", "--json", "--venue", venue)
    assert watching.stdout is not None
    await demo.aac("order", "place", "buy", "1", "GOOG", "--price", "400", "--venue", venue)
    line = json.loads(await asyncio.wait_for(watching.stdout.readline(), 30))
    assert line["type"] in {"QuoteUpdate", "TradesUpdate"}
    watching.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(watching.communicate(), 15)
    assert watching.returncode == 130
    assert b"Traceback" not in errors


async def test_domain_events_are_for_operators(platform: GatewayPlatform, demo: Person, tmp_path: Path) -> None:
    assert "events:read" in (await demo.aac("events", "tail")).errors
    admin = Person(platform.gateway.address, tmp_path)
    await admin.aac("login", ADMIN[0], "--password-stdin", given=f"{ADMIN[1]}\n".encode())
    tailing = await admin.start("events", "tail", "--from-beginning", "--json")
    assert tailing.stdout is not None
    event = json.loads(await asyncio.wait_for(tailing.stdout.readline(), 30))
    assert event["event_id"]
    tailing.send_signal(signal.SIGINT)
    await asyncio.wait_for(tailing.communicate(), 15)


async def test_an_api_key_is_made_used_and_revoked(demo: Person, venue: str) -> None:
    created = (
        await demo.aac("api-key", "create", "script", "--scope", "market:read", "--expires", "1h", "--json")
    ).json()
    key_id, secret = created["api_key"]["key_id"], created["secret"]
    assert (await demo.aac("quote", "GOOG", "--api-key", secret, "--venue", venue)).code == 0
    refused = await demo.aac("order", "list", "--api-key", secret, "--venue", venue)
    assert "MISSING_SCOPE" in refused.errors
    assert secret not in (await demo.aac("api-key", "list")).output
    revoked = (await demo.aac("api-key", "revoke", key_id, "--json")).json()
    assert revoked["revoked_at"]


async def test_a_token_is_for_other_tools_and_a_logout_ends_the_session(
    platform: GatewayPlatform, venue: str, tmp_path: Path
) -> None:
    person = Person(platform.gateway.address, tmp_path)
    await person.aac("login", DEMO[0], "--password-stdin", given=f"{DEMO[1]}\n".encode())
    bearer = (await person.aac("token")).output.strip()
    async with platform.client(token=bearer) as client:
        assert (await client.account(venue=venue)).account_id == "demo"
    assert (await person.aac("logout")).code == 0
    assert "UNAUTHENTICATED" in (await person.aac("account", "--venue", venue)).errors
