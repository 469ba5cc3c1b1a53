"""Real backends for every test that needs them: embedded ones, or those whose URLs are in the environment."""

import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.support import recordings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # In the background of a shell; every program that tests start, and interrupt, would ignore it as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)

URLS = ("DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS")


def free_port_offset() -> int:
    """An offset at which every port of the platform is free, so that tests run beside a running platform."""
    from aac_grpc.backends.ports import DEFAULT_PORTS, is_free

    # Away from the offsets that people choose, and spread by process so that two test runs do not race for one.
    candidates = (1037 + (os.getpid() * 7 + step * 101) % 4000 for step in range(40))
    return next(offset for offset in candidates if all(is_free(port + offset) for port in DEFAULT_PORTS.values()))


@pytest.fixture(scope="session")
def port_offset() -> int:
    """Added to every default port in this test run."""
    return free_port_offset()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded data; the test is skipped where it is absent."""
    return recordings.shared()


@pytest.fixture(scope="session")
async def backends(
    port_offset: int,
) -> AsyncIterator[Mapping[str, str]]:
    """URLs of PostgreSQL, Valkey and Kafka that serve: DATABASE_URL, REDIS_URL, KAFKA_BOOTSTRAP_SERVERS."""
    if all(os.environ.get(name) for name in URLS):
        yield {name: os.environ[name] for name in URLS}
        return
    from aac_grpc.backends.embedded import EmbeddedBackends
    from aac_grpc.backends.state import StateDirectory

    # Not under pytest's own folder, which is closed to the account that PostgreSQL drops to.
    with tempfile.TemporaryDirectory(prefix="aac-tests-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        async with EmbeddedBackends(StateDirectory(Path(folder, "state")), port_offset) as embedded:
            yield embedded.urls
