"""Settings of market-data."""

from pydantic import Field

from aac_grpc.common.settings import ServiceSettings


class MarketDataSettings(ServiceSettings):
    """What market-data is told by its environment, on top of what every service is."""

    followed_venues: int = Field(default=256, gt=0, description="Venues that market-data follows at once, at most.")
    max_subscriptions: int = Field(
        default=1000, gt=0, description="Subscriptions that one market data stream may have at once."
    )
