"""Whether the backends that the environment names can be used: asked before anything starts, told in a few lines."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aac_grpc.backends.errors import BackendUnusable

WITHIN_S = 5.0
"""Seconds that each step of a check may take."""

_EMBEDDED = {"DATABASE_URL": "PostgreSQL", "REDIS_URL": "Valkey", "KAFKA_BOOTSTRAP_SERVERS": "Kafka"}
_UNREACHABLE = {
    socket.gaierror: "the name of the host is not known",
    ConnectionRefusedError: "connection refused: nobody listens there",
    TimeoutError: "no answer",
}
_DENIED = re.compile(
    r"no password|password authentication|WRONGPASS|invalid username|NOAUTH|Authentication|SASL|NOPERM"
)
_SECRET_IN_WORDS = re.compile(r"[^\s@/]+:[^\s@/]+@")

Address = tuple[str, int]


def require_usable(environment: Mapping[str, str]) -> None:
    """Connects to each backend that is given, as a service would.

    Args:
        environment: Of this process; its URLs can be read.

    Raises:
        BackendUnusable: Names every variable whose backend can't be used, where that is, why, and what to do.
    """
    given = {variable: environment[variable] for variable in _CHECKS if environment.get(variable)}
    if not given:
        return
    with ThreadPoolExecutor(len(given)) as pool:
        found = dict(zip(given, pool.map(lambda one: _fault(one, given[one], environment), given), strict=True))
    if faults := {variable: fault for variable, fault in found.items() if fault}:
        embedded = " and ".join(_EMBEDDED[variable] for variable in faults)
        raise BackendUnusable(
            faults,
            f"start what should be there, or mend {' and '.join(faults)}; "
            f"without {'them' if len(faults) > 1 else 'it'} `aac up` starts {embedded} itself",
        )


def _fault(variable: str, given: str, environment: Mapping[str, str]) -> str:
    """What is wrong with a backend; empty where it can be used."""
    addresses, log_in = _CHECKS[variable]
    wanted = list(addresses(given))
    shown = ", ".join(f"{host}:{port}" for host, port in wanted)
    reasons = [_unreachable(address) for address in wanted]
    if wanted and all(reasons):
        return f"{shown} can't be reached: {reasons[0]}"
    try:
        log_in(given, environment)
    except Exception as error:  # each client fails in its own way, and every way is one that a person has to mend
        words = _SECRET_IN_WORDS.sub("", " ".join(str(error).split()))
        kind = "refuses the user name or the password" if _DENIED.search(words) else "can't be used"
        return f"{shown or 'the server'} {kind}: {words or type(error).__name__}"
    return ""


def _unreachable(address: Address) -> str:
    try:
        socket.create_connection(address, timeout=WITHIN_S).close()
    except OSError as error:
        return next((words for kind, words in _UNREACHABLE.items() if isinstance(error, kind)), str(error))
    return ""


def _postgres_addresses(url: str) -> Sequence[Address]:
    """Of the hosts in a URL; none of sockets in the file system."""
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(url)
    hosts = str(parts.get("host") or "").split(",")
    ports = str(parts.get("port") or "5432").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return [
        (host, int(port or 5432))
        for host, port in zip(hosts, ports, strict=False)
        if host and not host.startswith(("/", "@"))
    ]


def _log_in_to_postgres(url: str, environment: Mapping[str, str]) -> None:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=round(WITHIN_S)).close()
    except psycopg.OperationalError as error:
        raise ConnectionError(str(error).rpartition("FATAL:")[2]) from error


def _redis_addresses(url: str) -> Sequence[Address]:
    from redis.connection import parse_url

    parts = parse_url(url)  # type: ignore[no-untyped-call]  # redis types it not
    return [] if "path" in parts else [(parts.get("host", "localhost"), int(parts.get("port", 6379)))]


def _log_in_to_redis(url: str, environment: Mapping[str, str]) -> None:
    from redis import Redis

    with Redis.from_url(url, socket_connect_timeout=WITHIN_S, socket_timeout=WITHIN_S) as redis:
        redis.ping()


def _kafka_addresses(servers: str) -> Sequence[Address]:
    found = []
    for server in servers.split(","):
        host, _, port = server.strip().rpartition("://")[2].rpartition(":")
        found.append((host.strip("[]"), int(port)) if host and port.isdecimal() else (server.strip(), 9092))
    return found


def _log_in_to_kafka(servers: str, environment: Mapping[str, str]) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    said: list[str] = []
    config: dict[str, Any] = json.loads(environment.get("AAC_KAFKA_CONFIG") or "{}")
    config |= {"bootstrap.servers": servers, "log_level": 0, "error_cb": lambda error: said.append(error.str())}
    admin = AdminClient(config)
    try:
        admin.list_topics(timeout=WITHIN_S)
    except KafkaException as error:
        admin.poll(0.1)
        raise ConnectionError(said[0] if said else error.args[0].str()) from error


_CHECKS: Mapping[str, tuple[Callable[[str], Sequence[Address]], Callable[[str, Mapping[str, str]], None]]] = {
    "DATABASE_URL": (_postgres_addresses, _log_in_to_postgres),
    "REDIS_URL": (_redis_addresses, _log_in_to_redis),
    "KAFKA_BOOTSTRAP_SERVERS": (_kafka_addresses, _log_in_to_kafka),
}
