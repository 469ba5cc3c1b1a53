"""How channels are made: keepalive, reconnection, message sizes, load balancing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import grpc
from grpc import aio

DEFAULT_MAX_MESSAGE_BYTES = 4 << 20
"""Transport limit of one message; the platform's own limit is a quarter of it."""

# Pings only while a call is open; the platform's servers permit one in 10 seconds.
_KEEPALIVE_TIME_MS = 20_000
_KEEPALIVE_TIMEOUT_MS = 10_000
# gRPC's own defaults let a restarted server go unnoticed for up to two minutes.
_FIRST_RECONNECT_MS = 100
_LONGEST_RECONNECT_MS = 2_000

_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


def channel_options(
    *, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES, service_config: str = _SERVICE_CONFIG
) -> list[tuple[str, Any]]:
    """The options of every channel, the SDK's and the mesh's.

    Retries are ours (`retry.py`): gRPC has no limit of one attempt's time, so its own are left off.

    Args:
        max_message_bytes: Limit of one message each way.
        service_config: gRPC service config as JSON. It must not set timeouts: `methodConfig.timeout` is broken.
    """
    return [
        ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
        ("grpc.min_reconnect_backoff_ms", _LONGEST_RECONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", _LONGEST_RECONNECT_MS),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.service_config", service_config),
    ]


def open_channel(
    target: str,
    *,
    credentials: grpc.ChannelCredentials | None = None,
    options: Sequence[tuple[str, Any]] | None = None,
    interceptors: Sequence[aio.ClientInterceptor] = (),
) -> aio.Channel:
    """Opens a channel on the running event loop.

    Args:
        target: Such as "127.0.0.1:50050" or "dns:///gateway.example:443".
        credentials: Of TLS; None is plaintext.
        options: Instead of `channel_options()`.
        interceptors: Of this channel.
    """
    chosen = list(options) if options is not None else channel_options()
    if credentials is None:
        return aio.insecure_channel(target, options=chosen, interceptors=interceptors)
    return aio.secure_channel(target, credentials, options=chosen, interceptors=interceptors)
