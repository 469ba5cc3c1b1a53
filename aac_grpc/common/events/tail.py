"""Following topics without a group: for people who watch, not for effects."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TailedEvent:
    """A message where it lies in Kafka."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: Mapping[str, str]


class EventTail:
    """Reads topics from given offsets, from the beginning or from now on; commits nothing."""

    def __init__(
        self,
        bootstrap_servers: str,
        topics: Sequence[str],
        *,
        start: Mapping[tuple[str, int], int] | None = None,
        from_beginning: bool = False,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Configures; nothing is opened yet.

        Args:
            bootstrap_servers: Kafka.
            topics: Names.
            start: First offset wanted by (topic, partition); the others begin as `from_beginning` says.
            from_beginning: Begin with the oldest message kept, else with the next one.
            config: More librdkafka settings (TLS, SASL).
        """

    async def open(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Starts reading; returns each partition's first offset kept and the offset that it begins at."""
        raise NotImplementedError

    def batches(self) -> AsyncIterator[list[TailedEvent]]:
        """Messages as they come, in the order of their partition; ends only by an error or `close`."""
        raise NotImplementedError

    async def close(self) -> None:
        """Ends reading."""
