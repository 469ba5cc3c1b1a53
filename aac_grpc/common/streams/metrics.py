"""Counts of streams, for Prometheus. Labels are bound once."""

from aac.type.v1 import stream_pb2
from prometheus_client import Counter, Gauge

SESSIONS = Gauge("aac_stream_sessions", "Open outgoing streams.")
_GAPS = Counter("aac_stream_gaps_total", "GAP frames sent, by topic.", ["topic"])
GAPS = {value: _GAPS.labels(name.removeprefix("TOPIC_").lower()) for name, value in stream_pb2.Topic.items()}
CONFLATED = Counter("aac_stream_conflated_total", "States that were overtaken before a reader took them.")
HISTORY_READS = Counter("aac_stream_history_reads_total", "Pages of events read from durable storage for streams.")
