"""market-data: what happens in the markets, derived from the trading engine's committed events."""

from collections.abc import Sequence

from aac.trading.v1.venue_pb2_grpc import VenueServiceStub

from aac_grpc.common.resources import Resources
from aac_grpc.common.server import Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.servicers.market_data.repository import TradesRepository
from aac_grpc.servicers.market_data.servicer import MarketDataServicer
from aac_grpc.servicers.market_data.settings import MarketDataSettings
from aac_grpc.servicers.market_data.venues import Venues


def build(resources: Resources) -> Sequence[Servicer]:
    """Composes the process."""
    settings = resources.settings
    assert isinstance(settings, MarketDataSettings)
    trades = TradesRepository(resources.database)
    engine = resources.channels.stub(VenueServiceStub, "trading-engine")
    venues = Venues(engine, trades, resources.tasks, settings.followed_venues)
    return [MarketDataServicer(venues, trades, resources.clock, settings.max_subscriptions)]


service = Service(
    name="market-data",
    settings=MarketDataSettings,
    build=build,
    migrations="aac_grpc.servicers.market_data.migrations",
    requires=("postgresql",),
    stateless=True,
)
