"""analytics: indicators on candles, performance from executions."""

from collections.abc import Sequence

from aac_grpc.common.executor import BoundedExecutor
from aac_grpc.common.resources import Resources
from aac_grpc.common.server import Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.servicers.analytics import projection as projections
from aac_grpc.servicers.analytics.candle_source import CandleSource
from aac_grpc.servicers.analytics.projection import Projection
from aac_grpc.servicers.analytics.servicer import AnalyticsServicer
from aac_grpc.servicers.analytics.settings import AnalyticsSettings


async def build(resources: Resources) -> Sequence[Servicer]:
    """Composes analytics, which begins to read events."""
    settings = resources.settings
    assert isinstance(settings, AnalyticsSettings)
    projection = Projection(resources.database)
    await projection.begin(settings.projection_generation)
    consumer = resources.consumer(
        projections.TOPICS, group=f"analytics-{settings.projection_generation}", handler=projections.apply
    )
    resources.tasks.spawn(consumer.run, name="events")
    resources.prune("inbox")
    candles = CandleSource(resources.channels, limit=settings.default_candles, max_candles=settings.max_candles)
    executor = BoundedExecutor("compute", threads=settings.compute_threads, waiting=settings.compute_queue)
    return [AnalyticsServicer(candles, projection, executor, settings.max_indicator_values)]


service = Service(
    name="analytics",
    settings=AnalyticsSettings,
    build=build,
    migrations="aac_grpc.servicers.analytics.migrations",
    stateless=True,
)
