"""What auth-service tells on Kafka."""

from datetime import datetime
from uuid import uuid4

from aac.event.v1.event_pb2 import Event, IdentityEvent

from aac_grpc.common.event_types import EventType
from aac_grpc.common.types import to_timestamp


def identity_event(
    event_type: EventType, subject: str, version: int, occurred_at: datetime, *, actor: str = "", firm_id: str = ""
) -> Event:
    """Makes an event about a user, account, API key or session.

    Args:
        event_type: What happened.
        subject: Its id, the key of the event.
        version: Of the subject: grows with each of its events.
        occurred_at: When it happened.
        actor: Id of the user who did it; empty for the platform itself.
        firm_id: Of the subject.
    """
    return Event(
        event_id=str(uuid4()),
        type=event_type,
        source="auth-service",
        key=subject,
        sequence=version,
        occurred_at=to_timestamp(occurred_at),
        identity=IdentityEvent(actor=actor, subject=subject, firm_id=firm_id),
    )
