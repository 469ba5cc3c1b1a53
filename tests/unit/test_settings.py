"""Settings of a process, and what production refuses."""

from typing import Any

import pytest
from pydantic import ValidationError

from aac_grpc.common.settings import ServiceSettings

GOOD: dict[str, Any] = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://risk:k2J8s0qLw9Zr@db.internal/aac?sslmode=verify-full",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka-1.internal:9093,kafka-2.internal:9093",
    "AAC_KAFKA_CONFIG": '{"security.protocol": "SASL_SSL", "sasl.password": "hunter2"}',
    "REDIS_URL": "rediss://cache.internal:6379/0",
    "AAC_SERVICE_SECRET": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    import os

    for name in list(os.environ):
        if name.startswith("AAC_") or name in {"ENVIRONMENT", "DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS"}:
            monkeypatch.delenv(name)
    return monkeypatch


def read(environment: pytest.MonkeyPatch, **variables: str) -> ServiceSettings:
    for name, value in variables.items():
        environment.setenv(name, value)
    return ServiceSettings()


def test_a_laptop_needs_no_settings(environment: pytest.MonkeyPatch) -> None:
    settings = read(environment)
    assert settings.environment == "development"
    assert settings.reflection_enabled


def test_settings_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    settings = read(
        environment,
        DATABASE_URL="postgresql://x@y/z",
        KAFKA_BOOTSTRAP_SERVERS="a:1,b:2",
        AAC_GRPC_PORT="7000",
        AAC_TRADING_ADDRESS="engine:1",
        AAC_RATE_LIMITS='{"standard": {"READ": [1, 2]}}',
    )
    assert settings.database_url.get_secret_value() == "postgresql://x@y/z"
    assert settings.kafka_bootstrap_servers == "a:1,b:2"
    assert settings.grpc_port == 7000
    assert settings.address_of("trading-engine") == "engine:1"
    assert settings.rate_limits == {"standard": {"READ": (1, 2)}}


def test_each_process_has_a_name_of_its_own(environment: pytest.MonkeyPatch) -> None:
    assert read(environment).instance_id != read(environment).instance_id


def test_every_setting_is_described() -> None:
    undescribed = [name for name, field in ServiceSettings.model_fields.items() if not field.description]
    assert not undescribed


def test_good_production_settings_are_taken(environment: pytest.MonkeyPatch) -> None:
    settings = read(environment, **GOOD)
    assert settings.production
    assert not settings.reflection_enabled


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("DATABASE_URL", "", "DATABASE_URL"),
        ("DATABASE_URL", "postgresql://aac:aac@db.internal/aac?sslmode=require", "password"),
        ("DATABASE_URL", "postgresql://risk:k2J8s0qLw9Zr@db.internal/aac", "TLS"),
        ("REDIS_URL", "redis://cache.internal:6379", "REDIS_URL"),
        ("AAC_KAFKA_CONFIG", "{}", "AAC_KAFKA_CONFIG"),
        ("AAC_KAFKA_CONFIG", '{"security.protocol": "SASL_PLAINTEXT"}', "AAC_KAFKA_CONFIG"),
        ("AAC_SERVICE_SECRET", "", "AAC_SERVICE_SECRET is missing"),
        ("AAC_SERVICE_SECRET", "short", "AAC_SERVICE_SECRET is weak"),
        ("AAC_SERVICE_SECRET", "a" * 64, "AAC_SERVICE_SECRET is weak"),
        ("AAC_REFLECTION", "true", "AAC_REFLECTION"),
        ("AAC_LOG_JSON", "false", "AAC_LOG_JSON"),
        ("AAC_REVOCATION_WATCH", "false", "AAC_REVOCATION_WATCH"),
        ("AAC_GRPC_HOST", "0.0.0.0", "AAC_ADVERTISED_ADDRESS"),
    ],
)
def test_production_refuses_what_is_fit_for_a_laptop_only(
    environment: pytest.MonkeyPatch, name: str, value: str, fault: str
) -> None:
    with pytest.raises(ValidationError, match=fault):
        read(environment, **{**GOOD, name: value})


def test_a_refusal_lists_every_fault_and_shows_no_secret(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError) as refusal:
        read(environment, ENVIRONMENT="production", AAC_SERVICE_SECRET="hunter2", AAC_REFLECTION="true")
    text = str(refusal.value)
    assert "DATABASE_URL" in text
    assert "weak" in text
    assert "AAC_REFLECTION" in text
    assert "hunter2" not in text


def test_secrets_are_not_shown_when_settings_are_printed(environment: pytest.MonkeyPatch) -> None:
    settings = read(
        environment,
        AAC_SERVICE_SECRET="hunter2",
        DATABASE_URL="postgresql://x:hunter2@y/z",
        AAC_KAFKA_CONFIG='{"sasl.password": "hunter2"}',
    )
    assert "hunter2" not in repr(settings)
