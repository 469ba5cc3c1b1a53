"""The state directory: secrets, ownership, lock and ports of one installation."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from aac_grpc.backends.errors import BackendError, PortTaken, StateError, StateLocked
from aac_grpc.backends.ports import DEFAULT_PORTS, MAX_OFFSET, is_free, port_of, require_free, suggested_offset
from aac_grpc.backends.privileges import can_reach
from aac_grpc.backends.spec import User
from aac_grpc.backends.state import StateDirectory
from aac_grpc.common.ports import ADMIN_PORTS, GRPC_PORTS, MAX_REPLICAS

STRANGER = User("stranger", 54321, 54321)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    state = StateDirectory(tmp_path / "state", shared_root=tmp_path / "shared")
    state.create()
    return state


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_made_once_and_only_its_owner_can_read_it(state: StateDirectory) -> None:
    secret = state.secret("valkey_password")
    assert len(secret) >= 32
    assert StateDirectory(state.path).secret("valkey_password") == secret
    assert state.secret("another") != secret
    assert mode(state.path / "secrets.json") == 0o600


def test_secrets_made_at_the_same_time_are_all_kept(state: StateDirectory) -> None:
    names = [f"secret-{number}" for number in range(8)]
    threads = [threading.Thread(target=StateDirectory(state.path).secret, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(f'"{name}"' in (state.path / "secrets.json").read_text() for name in names)


def test_what_is_private_is_closed_and_git_does_not_see_the_state(state: StateDirectory) -> None:
    assert [mode(path) for path in (state.run, state.logs, state.private("kafka"))] == [0o700] * 3
    assert mode(state.path) == 0o755
    assert (state.path / ".gitignore").read_text() == "*\n"


def test_the_environment_names_the_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AAC_HOME", str(tmp_path / "home"))
    assert StateDirectory.default().path == tmp_path / "home" / ".aac"
    monkeypatch.setenv("AAC_STATE_DIR", str(tmp_path / "named"))
    assert StateDirectory.default().path == tmp_path / "named"


def test_a_directory_that_cannot_be_made_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="AAC_STATE_DIR"):
        StateDirectory(tmp_path / "file" / "state").create()


def test_the_directory_of_another_account_is_refused(state: StateDirectory) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(state.path, STRANGER.uid, STRANGER.gid)
    with pytest.raises(StateError, match=f"belongs to the account with id {STRANGER.uid}"):
        state.create()


def test_the_lock_is_held_by_one_and_names_the_holder(state: StateDirectory) -> None:
    assert state.holder() is None
    with state.lock():
        assert state.holder() == os.getpid()
        with pytest.raises(StateLocked, match=f"process id {os.getpid()}"), state.lock():
            pass
    assert state.holder() is None


def test_data_of_another_account_lies_where_that_account_reaches_it(state: StateDirectory, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes data for another account")
    # pytest's own directories are closed, as a home may be.
    tmp_path.chmod(0o700)
    found = state.reachable("postgres", STRANGER)
    assert found.is_relative_to(tmp_path / "shared")
    assert (state.path / "postgres").resolve() == found
    assert (found.stat().st_uid, mode(found)) == (STRANGER.uid, 0o700)
    assert state.reachable("postgres", STRANGER) == found


def test_an_account_reaches_what_all_may_enter(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert not can_reach(tmp_path / "data", STRANGER)
    assert can_reach(Path("/usr/share"), STRANGER)
    assert can_reach(tmp_path / "data", None)


def test_ports_move_together_and_never_meet() -> None:
    for offset in (0, 100, 2500, MAX_OFFSET):
        ports = [port_of(name, offset) for name in DEFAULT_PORTS]
        assert len(set(ports)) == len(ports)
        assert max(ports) < 65536
    with pytest.raises(BackendError, match="out of range"):
        port_of("kafka", MAX_OFFSET + 1)


def test_the_offset_that_is_advised_keeps_every_port_free_and_away_from_outgoing_connections() -> None:
    offset = suggested_offset()
    assert offset is not None
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    for replica in range(1, MAX_REPLICAS + 1):
        ports = [port_of(name, offset, replica) for name in (*GRPC_PORTS, *(f"{name}-admin" for name in ADMIN_PORTS))]
        assert all(is_free(port) for port in ports)
        assert not [port for port in ports if low <= port <= high] or (low, high) != (32_768, 60_999)
    taken = port_of("valkey", offset)
    with socket.create_server(("127.0.0.1", taken)):
        assert suggested_offset() != offset


def test_every_held_port_is_named_with_the_process_that_holds_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        held = {"gateway": first.getsockname()[1], "engine": second.getsockname()[1]}
        with pytest.raises(PortTaken) as refusal:
            require_free(held)
    for name, port in held.items():
        assert f"port {port} ({name}) is held by process {os.getpid()}" in str(refusal.value)
    assert "--port-offset" in str(refusal.value)


def test_a_port_that_was_just_closed_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()  # leaves the port in TIME_WAIT
    require_free({"engine": port})
