"""How much of a stream the other side may send before it is read: what a reader that stops costs in memory."""

from typing import Any

STREAM_WINDOW_BYTES = 64 << 10
"""Of each stream, each way. A message may be larger: gRPC widens the window for one that is being waited for."""

WINDOW_OPTIONS: list[tuple[str, Any]] = [
    # Left to itself gRPC measures bandwidth times delay, and lets each stream of a fast network send several megabytes
    # ahead: fifty readers that stopped made a gateway hold 300 MB. It pings less without, too.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", STREAM_WINDOW_BYTES),
]
