"""What analytics is told by its environment."""

from pydantic import Field

from aac_grpc.common.settings import ServiceSettings


class AnalyticsSettings(ServiceSettings):
    """Bounds of one computation, and which reading of the events is in force."""

    default_candles: int = Field(10_000, ge=1, description="Candles that indicators are computed on without a range.")
    max_candles: int = Field(50_000, ge=1, description="Most candles of one computation.")
    max_indicator_values: int = Field(
        300_000, ge=1, description="Most values in one answer: candles times the series of all indicators."
    )
    compute_threads: int = Field(2, ge=1, description="Computations that run at once.")
    compute_queue: int = Field(32, ge=0, description="Computations that wait for a thread; more are refused.")
    projection_generation: int = Field(
        1, ge=1, description="Raise it to have executions read again from the beginning of their Kafka topics."
    )
