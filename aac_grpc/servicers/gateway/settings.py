"""What api-gateway is told by its environment."""

from pydantic import Field

from aac_grpc.common.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """API keys and watchers."""

    max_streams_per_connection: int = Field(
        2000,
        gt=0,
        description="Most calls and streams at a time on one connection; more are held back by the caller's gRPC, or "
        "refused with UNAVAILABLE.",
    )
    max_metadata_bytes: int = Field(
        16 << 10,
        ge=1 << 10,
        description="Most metadata of a call, as HTTP/2 counts them (each 32 bytes more); gRPC refuses what is more. "
        "Services take more, since the gateway adds its own.",
    )
    api_key_cache_size: int = Field(10_000, ge=1, description="API keys whose tokens are remembered.")
    api_key_ttl_s: float = Field(
        60.0, gt=0, description="How long an API key's token is used before the key is exchanged again."
    )
    api_key_refusal_ttl_s: float = Field(
        5.0, gt=0, description="How long a refused API key is refused without asking auth-service again."
    )
    event_watchers: int = Field(32, ge=1, description="Most streams of domain events; each reads Kafka for itself.")
    event_watchers_per_user: int = Field(8, ge=1, description="Most streams of domain events of one user.")
    heartbeat_s: float = Field(5.0, gt=0, description="Time without a frame before a heartbeat, on streams of events.")
