"""Domain events on Kafka: publish, consume each exactly once in effect, follow."""

from aac_grpc.common.events.consumer import EventConsumer, EventHandler
from aac_grpc.common.events.publisher import EventPublisher, EventRejected, OutgoingEvent, outgoing
from aac_grpc.common.events.reader import ReceivedEvent
from aac_grpc.common.events.tail import EventTail

TailedEvent = ReceivedEvent

__all__ = [
    "EventConsumer",
    "EventHandler",
    "EventPublisher",
    "EventRejected",
    "EventTail",
    "OutgoingEvent",
    "ReceivedEvent",
    "TailedEvent",
    "outgoing",
]
