"""What risk-management is told by its environment."""

from aac.risk.v1.risk_pb2 import Limits
from pydantic import Field, field_validator

from aac_grpc.common.settings import ServiceSettings
from aac_grpc.domain.decimals import parse_decimal


class RiskSettings(ServiceSettings):
    """The limits of accounts that have none of their own; an empty one is no limit."""

    default_max_order_quantity: str = Field("1000000", description="Largest quantity of one order; empty: any.")
    default_max_order_notional: str = Field(
        "100000000", description="Largest price x quantity of one order, in the account's currency; empty: any."
    )
    default_price_band: str = Field(
        "0.5", description="Largest distance of a price from the reference price, as a share of it; empty: any."
    )
    default_max_position: str = Field("10000000", description="Largest position in one instrument; empty: any.")
    default_max_open_orders: int = Field(10_000, ge=0, description="Most open orders of an account; 0: any number.")
    limits_ttl_s: float = Field(
        60.0, gt=0, description="How long limits are believed if the word that they changed is lost."
    )

    @field_validator(
        "default_max_order_quantity", "default_max_order_notional", "default_price_band", "default_max_position"
    )
    @classmethod
    def _check_decimal(cls, text: str) -> str:
        if text and parse_decimal(text) <= 0:
            raise ValueError("must be above zero")
        return text

    def default_limits(self) -> Limits:
        """The defaults as a message."""
        return Limits(
            max_order_quantity=self.default_max_order_quantity,
            max_order_notional=self.default_max_order_notional,
            price_band=self.default_price_band,
            max_position=self.default_max_position,
            max_open_orders=self.default_max_open_orders,
        )
