"""What api-gateway is told by its environment."""

from pydantic import Field

from aac_grpc.common.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """API keys and watchers."""

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
