"""Settings of the trading engine."""

from pydantic import Field, model_validator

from aac_grpc.common.settings import ServiceSettings
from aac_grpc.servicers.trading.failpoints import Failpoint


class TradingSettings(ServiceSettings):
    """What the trading engine is told beside what every service is told."""

    venue_lease_s: float = Field(
        default=2.0, gt=0.2, le=60, description="How long an instance may write a venue without renewing that right."
    )
    writer_wait_s: float = Field(
        default=8.0,
        gt=0,
        description="How long a call waits, within its deadline, for the venue's writer while that changes.",
    )
    batch_orders: int = Field(default=512, gt=0, description="Most requests that share one transaction of a venue.")
    feed_chunk_rows: int = Field(
        default=500, gt=0, le=5000, description="Rows of a feed in one transaction: what an order may have to wait for."
    )
    queue_requests: int = Field(
        default=4096, gt=0, description="Most requests that wait for a venue's writer; further ones are refused."
    )
    risk_timeout_s: float = Field(
        default=1.0,
        gt=0,
        description="How long risk-management may take to judge a batch of orders.",
    )
    commit_timeout_s: float = Field(
        default=5.0, gt=0, description="How long one transaction of a venue's writer may take."
    )
    outcome_timeout_s: float = Field(
        default=3.0,
        gt=0,
        description="How long callers wait to learn whether a broken COMMIT was made before they are told so.",
    )
    snapshot_events: int = Field(
        default=20_000, gt=0, description="Events after which a venue's state is saved, so that recovery is short."
    )
    failpoint: str = Field(
        default="",
        description="Kills the process at a step, such as `before_commit:3`; for crash tests, refused in production.",
    )

    @model_validator(mode="after")
    def _check_failpoint(self) -> "TradingSettings":
        Failpoint.parse(self.failpoint)
        if self.failpoint and self.production:
            raise ValueError("AAC_FAILPOINT is for tests; unset it in production")
        return self
