"""Counts of events on their way, for Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

PUBLISHED = Counter("aac_events_published_total", "Events that Kafka acknowledged.", ["topic"])
PUBLISH_FAILURES = Counter("aac_events_publish_failures_total", "Events that Kafka refused or that were dropped.")
IN_FLIGHT = Gauge("aac_events_in_flight", "Events handed to the Kafka client and not acknowledged yet.")
CONSUMED = Counter("aac_events_consumed_total", "Events read, by fate: handled, duplicate, parked.", ["topic", "fate"])
RETRIES = Counter("aac_events_retries_total", "Batches of events that were tried again.", ["group"])
CONSUMER_LAG = Gauge("aac_consumer_lag", "Messages that a group has not read yet on this member.", ["group"])
OUTBOX_WAITING = Gauge("aac_outbox_waiting", "Committed events that wait for Kafka.", ["schema"])
OUTBOX_AGE = Gauge("aac_outbox_oldest_seconds", "Age of the oldest committed event that waits for Kafka.", ["schema"])
OUTBOX_LATENCY = Histogram(
    "aac_outbox_latency_seconds",
    "Time from an event's insertion until Kafka has it.",
    ["schema"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600),
)
