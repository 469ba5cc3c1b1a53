"""How channels are made: load balancing, keepalive, reconnection, message sizes."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from typing import Any

import grpc
from grpc import aio

DEFAULT_MAX_MESSAGE_BYTES = 4 << 20
"""Transport limit of one message; the platform's own limit is a quarter of it."""

# A peer that is frozen, or gone without a word, is given up after both: its calls and streams end as UNAVAILABLE. Pings
# go out while a call is open alone; the platform's servers permit one a second.
_KEEPALIVE_TIME_MS = 2_000
_PING_TIMEOUT_MS = 2_500
# gRPC's own defaults let a restarted server go unnoticed for up to two minutes. The least backoff is also the longest
# time of a connection's handshake, which a frozen server never ends.
_FIRST_RECONNECT_MS = 100
_LONGEST_RECONNECT_MS = 2_000

# By failures alone, since an instance that hangs still answers pings and keeps its health. gRPC counts every status
# but OK as a failure, be it a refusal of what a user asked for or the user's own cancellation. So the threshold is
# high, half of the instances stay whatever happens, and who is left out comes back soon.
_BALANCING = {
    "outlier_detection_experimental": {
        "interval": "1s",
        "baseEjectionTime": "3s",
        "maxEjectionTime": "10s",
        "maxEjectionPercent": 50,
        "failurePercentageEjection": {
            "threshold": 90,
            "enforcementPercentage": 100,
            "minimumHosts": 2,
            "requestVolume": 5,
        },
        "childPolicy": [{"round_robin": {}}],
    }
}

_SCHEMES = ("ipv4:", "ipv6:", "dns:", "unix:", "xds:")

SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [_BALANCING], "healthCheckConfig": {"serviceName": ""}})
"""For services that have several instances, or may have: who does not serve, or fails all the time, gets no calls.

It has neither timeouts (`methodConfig.timeout` is broken) nor retries: ours (`retry.py`) limit the time of an attempt.
"""
SINGLE_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
"""For one address without another to go to."""


def target_of(addresses: Sequence[str]) -> str:
    """gRPC's name for one host:port or several.

    Raises:
        ValueError: There are several, and one is not a numeric address: gRPC takes lists of those only.
    """
    if len(addresses) == 1:
        return addresses[0]
    try:
        split = [address.rpartition(":") for address in addresses]
        places = [(ipaddress.ip_address(host.strip("[]")), port) for host, _, port in split]
    except ValueError:
        places = []
    if not places:
        raise ValueError(
            f"several addresses must be numeric (IPv4 or [IPv6]): {', '.join(addresses)}; or give one name"
        )
    if all(host.version == 4 for host, _ in places):
        return f"ipv4:{','.join(addresses)}"
    # gRPC takes addresses of one kind in a list; IPv4 has a place in IPv6 (RFC 4291, 2.5.5.2).
    return "ipv6:" + ",".join(f"[{host if host.version == 6 else f'::ffff:{host}'}]:{port}" for host, port in places)


def addresses_of(target: str | Sequence[str]) -> list[str]:
    """The addresses of a target, which may be a list or have commas between; one of gRPC's own names stays as it is."""
    if not isinstance(target, str):
        return list(target)
    return [target] if target.startswith(_SCHEMES) else [one.strip() for one in target.split(",")]


def channel_options(
    *, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES, service_config: str = SINGLE_SERVICE_CONFIG
) -> list[tuple[str, Any]]:
    """The options of every channel, the SDK's and the mesh's.

    Args:
        max_message_bytes: Limit of one message each way.
        service_config: gRPC service config as JSON.
    """
    return [
        ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
        # gRPC never applies its keepalive timeout (grpc/grpc#39239): what ends a silent connection is the timeout of
        # pings, which is a minute unless it is set.
        ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", _FIRST_RECONNECT_MS),
        ("grpc.min_reconnect_backoff_ms", _LONGEST_RECONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", _LONGEST_RECONNECT_MS),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.service_config", service_config),
    ]


def open_channel(
    target: str | Sequence[str],
    *,
    credentials: grpc.ChannelCredentials | None = None,
    options: Sequence[tuple[str, Any]] | None = None,
    interceptors: Sequence[aio.ClientInterceptor] = (),
) -> aio.Channel:
    """Opens a channel on the running event loop.

    Args:
        target: Such as "127.0.0.1:50050" or "dns:///gateway.example:443"; or several addresses, among which calls are
            spread.
        credentials: Of TLS; None is plaintext.
        options: Instead of `channel_options()`.
        interceptors: Of this channel.

    Raises:
        ValueError: There are several addresses, and one is not numeric.
    """
    addresses = addresses_of(target)
    config = SERVICE_CONFIG if len(addresses) > 1 else SINGLE_SERVICE_CONFIG
    chosen = list(options) if options is not None else channel_options(service_config=config)
    if credentials is None:
        return aio.insecure_channel(target_of(addresses), options=chosen, interceptors=interceptors)
    return aio.secure_channel(target_of(addresses), credentials, options=chosen, interceptors=interceptors)
