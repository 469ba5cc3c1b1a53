"""The embedded backends are the real servers: they keep data, survive kills, and live side by side."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from aac_grpc.backends.cache import cache_directory
from aac_grpc.backends.control import read_status
from aac_grpc.backends.embedded import EmbeddedBackends
from aac_grpc.backends.errors import BackendUnusable, PortTaken
from aac_grpc.backends.privileges import can_reach
from aac_grpc.backends.spec import ProcessState, User
from aac_grpc.backends.state import StateDirectory
from aac_grpc.backends.supervisor import Supervisor
from aac_grpc.platform.reachability import require_usable

CHECKOUT = Path(__file__).resolve().parents[2]
OFFSET = 2500
TOPIC = "kept"

BOOT = """
import asyncio, json, sys
from pathlib import Path
from aac_grpc.backends.embedded import EmbeddedBackends
from aac_grpc.backends.state import StateDirectory

async def main():
    async with EmbeddedBackends(StateDirectory(Path(sys.argv[1])), int(sys.argv[2])) as backends:
        print(json.dumps(dict(backends.urls)), flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that every account can enter, so that root's PostgreSQL finds its data there."""
    path = Path(tempfile.mkdtemp(prefix="aac-backends-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
async def supervisor(place: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor(StateDirectory(place / "first")) as supervisor:
        yield supervisor


@pytest.fixture(scope="module")
async def backends(supervisor: Supervisor, place: Path) -> AsyncIterator[EmbeddedBackends]:
    async with EmbeddedBackends(StateDirectory(place / "first"), OFFSET, supervisor=supervisor) as backends:
        yield backends


async def write(backends: EmbeddedBackends, value: str) -> None:
    """Puts a value into all three."""
    async with await psycopg.AsyncConnection.connect(backends.urls["DATABASE_URL"]) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
        await connection.execute("INSERT INTO kept VALUES (%s)", (value,))
    async with Redis.from_url(backends.urls["REDIS_URL"]) as redis:
        await redis.sadd("kept", value)
    await asyncio.to_thread(produce, backends.urls["KAFKA_BOOTSTRAP_SERVERS"], value)


async def read(backends: EmbeddedBackends) -> tuple[set[str], set[str], set[str]]:
    """What PostgreSQL, Valkey and Kafka have kept."""
    async with await psycopg.AsyncConnection.connect(backends.urls["DATABASE_URL"]) as connection:
        rows = await (await connection.execute("SELECT value FROM kept")).fetchall()
    async with Redis.from_url(backends.urls["REDIS_URL"]) as redis:
        members = {member.decode() for member in await redis.smembers("kept")}
    messages = await asyncio.to_thread(consume, backends.urls["KAFKA_BOOTSTRAP_SERVERS"])
    return {value for (value,) in rows}, members, messages


def produce(servers: str, value: str) -> None:
    client = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    if TOPIC not in client.list_topics(timeout=5).topics:
        client.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(10)
    settings = {"bootstrap.servers": servers, "enable.idempotence": True, "compression.type": "lz4", "log_level": 0}
    producer = Producer(settings)
    producer.produce(TOPIC, value.encode())
    assert producer.flush(10) == 0


def consume(servers: str) -> set[str]:
    """Reads the topic from its beginning to its end."""
    settings = {"bootstrap.servers": servers, "group.id": "none", "enable.partition.eof": True, "log_level": 0}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(TOPIC, 0, OFFSET_BEGINNING)])
    found = set()
    deadline = time.monotonic() + 15
    while (message := consumer.poll(1.0)) is None or message.error() is None:
        assert time.monotonic() < deadline, "the end of the topic is not reached"
        if message is not None:
            found.add(message.value().decode())
    consumer.close()
    return found


async def eventually(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        await asyncio.sleep(0.05)


async def test_each_backend_lets_in_who_has_the_secret_and_nobody_else(backends: EmbeddedBackends) -> None:
    await write(backends, "hello")
    assert await read(backends) == ({"hello"}, {"hello"}, {"hello"})
    database = psycopg.conninfo.conninfo_to_dict(backends.urls["DATABASE_URL"])
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await psycopg.AsyncConnection.connect(**{**database, "password": "wrong"})
    stranger = Redis.from_url("redis://" + backends.urls["REDIS_URL"].rpartition("@")[2])
    with pytest.raises(AuthenticationError):
        await stranger.ping()
    await stranger.aclose()


async def test_what_keeps_a_user_out_of_a_backend_is_told_without_the_password(backends: EmbeddedBackends) -> None:
    await asyncio.to_thread(require_usable, backends.urls)
    database, redis = backends.urls["DATABASE_URL"], backends.urls["REDIS_URL"]
    user, _, server = database.rpartition("@")
    wrong = {
        "DATABASE_URL": f"{user.rpartition(':')[0]}:wr0ng@{server}",
        "REDIS_URL": f"redis://:wr0ng@{redis.rpartition('@')[2]}",
        "KAFKA_BOOTSTRAP_SERVERS": server.partition("/")[0],
    }
    with pytest.raises(BackendUnusable) as refused:
        await asyncio.to_thread(require_usable, wrong)
    faults = refused.value.fields
    assert "refuses the user name or the password: password authentication failed" in faults["DATABASE_URL"]
    assert "refuses the user name or the password" in faults["REDIS_URL"]
    assert "can't be used" in faults["KAFKA_BOOTSTRAP_SERVERS"], "PostgreSQL is no Kafka"
    assert "wr0ng" not in str(faults)
    with pytest.raises(BackendUnusable) as absent:
        await asyncio.to_thread(require_usable, {"DATABASE_URL": database.rpartition("/")[0] + "/nope"})
    assert 'database "nope" does not exist' in absent.value.fields["DATABASE_URL"]


async def test_the_backends_listen_on_the_loopback_interface_only(supervisor: Supervisor) -> None:
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in supervisor.status().processes
        for connection in psutil.Process(process.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


async def test_no_secret_is_on_a_command_line(supervisor: Supervisor, backends: EmbeddedBackends) -> None:
    secrets = {backends.urls[name].rpartition("@")[0].rpartition(":")[2] for name in ("DATABASE_URL", "REDIS_URL")}
    lines = [" ".join(psutil.Process(process.pid).cmdline()) for process in supervisor.status().processes]
    assert [line for line in lines for secret in secrets if secret in line] == []


async def test_postgres_keeps_what_it_acknowledged_and_takes_many_connections(backends: EmbeddedBackends) -> None:
    async with await psycopg.AsyncConnection.connect(backends.urls["DATABASE_URL"]) as connection:
        settings = {}
        for name in ("fsync", "synchronous_commit", "max_connections", "server_encoding", "TimeZone"):
            settings[name] = (await (await connection.execute(f"SHOW {name}")).fetchone() or ("",))[0]
    assert settings == {
        "fsync": "on",
        "synchronous_commit": "on",
        "max_connections": "300",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
    }


async def test_root_runs_postgres_as_nobody(supervisor: Supervisor, backends: EmbeddedBackends) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root drops to another account")
    (pid,) = (process.pid for process in supervisor.status().processes if process.name == "postgres")
    assert psutil.Process(pid).username() == "nobody"


async def test_a_port_that_is_held_is_named_with_its_holder_and_the_remedy(
    place: Path, supervisor: Supervisor, backends: EmbeddedBackends
) -> None:
    (pid,) = (process.pid for process in supervisor.status().processes if process.name == "valkey")
    expected = rf"port {16379 + OFFSET} \(valkey\) is held by process {pid} \(.*valkey-server.*--port-offset"
    with pytest.raises(PortTaken, match=expected):
        async with EmbeddedBackends(StateDirectory(place / "rival"), OFFSET, variables=("REDIS_URL",)):
            pass


async def test_killed_backends_come_back_with_what_they_acknowledged(
    supervisor: Supervisor, backends: EmbeddedBackends
) -> None:
    await write(backends, "before the kill")
    await asyncio.sleep(1.1)  # Valkey writes to disk each second; PostgreSQL and Kafka owe no such wait
    for name in ("postgres", "valkey", "kafka"):
        supervisor.kill(name)
    await eventually(lambda: [process.restarts for process in supervisor.status().processes] == [1, 1, 1], 30)
    await eventually(lambda: {process.state for process in supervisor.status().processes} == {ProcessState.READY}, 60)
    await write(backends, "after the kill")
    for kept in await read(backends):
        assert {"before the kill", "after the kill"} <= kept


async def test_a_second_installation_lives_beside_the_first_and_keeps_its_data_on_other_ports(
    place: Path, backends: EmbeddedBackends
) -> None:
    state = StateDirectory(place / "second")
    async with EmbeddedBackends(state, OFFSET + 100) as second:
        await write(second, "second")
        assert await read(second) == ({"second"}, {"second"}, {"second"})
    async with EmbeddedBackends(state, OFFSET + 200) as second:
        assert await read(second) == ({"second"}, {"second"}, {"second"})


async def test_data_lies_elsewhere_when_nobody_cannot_reach_the_state(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root drops to another account")
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    state = StateDirectory(closed / "state", shared_root=place / "shared")
    for _ in range(2):
        async with (
            EmbeddedBackends(state, OFFSET + 300, variables=("DATABASE_URL",)) as backends,
            await psycopg.AsyncConnection.connect(backends.urls["DATABASE_URL"]) as connection,
        ):
            await connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
            await connection.execute("INSERT INTO kept VALUES ('x')")
            found = await (await connection.execute("SELECT count(*) FROM kept")).fetchone()
    assert found == (2,)
    assert (state.path / "postgres").readlink().is_relative_to(place / "shared")


@pytest.mark.parametrize("account", ["ours", "a plain user's"])
async def test_nothing_survives_a_killed_owner(place: Path, account: str) -> None:
    home = place / account.replace(" ", "-")
    home.mkdir()
    drop: tuple[str, ...] = ()
    if account != "ours":
        drop = give_to_nobody(home)
    owner = await asyncio.create_subprocess_exec(
        *(*drop, sys.executable, "-c", BOOT, str(home / "state"), str(OFFSET + 400)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **({"AAC_CACHE_DIR": str(home / "cache")} if drop else {})},
    )
    assert owner.stdout is not None
    try:
        assert b"DATABASE_URL" in await asyncio.wait_for(owner.stdout.readline(), 60)
        status = await asyncio.to_thread(read_status, home / "state")
        assert status is not None
        leaders = [psutil.Process(process.pid) for process in status.processes]
        family = {*leaders, *(child for leader in leaders for child in leader.children(recursive=True))}
        assert len(family) > len(leaders) == 3
    finally:
        owner.kill()
        await owner.wait()
    await eventually(lambda: not any(map(lives, family)), 10)


def lives(process: psutil.Process) -> bool:
    """Whether it runs; a dead one whose new parent does not ask for its exit code is a zombie, and harmless."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def give_to_nobody(home: Path) -> tuple[str, ...]:
    """Hands a directory with a copy of the jars to a plain user, and returns how to become that user."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    needed = (Path(sys.executable).resolve(), CHECKOUT, Path(psycopg.__file__).parent)
    if not all(can_reach(path, User("nobody", 65534, 65534)) for path in needed):
        pytest.skip("a plain user cannot reach this Python or this checkout")
    shutil.copytree(cache_directory(), home / "cache", ignore=shutil.ignore_patterns("*.aot", "training-*"))
    for path in (home, *home.rglob("*")):
        os.chown(path, 65534, 65534)
    return ("/usr/bin/env", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.mark.slow
async def test_the_class_archive_is_made_in_the_background_and_used_by_the_next_start(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(cache_directory(), place / "cache", ignore=shutil.ignore_patterns("*.aot", "training-*"))
    monkeypatch.setenv("AAC_CACHE_DIR", str(place / "cache"))
    state = StateDirectory(place / "archived")
    only_kafka = ("KAFKA_BOOTSTRAP_SERVERS",)
    async with EmbeddedBackends(state, OFFSET + 300, variables=only_kafka):
        await eventually(lambda: len(list((place / "cache").glob("kafka-*/classes-*.aot"))) == 1, 60)
    async with (
        Supervisor(state) as supervisor,
        EmbeddedBackends(state, OFFSET + 300, variables=only_kafka, supervisor=supervisor),
    ):
        (broker,) = supervisor.status().processes
        assert any(part.startswith("-XX:AOTCache=") for part in psutil.Process(broker.pid).cmdline())
        maps = await asyncio.to_thread(Path(f"/proc/{broker.pid}/maps").read_text)
    assert "classes-" in maps
    assert list((place / "cache").rglob("training-*")) == []
