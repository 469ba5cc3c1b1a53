"""What `ENVIRONMENT=production` refuses: settings that are fine on a laptop and dangerous anywhere else."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aac_grpc.common.addresses import WILDCARDS

if TYPE_CHECKING:
    from aac_grpc.common.settings import ServiceSettings

MIN_SECRET_LENGTH = 32
WEAK_PASSWORDS = frozenset({"", "aac", "postgres", "password", "secret", "changeme", "admin", "default"})


def refuse_laptop_defaults(settings: "ServiceSettings") -> None:
    """Checks the settings of a production process.

    Raises:
        ValueError: Lists everything that is not fit for production.
    """
    if faults := list(_faults(settings)):
        raise ValueError("not fit for ENVIRONMENT=production: " + "; ".join(faults))


def _faults(settings: "ServiceSettings") -> list[str]:
    secret = settings.service_secret.get_secret_value()
    given = "database_url" in settings.model_fields_set and bool(settings.database_url.get_secret_value())
    checks = [
        (not given, "DATABASE_URL is not set"),
        (given and _weak_url(settings.database_url.get_secret_value()), "DATABASE_URL has a default or weak password"),
        (_plaintext_database(settings.database_url.get_secret_value()), "DATABASE_URL does not ask for TLS (sslmode)"),
        (_plaintext_redis(settings.redis_url.get_secret_value()), "REDIS_URL is neither rediss:// nor on this host"),
        (_plaintext_kafka(settings), "KAFKA_BOOTSTRAP_SERVERS are elsewhere and AAC_KAFKA_CONFIG asks for no TLS"),
        (not secret, "AAC_SERVICE_SECRET is missing"),
        (bool(secret) and weak_secret(secret), "AAC_SERVICE_SECRET is weak"),
        (not settings.revocation_watch, "AAC_REVOCATION_WATCH is off"),
        (settings.reflection is True, "AAC_REFLECTION is on"),
        (not settings.log_json, "AAC_LOG_JSON is off"),
        (
            settings.grpc_host.strip("[]") in WILDCARDS and not settings.advertised_address,
            "AAC_ADVERTISED_ADDRESS is missing where AAC_GRPC_HOST names no host",
        ),
    ]
    return [text for broken, text in checks if broken]


def weak_secret(secret: str) -> bool:
    """Tells whether a shared secret is too short or too regular to keep anybody out."""
    return len(secret) < MIN_SECRET_LENGTH or len(set(secret)) < 8


def _weak_url(url: str) -> bool:
    return (urlsplit(url).password or "") in WEAK_PASSWORDS


def _is_local(url: str) -> bool:
    return (urlsplit(url).hostname or "localhost") in {"localhost", "127.0.0.1", "::1"}


def _plaintext_kafka(settings: "ServiceSettings") -> bool:
    protocol = settings.kafka_config.get("security.protocol")
    secure = protocol is not None and protocol.get_secret_value().upper() in {"SSL", "SASL_SSL"}
    return not secure and not all(_is_local(f"//{broker}") for broker in settings.kafka_bootstrap_servers.split(","))


def _plaintext_database(url: str) -> bool:
    secure = any(f"sslmode={mode}" in urlsplit(url).query for mode in ("require", "verify-ca", "verify-full"))
    return not secure and not _is_local(url)


def _plaintext_redis(url: str) -> bool:
    return urlsplit(url).scheme != "rediss" and not _is_local(url)
