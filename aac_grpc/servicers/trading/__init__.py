"""trading-engine: venues, their orders, accounts and positions, and the journal that all of it follows."""

from aac.risk.v1.risk_pb2_grpc import RiskServiceStub

from aac_grpc.common.peers import Peers
from aac_grpc.common.resources import Resources
from aac_grpc.common.server import Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.servicers.trading.engines import Engines
from aac_grpc.servicers.trading.exchange import Exchange
from aac_grpc.servicers.trading.failpoints import Failpoint
from aac_grpc.servicers.trading.leases import Leases
from aac_grpc.servicers.trading.open_venue import Means
from aac_grpc.servicers.trading.repository import Repository
from aac_grpc.servicers.trading.risk import DEPENDENCY, RiskCheck
from aac_grpc.servicers.trading.routing import Router
from aac_grpc.servicers.trading.servicer import TradingServicer
from aac_grpc.servicers.trading.settings import TradingSettings
from aac_grpc.servicers.trading.sharing import Sharing
from aac_grpc.servicers.trading.venue_servicer import VenueServicer
from aac_grpc.servicers.trading.venue_table import VenueTable
from aac_grpc.servicers.trading.writers import Writers


def build(resources: Resources) -> list[Servicer]:
    """Composes the engine on a process's resources."""
    settings = resources.settings
    assert isinstance(settings, TradingSettings)
    database = resources.database
    means = Means(
        database=database,
        publisher=resources.events,
        risk=RiskCheck(resources.channels.stub(RiskServiceStub, DEPENDENCY), settings.risk_timeout_s),
        clock=resources.clock,
        tasks=resources.tasks,
        settings=settings,
        failpoint=Failpoint.parse(settings.failpoint),
    )
    table, repository, peers = VenueTable(database), Repository(database), Peers(resources.service, resources.channels)

    def address() -> str:
        return resources.address

    leases, writers = (
        Leases(database, settings.instance_id, settings.venue_lease_s),
        Writers(settings.venue_lease_s, address),
    )
    exchange = Exchange(table, leases, writers, means)
    engines = Engines(database, settings.instance_id, settings.venue_lease_s)
    sharing = Sharing(exchange, table, engines, resources.tasks, address, settings.venue_lease_s)
    router = Router(exchange, sharing, peers, limit_s=settings.writer_wait_s, max_waiting=settings.queue_requests)
    return [
        VenueServicer(exchange, sharing, router, peers, repository, settings.feed_chunk_rows),
        TradingServicer(router, peers, table, repository),
    ]


service = Service(
    name="trading-engine",
    settings=TradingSettings,
    build=build,
    migrations="aac_grpc.servicers.trading.migrations",
    requires=("postgresql",),
)
