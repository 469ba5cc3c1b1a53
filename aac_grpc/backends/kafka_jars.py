"""The jars of Apache Kafka: exactly those of the lock file, fetched once a machine and verified at each start.

The lock file holds Maven coordinates and sha256 digests. To move to another version, write what `resolve_lock` returns.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aac_grpc.backends.cache import exclusive
from aac_grpc.backends.errors import BackendError
from aac_grpc.backends.spec import Progress

if TYPE_CHECKING:
    from jgo.maven import MavenContext

LOCK_FILE = Path(__file__).with_name("kafka_jars.lock")
ROOTS = ("org.apache.kafka:kafka_2.13:4.4.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5")
"""What the lock file was resolved from: the broker, and the binding without which its log goes nowhere."""

_LINE = re.compile(r"(?P<group>[\w.-]+):(?P<artifact>[\w.-]+):(?P<version>[\w.-]+) sha256:(?P<sha256>[0-9a-f]{64})")
_RUNTIME_SCOPES = ("compile", "runtime")
_CONNECTIONS = 4
_ATTEMPTS = 3
_HTTP_TIMEOUT_S = 30
_LOCK_WAIT_S = 600.0
_STAGING = "fetch-"


class JarMismatch(BackendError):
    """A jar that was fetched is not the one that the lock file names."""


@dataclass(frozen=True, slots=True)
class LockedJar:
    """One line of the lock file."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """Maven coordinate: group, artifact and version."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        """Name of the file in the cache."""
        return f"{self.artifact}-{self.version}.jar"


def read_lock(path: Path = LOCK_FILE) -> tuple[LockedJar, ...]:
    """Reads a lock file.

    Raises:
        BackendError: A line is neither a jar nor a comment.
    """
    jars = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise BackendError(f"{path}, line {number}: expected `group:artifact:version sha256:digest`")
        jars.append(LockedJar(**match.groupdict()))
    return tuple(jars)


def ensure_jars(
    jars: Sequence[LockedJar], directory: Path, progress: Progress, cancelled: threading.Event
) -> list[Path]:
    """Puts the jars into a directory of the cache, where they are not yet. Blocks the calling thread.

    Args:
        jars: What must be there.
        directory: Where; other checkouts may use it at the same time.
        progress: Told of each jar that arrives, from this thread's workers.
        cancelled: Once set, nothing more is fetched.

    Returns:
        The files, in the order of the lock.

    Raises:
        JarMismatch: A fetched jar has another digest.
        BackendError: A jar cannot be fetched.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = [directory / jar.file_name for jar in jars]
    if all(_is_genuine(path, jar) for path, jar in zip(paths, jars, strict=True)):
        return paths
    progress("fetch the jars of Apache Kafka", 0.0)
    with exclusive(directory / "lock", _LOCK_WAIT_S) as held:
        if not held:
            raise BackendError(f"another process has been fetching into {directory} for {_LOCK_WAIT_S:g} s; end it")
        missing = [jar for jar, path in zip(jars, paths, strict=True) if not _is_genuine(path, jar)]
        _fetch_all(missing, directory, progress, cancelled)
    return paths


def resolve_lock(roots: Sequence[str] = ROOTS) -> str:
    """Resolves what the roots need to run, fetches it and returns the text of a lock file. Blocks."""
    from dataclasses import replace

    from jgo.parse import Coordinate

    with _maven(None) as context:
        dependencies = [
            context.create_dependency(replace(Coordinate.parse(root), scope="compile", raw=True)) for root in roots
        ]
        inputs, transitive = context.resolver.resolve(dependencies)
        needed = [*inputs, *(item for item in transitive if item.scope in _RUNTIME_SCOPES)]
        lines = [
            f"{item.groupId}:{item.artifactId}:{item.version} sha256:{_digest(item.artifact.resolve())}"
            for item in needed
        ]
    return f"# Resolved from {' and '.join(roots)}\n" + "\n".join(sorted(set(lines))) + "\n"


def _fetch_all(jars: Sequence[LockedJar], directory: Path, progress: Progress, cancelled: threading.Event) -> None:
    if not jars:
        return
    for abandoned in directory.glob(_STAGING + "*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    with _maven(directory) as context, ThreadPoolExecutor(_CONNECTIONS) as pool:
        arrivals = pool.map(lambda jar: _fetch(jar, context, directory, cancelled), jars)
        for count, _ in enumerate(arrivals, start=1):
            progress("fetch the jars of Apache Kafka", count / len(jars))


def _fetch(jar: LockedJar, context: MavenContext, directory: Path, cancelled: threading.Event) -> None:
    for attempt in range(_ATTEMPTS):
        if cancelled.is_set():
            raise BackendError("fetching the jars of Apache Kafka was interrupted")
        try:
            fetched: Path = context.create_dependency(jar.coordinate).artifact.resolve()
            break
        except (OSError, RuntimeError) as error:  # requests raises the first, the resolver the second
            if attempt + 1 == _ATTEMPTS:
                raise BackendError(
                    f"cannot fetch {jar.coordinate}: {error}; the first start needs the network, or the jars of "
                    f"another machine's {directory}, or KAFKA_BOOTSTRAP_SERVERS set to a cluster of your own"
                ) from error
            time.sleep(1.0 + attempt)
    digest = _digest(fetched)
    if digest != jar.sha256:
        raise JarMismatch(
            f"{jar.coordinate} is not what {LOCK_FILE.name} names: its sha256 is {digest}, expected {jar.sha256}. "
            f"It was not installed; find out what answers for the Maven repository on this network"
        )
    os.replace(fetched, directory / jar.file_name)


@contextmanager
def _maven(parent: Path | None) -> Iterator[MavenContext]:
    """A resolver that keeps what it fetches in a temporary directory, and asks the user's own repositories first."""
    # Only a first start fetches; the others are spared the import.
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext, PythonResolver

    with tempfile.TemporaryDirectory(prefix=_STAGING, dir=parent) as staging:
        context = MavenContext(
            resolver=PythonResolver(), repo_cache=Path(staging), local_repos=[], timeout=_HTTP_TIMEOUT_S
        )
        context.remote_repos = {**GlobalSettings.load().repositories, **context.remote_repos}
        yield context


def _is_genuine(path: Path, jar: LockedJar) -> bool:
    return path.exists() and _digest(path) == jar.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
