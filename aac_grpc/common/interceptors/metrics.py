"""Counts calls and messages under the standard names.

The counters are plain numbers of the event loop's thread, which a scrape reads: `prometheus_client`'s own, which lock,
cost as much as the rest of the chain together.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

import grpc
from prometheus_client import REGISTRY, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from aac_grpc.common import metrics
from aac_grpc.common.call import Call
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.hooks import Interceptor
from aac_grpc.common.metrics import LATENCY_BUCKETS, METHOD_LABELS

_OK = grpc.StatusCode.OK

Labels = tuple[str, str, str]


def grpc_type(policy: MethodPolicy) -> str:
    """The arity as the standard label has it."""
    return {
        (False, False): "unary",
        (True, False): "client_stream",
        (False, True): "server_stream",
        (True, True): "bidi_stream",
    }[policy.client_streaming, policy.server_streaming]


class MethodCounts:
    """What happened to one method's calls since the process began."""

    __slots__ = ("buckets", "failed", "items", "received", "seconds", "sent", "started", "succeeded")

    def __init__(self) -> None:
        self.started = self.succeeded = self.received = self.sent = self.items = 0
        self.failed = {code: 0 for code in grpc.StatusCode if code is not _OK}
        self.buckets = [0] * (len(LATENCY_BUCKETS) + 1)
        self.seconds = 0.0

    @property
    def handled(self) -> dict[grpc.StatusCode, int]:
        """Calls that ended, by status."""
        return {_OK: self.succeeded, **self.failed}


class ServerCollector(Collector):
    """Shows the counts of all methods to Prometheus. A method is there, at zero, from its registration on."""

    def __init__(self) -> None:
        self._methods: dict[Labels, MethodCounts] = {}

    def counts(self, policy: MethodPolicy) -> MethodCounts:
        """The counts of a method."""
        return self._methods.setdefault((grpc_type(policy), policy.service, policy.name), MethodCounts())

    def collect(self) -> Iterator[Metric]:
        """The standard families."""
        started = CounterMetricFamily("grpc_server_started", "Calls that arrived.", labels=METHOD_LABELS)
        handled = CounterMetricFamily(
            "grpc_server_handled", "Calls that ended, by status.", labels=(*METHOD_LABELS, "grpc_code")
        )
        received = CounterMetricFamily("grpc_server_msg_received", "Messages that came in.", labels=METHOD_LABELS)
        sent = CounterMetricFamily("grpc_server_msg_sent", "Messages that went out.", labels=METHOD_LABELS)
        items = CounterMetricFamily("aac_server_items_sent", "Items that went out in messages.", labels=METHOD_LABELS)
        latency = HistogramMetricFamily(
            "grpc_server_handling_seconds", "Time from a call's arrival to its status.", labels=METHOD_LABELS
        )
        bounds = [*map(str, LATENCY_BUCKETS), "+Inf"]
        for labels, counts in tuple(self._methods.items()):
            started.add_metric(labels, counts.started)
            received.add_metric(labels, counts.received)
            sent.add_metric(labels, counts.sent)
            items.add_metric(labels, counts.items)
            for code, number in counts.handled.items():
                handled.add_metric((*labels, code.name), number)
            latency.add_metric(labels, list(zip(bounds, accumulate(counts.buckets), strict=True)), counts.seconds)
        yield from (started, handled, received, sent, items, latency)


SERVER = ServerCollector()
REGISTRY.register(SERVER)


class Metrics(Interceptor):
    """Makes the counters of each method."""

    def for_method(self, policy: MethodPolicy) -> Interceptor:
        """Counters of one method, at zero."""
        counts = SERVER.counts(policy)
        return StreamMetrics(counts) if policy.streaming else MethodMetrics(counts)


class MethodMetrics(Interceptor):
    """Counts the calls of one method."""

    def __init__(self, counts: MethodCounts) -> None:
        self._counts = counts

    def on_start(self, call: Call) -> None:
        """Counts the call."""
        self._counts.started += 1

    def on_end(self, call: Call) -> None:
        """Counts status, messages and time."""
        self._counts.received += call.received
        self._counts.sent += call.sent
        self._ended(call)

    def _ended(self, call: Call) -> None:
        counts = self._counts
        # Nearly all succeed, and to find an enum's member in a dict takes as long as all the rest of this.
        if call.code is _OK:
            counts.succeeded += 1
        else:
            counts.failed[call.code] += 1
        counts.seconds += call.duration_s
        counts.buckets[bisect_left(LATENCY_BUCKETS, call.duration_s)] += 1


class StreamMetrics(MethodMetrics):
    """Counts a stream's messages as they go."""

    def on_start(self, call: Call) -> None:
        """Counts the stream."""
        self._counts.started += 1
        metrics.SERVER_OPEN_STREAMS.inc()

    def on_request(self, call: Call, message: object) -> None:
        """Counts a message."""
        self._counts.received += 1

    def on_response(self, call: Call, items: int) -> None:
        """Counts a message and its items."""
        self._counts.sent += 1
        self._counts.items += items

    def on_end(self, call: Call) -> None:
        """Counts status and time."""
        self._ended(call)
        metrics.SERVER_OPEN_STREAMS.dec()
