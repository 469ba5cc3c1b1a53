"""Settings that every service shares. A service's own settings inherit `ServiceSettings` and add to it.

Each field is read from the environment: `AAC_` and the name in capitals; `ENVIRONMENT`, `DATABASE_URL`, `REDIS_URL` and
`KAFKA_BOOTSTRAP_SERVERS` go without the prefix. docs/configuration.md is generated from the descriptions.
"""

import os
import secrets
import socket
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from aac_grpc.common.ports import GRPC_PORTS
from aac_grpc.common.production import refuse_laptop_defaults

DEFAULT_DATABASE_URL = "postgresql://aac:aac@127.0.0.1:5432/aac"

Plan = dict[str, tuple[float, float]]
"""Rate class to (budget per second, burst)."""

DEFAULT_PLANS: dict[str, Plan] = {
    "standard": {
        "READ": (200, 400),
        "ORDER": (100, 200),
        "STREAM": (50, 500),
        "LOGIN": (5, 20),
        "ADMIN": (20, 40),
    },
    "professional": {
        "READ": (2000, 4000),
        "ORDER": (2000, 4000),
        "STREAM": (500, 2000),
        "LOGIN": (10, 40),
        "ADMIN": (50, 100),
    },
}


def default_instance_id() -> str:
    """A name that no other process has: host, process id and a random part."""
    return f"{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(3)}"


def _address(service: str) -> str:
    return f"127.0.0.1:{GRPC_PORTS[service]}"


def _plain(name: str) -> AliasChoices:
    return AliasChoices(name, name.lower())


class ServiceSettings(BaseSettings):
    """What one service process is told by its environment."""

    model_config = SettingsConfigDict(
        env_prefix="AAC_", extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    environment: Literal["development", "production"] = Field(
        default="development",
        validation_alias=_plain("ENVIRONMENT"),
        description="`production` refuses to start on laptop defaults: default passwords, missing secrets and such.",
    )
    database_url: SecretStr = Field(
        default=SecretStr(DEFAULT_DATABASE_URL),
        validation_alias=_plain("DATABASE_URL"),
        description="PostgreSQL, as a URL.",
    )
    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        validation_alias=_plain("REDIS_URL"),
        description="Redis or Valkey, as a URL; `rediss://` for TLS.",
    )
    kafka_bootstrap_servers: str = Field(
        default="127.0.0.1:9092",
        validation_alias=_plain("KAFKA_BOOTSTRAP_SERVERS"),
        description="Kafka brokers, host:port with commas between.",
    )

    outbox_kept_days: float = Field(
        default=1.0, ge=0, description="How long events stay in the outbox after Kafka has them, for people who look."
    )
    inbox_kept_days: float = Field(
        default=14.0,
        ge=7.0,
        description="How long the ids of handled events are kept; longer than the topics keep events (7 days).",
    )
    client_keys_kept_days: float = Field(
        default=30.0,
        ge=1.0,
        description="How long a client key of an administrative change gives its first result again. Keys of orders"
        " last as long as their venue.",
    )

    kafka_config: dict[str, SecretStr] = Field(
        default={},
        description="More librdkafka settings for every Kafka client, such as TLS and SASL, as a JSON object.",
    )

    instance_id: str = Field(
        default_factory=default_instance_id, description="Name of this process in logs and in the registry."
    )
    grpc_host: str = Field(default="127.0.0.1", description="Address that the gRPC server binds, IPv4 or IPv6.")
    grpc_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of the gRPC server; unset means the service's own, 0 takes a free one.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes that share the gRPC port, each with pools of its own; more than one for stateless"
        " services and on Linux only. The first has the admin port and the lease at the registry.",
    )
    advertised_address: str = Field(
        default="",
        description="host:port that others reach this instance at; empty means the bound address, or the one on the"
        " way to the registry where every address of the machine is bound.",
    )
    admin_host: str = Field(default="127.0.0.1", description="Address that the admin HTTP server binds.")
    admin_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of the admin HTTP server; unset means the service's own, 0 takes a free one.",
    )

    auth_address: str = Field(
        default=_address("auth-service"), description="Where auth-service is; several with commas."
    )
    market_data_address: str = Field(default=_address("market-data"), description="Where market-data is.")
    analytics_address: str = Field(default=_address("analytics"), description="Where analytics is.")
    risk_address: str = Field(default=_address("risk-management"), description="Where risk-management is.")
    trading_address: str = Field(default=_address("trading-engine"), description="Where trading-engine is.")
    registry_address: str = Field(default=_address("registry"), description="Where the registry is; empty for none.")
    gateway_address: str = Field(default=_address("api-gateway"), description="Where the api-gateway is.")
    endpoints_file: Path | None = Field(
        default=None,
        description="File of the addresses that the registry named last, which a process starts from while the "
        "registry is away; unset keeps none.",
    )
    endpoints_hold_s: float = Field(
        default=15.0,
        ge=0,
        description="How long instances that were known count as living beside those that a registry names after it "
        "was away; more than one lease.",
    )
    service_secret: SecretStr = Field(
        default=SecretStr(""),
        description="This service's bootstrap secret; it gets tokens for calls inside the mesh with it.",
    )
    token_issuer: str = Field(default="aac", description="`iss` that access tokens must carry.")
    jwks_refresh_s: float = Field(
        default=60.0, gt=0, description="How often the keys of access tokens are fetched again."
    )
    token_cache_size: int = Field(default=10_000, ge=0, description="Verified access tokens that are remembered.")

    revocation_watch: bool = Field(
        default=True, description="Follow what auth-service revokes; without it tokens hold until they expire."
    )
    revocation_stale_s: float = Field(
        default=5.0,
        gt=0,
        description="Audited methods are refused when so long nothing was heard of revocations.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe line to write."
    )
    log_json: bool = Field(default=True, description="One JSON object a line; otherwise lines for people.")
    access_log_sample: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Share of successful calls that are logged; failures, slow and audited ones always are.",
    )
    access_log_slow_s: float = Field(default=1.0, gt=0, description="A unary call that takes longer is logged.")

    max_message_bytes: int = Field(
        default=1 << 20, gt=0, description="Largest request message; the transport's own limit is four times as high."
    )
    max_metadata_bytes: int = Field(
        default=32 << 10,
        ge=16 << 10,
        description="Most metadata of a call, as HTTP/2 counts them (each 32 bytes more); gRPC refuses what is more.",
    )
    message_timeout_s: float = Field(
        default=10.0, gt=0, description="How long a call's one message may come after its headers, before it is ended."
    )
    timeout_fast_s: float = Field(default=2.0, gt=0, description="Timeout of FAST methods where the caller sets none.")
    timeout_standard_s: float = Field(
        default=5.0, gt=0, description="Timeout of STANDARD methods where the caller sets none."
    )
    timeout_slow_s: float = Field(default=30.0, gt=0, description="Timeout of SLOW methods where the caller sets none.")
    start_timeout_s: float = Field(
        default=30.0, ge=0, description="How long a starting process waits for its database before it gives up."
    )
    drain_grace_s: float = Field(default=2.0, ge=0, description="How long streams may take to say goodbye at shutdown.")
    shutdown_grace_s: float = Field(
        default=5.0, ge=0, description="How long running calls may take to end at shutdown."
    )
    keepalive_s: float = Field(default=30.0, gt=0, description="Time between HTTP/2 pings on idle connections.")
    reflection: bool | None = Field(
        default=None, description="Serve gRPC reflection; unset means yes in development and no in production."
    )

    rate_limits: dict[str, Plan] = Field(
        default=DEFAULT_PLANS,
        description="Budgets as {plan: {rate class: [per second, burst]}}; a class left out has no limit.",
    )
    default_plan: str = Field(
        default="standard", description="Plan of callers whose credential names none that is known."
    )
    quota_store: Literal["redis", "local"] = Field(
        default="redis",
        description="Where budgets are kept: `redis`, one budget for all instances; `local`, one in each process.",
    )

    shedding: bool = Field(
        default=True, description="Refuse calls, the least urgent first, while more come in than can be served."
    )
    shed_target_s: float = Field(
        default=0.1, gt=0, description="How long calls may wait to be begun while more come in than can be served."
    )
    shed_burst_s: float = Field(
        default=1.0,
        ge=0,
        description="CPU time of the process for which calls may wait longer than that before any are refused.",
    )
    max_half_open_calls: int = Field(
        default=4000,
        gt=0,
        description="Most calls that may wait for their one message, some 8 kB each; more have the oldest ended.",
    )
    max_streams: int = Field(default=10_000, gt=0, description="Most open streams of this process.")
    max_streams_per_connection: int = Field(
        default=20_000,
        gt=0,
        description="Most calls and streams at a time on one connection; more are held back by the caller's gRPC, or "
        "refused with UNAVAILABLE. A gateway has one connection to each service.",
    )
    max_streams_per_principal: int = Field(
        default=1000,
        gt=0,
        description="Most open streams of one caller at this process; where nobody signed in, of one address. Services "
        "have no limit.",
    )

    database_pool_size: int = Field(default=8, gt=0, description="Most PostgreSQL connections of this process.")
    redis_pool_size: int = Field(default=50, gt=0, description="Most Redis connections of this process.")

    @property
    def production(self) -> bool:
        """Laptop defaults are refused."""
        return self.environment == "production"

    @property
    def reflection_enabled(self) -> bool:
        """gRPC reflection is served."""
        return not self.production if self.reflection is None else self.reflection

    @property
    def transport_limit_bytes(self) -> int:
        """Largest message that gRPC itself takes; above it there are no error details."""
        return 4 * self.max_message_bytes

    def timeout(self, timeout_class: str) -> float | None:
        """Seconds that a call of a timeout class may take where its caller says nothing; None for streams."""
        return {"FAST": self.timeout_fast_s, "STANDARD": self.timeout_standard_s, "SLOW": self.timeout_slow_s}.get(
            timeout_class
        )

    def address_of(self, service: str) -> str:
        """The address of another service, such as "trading-engine".

        Raises:
            KeyError: There is no such service.
        """
        return {
            "api-gateway": self.gateway_address,
            "auth-service": self.auth_address,
            "market-data": self.market_data_address,
            "analytics": self.analytics_address,
            "risk-management": self.risk_address,
            "trading-engine": self.trading_address,
            "registry": self.registry_address,
        }[service]

    @model_validator(mode="after")
    def _check_production(self) -> "ServiceSettings":
        if self.production:
            refuse_laptop_defaults(self)
        return self
