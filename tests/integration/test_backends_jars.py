"""Jars come from a Maven repository and are what the lock file names, or they do not come at all."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aac_grpc.backends.errors import BackendError
from aac_grpc.backends.kafka_jars import ROOTS, JarMismatch, LockedJar, ensure_jars, read_lock
from aac_grpc.backends.spec import no_progress

CONTENT = b"the one that was locked"
JAR = LockedJar("test.aac", "thing", "1.0", hashlib.sha256(CONTENT).hexdigest())
PATH = "test/aac/thing/1.0/thing-1.0.jar"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Maven repository on the loopback interface, which the user's configuration of jgo names."""
    root = tmp_path / "repository"
    (root / PATH).parent.mkdir(parents=True)
    (root / PATH).write_bytes(CONTENT)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    configuration = tmp_path / "jgo.conf"
    configuration.write_text(f"[repositories]\nours = http://127.0.0.1:{server.server_port}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(configuration))
    yield root
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(cache: Path) -> list[Path]:
    return ensure_jars([JAR], cache, no_progress, threading.Event())


def test_a_jar_is_fetched_once_and_then_found(repository: Path, tmp_path: Path) -> None:
    (path,) = fetch(tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    (repository / PATH).unlink()
    assert fetch(tmp_path / "cache") == [path]


def test_a_jar_that_is_not_the_locked_one_is_refused_with_both_digests(repository: Path, tmp_path: Path) -> None:
    (repository / PATH).write_bytes(b"another")
    found = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(JarMismatch, match=rf"test.aac:thing:1.0 .* sha256 is {found}, expected {JAR.sha256}"):
        fetch(tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("*.jar")) == []


def test_a_jar_that_was_damaged_in_the_cache_is_fetched_again(repository: Path, tmp_path: Path) -> None:
    (path,) = fetch(tmp_path / "cache")
    path.write_bytes(CONTENT[:5])
    assert fetch(tmp_path / "cache") == [path]
    assert path.read_bytes() == CONTENT


def test_fetching_stops_when_the_start_is_given_up(repository: Path, tmp_path: Path) -> None:
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(BackendError, match="interrupted"):
        ensure_jars([JAR], tmp_path / "cache", no_progress, given_up)


def test_the_lock_file_names_the_broker_and_no_host() -> None:
    jars = read_lock()
    assert set(ROOTS) <= {jar.coordinate for jar in jars}
    assert len({jar.file_name for jar in jars}) == len(jars)


def test_a_damaged_lock_file_is_told_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(f"# comment\na:b:1 sha256:{'0' * 64}\na:b:2 sha256:short\n")
    with pytest.raises(BackendError, match="lock, line 3"):
        read_lock(tmp_path / "lock")
