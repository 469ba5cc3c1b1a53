"""risk-management: limits, verdicts on orders, exposure."""

from collections.abc import Sequence

from aac_grpc.common.changes import Changes
from aac_grpc.common.outbox import Relay
from aac_grpc.common.resources import Resources
from aac_grpc.common.server import Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.servicers.risk.holdings import Holdings
from aac_grpc.servicers.risk.repository import LimitsRepository
from aac_grpc.servicers.risk.servicer import RiskServicer
from aac_grpc.servicers.risk.settings import RiskSettings


def build(resources: Resources) -> Sequence[Servicer]:
    """Composes risk-management."""
    settings, database = resources.settings, resources.database
    assert isinstance(settings, RiskSettings)
    limits = LimitsRepository(
        database, resources.cache, resources.clock, settings.default_limits(), settings.limits_ttl_s
    )
    resources.tasks.spawn(Relay(database, resources.events).run, name="outbox")
    resources.prune("outbox", "client_keys")
    return [RiskServicer(limits, Changes(database), Holdings(resources.channels))]


service = Service(
    name="risk-management",
    settings=RiskSettings,
    build=build,
    migrations="aac_grpc.servicers.risk.migrations",
    stateless=True,
)
