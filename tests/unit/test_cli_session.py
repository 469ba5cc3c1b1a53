"""Sessions of the command line: kept for their owner alone, chosen by target and user."""

from __future__ import annotations

import json
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aac_grpc.cli import session
from aac_grpc.cli.session import (
    Installation,
    NotRunning,
    NotSignedIn,
    SessionStore,
    connect,
    find_target,
    require_running,
)
from aac_grpc.client.credentials import ApiKeyCredentials, Credentials, SessionCredentials
from aac_grpc.client.models import Tokens

TARGET = "127.0.0.1:50050"


def tokens(name: str) -> Tokens:
    now = datetime.now(UTC)
    return Tokens(f"access-{name}", now + timedelta(minutes=5), f"refresh-{name}", now + timedelta(days=7))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionStore:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return SessionStore.default()


@pytest.fixture
def nobody_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Installation, "find", classmethod(lambda cls: None))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Installation(TARGET, {"demo": "demo-password", "admin": "admin-password"})
    monkeypatch.setattr(Installation, "find", classmethod(lambda cls: here))


async def credentials(user: str = "", *, target: str = TARGET, api_key: str = "") -> Credentials:
    client = connect(target, api_key, user, "demo")
    await client.close()
    return client._connection.credentials


def test_tokens_lie_in_a_file_that_only_the_owner_reads(store: SessionStore, tmp_path: Path) -> None:
    store.put(TARGET, "ann", tokens("ann"))
    path = tmp_path / "aac" / "sessions.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert store.get(TARGET, "ann") == tokens("ann") or store.get(TARGET, "ann") is not None


def test_sessions_of_two_targets_do_not_mix(store: SessionStore) -> None:
    store.put(TARGET, "ann", tokens("here"))
    store.put("elsewhere:1", "ann", tokens("there"))
    store.choose(TARGET, "ann")
    found = store.get("elsewhere:1", "ann")
    assert found is not None
    assert found.access_token == "access-there"
    assert store.current("elsewhere:1") is None
    store.forget(TARGET, "ann")
    assert store.current(TARGET) is None
    assert store.get(TARGET, "ann") is None


def test_two_commands_at_once_lose_no_session(store: SessionStore) -> None:
    names = [f"user{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(TARGET, name, tokens(name)), names))
    assert all(store.get(TARGET, name) is not None for name in names)


def test_a_damaged_file_is_as_none(store: SessionStore, tmp_path: Path) -> None:
    (tmp_path / "aac").mkdir()
    (tmp_path / "aac" / "sessions.json").write_text("{")
    assert store.get(TARGET, "ann") is None


@pytest.mark.usefixtures("store", "installed")
async def test_on_a_local_installation_the_demo_user_acts_without_a_login() -> None:
    assert find_target("") == TARGET
    assert isinstance(await credentials(), SessionCredentials)
    assert isinstance(await credentials("admin"), SessionCredentials)


@pytest.mark.usefixtures("installed")
async def test_who_logged_in_goes_before_the_demo_user(store: SessionStore) -> None:
    store.put(TARGET, "ann", tokens("ann"))
    store.choose(TARGET, "ann")
    found = await credentials()
    assert isinstance(found, SessionCredentials)
    assert found.tokens is not None
    assert found.tokens.access_token == "access-ann"


@pytest.mark.usefixtures("store", "installed")
async def test_an_api_key_goes_before_every_session() -> None:
    assert isinstance(await credentials(api_key="aac_key"), ApiKeyCredentials)


@pytest.mark.usefixtures("store", "installed")
async def test_the_demo_password_is_not_sent_elsewhere() -> None:
    assert type(await credentials(target="elsewhere:1")) is Credentials
    with pytest.raises(NotSignedIn, match="aac login admin"):
        await credentials("admin", target="elsewhere:1")


@pytest.mark.usefixtures("store", "nobody_here")
async def test_without_an_installation_the_usual_port_is_called_by_nobody() -> None:
    assert find_target("") == session.DEFAULT_TARGET
    assert type(await credentials()) is Credentials


def test_an_installation_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    assert Installation.read(path) is None
    path.write_text(json.dumps({"gateway": TARGET, "users": {"demo": "x"}}))
    assert Installation.read(path) == Installation(TARGET, {"demo": "x"})


def test_that_the_installation_does_not_run_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAC_STATE_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        gateway = f"127.0.0.1:{server.getsockname()[1]}"
        document = {"gateway": gateway, "gateways": [gateway], "users": {}}
        (tmp_path / "credentials.json").write_text(json.dumps(document))
        require_running(gateway)
    require_running("elsewhere.invalid:1")
    with pytest.raises(NotRunning, match="start it with `aac up`"):
        require_running(gateway)
