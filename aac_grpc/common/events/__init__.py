"""Domain events on Kafka: publish, consume each exactly once in effect, follow."""

from aac_grpc.common.events.consumer import EventConsumer, EventHandler
from aac_grpc.common.events.publisher import EventPublisher, OutgoingEvent, outgoing
from aac_grpc.common.events.tail import EventTail, TailedEvent

__all__ = ["EventConsumer", "EventHandler", "EventPublisher", "EventTail", "OutgoingEvent", "TailedEvent", "outgoing"]
