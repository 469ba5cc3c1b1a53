"""The platform's Kafka topics. See `aac.event.v1` for what is on them."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from aac_grpc.client.errors import DependencyUnavailable

DAY_MS = 86_400_000
_kafka_log = logging.getLogger("confluent_kafka")

ADMIN_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic; its dead letters go to `<name>.dlq`."""

    name: str
    partitions: int = 6
    retention_ms: int = 7 * DAY_MS

    @property
    def dead_letters(self) -> str:
        """Name of the topic that parked messages go to."""
        return dead_letters(self.name)

    def new_topics(self) -> list[NewTopic]:
        """The topic and its dead letters, as the broker wants them; replicas are the cluster's default."""
        config = {"retention.ms": str(self.retention_ms)}
        kept_longer = {"retention.ms": str(DEAD_LETTER_RETENTION_MS)}
        return [
            NewTopic(self.name, num_partitions=self.partitions, replication_factor=-1, config=config),
            NewTopic(self.dead_letters, num_partitions=1, replication_factor=-1, config=kept_longer),
        ]


DEAD_LETTER_RETENTION_MS = 30 * DAY_MS

ORDERS = "aac.orders.v1"
TRADES = "aac.trades.v1"
EXECUTIONS = "aac.executions.v1"
ACCOUNTS = "aac.accounts.v1"
RISK = "aac.risk.v1"
IDENTITY = "aac.identity.v1"

TOPICS: tuple[Topic, ...] = (
    Topic(ORDERS),
    Topic(TRADES),
    Topic(EXECUTIONS),
    Topic(ACCOUNTS, partitions=3),
    Topic(RISK, partitions=3),
    Topic(IDENTITY, partitions=3),
)
TOPIC_NAMES: tuple[str, ...] = tuple(topic.name for topic in TOPICS)


def dead_letters(topic: str) -> str:
    """Name of the topic that a topic's parked messages go to."""
    return f"{topic}.dlq"


async def ensure_topics(config: Mapping[str, str], topics: Iterable[Topic] = TOPICS) -> list[str]:
    """Makes topics that are missing, with their dead letters; others stay as they are.

    Args:
        config: librdkafka settings, `bootstrap.servers` at least.
        topics: What must be there.

    Returns:
        Names of those that were made now.

    Raises:
        DependencyUnavailable: Kafka can't be reached, or refuses.
    """
    return await asyncio.to_thread(_ensure, {**config}, tuple(topics))


def _ensure(config: dict[str, str | int | float | bool], topics: tuple[Topic, ...]) -> list[str]:
    admin = AdminClient(config, logger=_kafka_log)
    try:
        present = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
        missing = [new for topic in topics for new in topic.new_topics() if new.topic not in present]
        if not missing:
            return []
        made = admin.create_topics(missing, operation_timeout=ADMIN_TIMEOUT_S, request_timeout=ADMIN_TIMEOUT_S)
        return [name for name, future in made.items() if _was_made(future)]
    except KafkaException as error:
        raise DependencyUnavailable("kafka") from error


def _was_made(future: "Future[None]") -> bool:
    """False where another instance was faster."""
    try:
        future.result(ADMIN_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise
    return True
