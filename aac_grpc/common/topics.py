"""The platform's Kafka topics."""

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic; its dead letters go to `<name>.dlq`."""

    name: str
    partitions: int = 6
    retention_ms: int = 7 * DAY_MS

    @property
    def dead_letters(self) -> str:
        """Name of the topic that parked messages go to."""
        return f"{self.name}.dlq"


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
