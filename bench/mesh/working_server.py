"""`python -m bench.mesh.working_server`: our server around methods of each priority that all cost the same CPU time.

AAC_BENCH_WORK_MS says how much. CPU time, so that a method costs as much while other processes take turns with it.
"""

import os
import time
from typing import Any

from aac.marketdata.v1 import marketdata_pb2
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceServicer
from aac.trading.v1 import trading_pb2
from aac.trading.v1.trading_pb2_grpc import TradingServiceServicer

from aac_grpc.common.server import Server, Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.settings import ServiceSettings

SERVICE = "trading-engine"
WORK_S = float(os.environ.get("AAC_BENCH_WORK_MS", "10")) / 1000


def work() -> None:
    """Uses up the CPU time of one call."""
    until = time.thread_time() + WORK_S
    while time.thread_time() < until:
        pass


class Markets(Servicer, MarketDataServiceServicer):
    """LOW and NORMAL."""

    async def ListTrades(self, request: Any, context: Any) -> Any:
        work()
        return marketdata_pb2.ListTradesResponse()

    async def GetQuotes(self, request: Any, context: Any) -> Any:
        work()
        return marketdata_pb2.GetQuotesResponse()


class Orders(Servicer, TradingServiceServicer):
    """HIGH and CRITICAL."""

    async def AmendOrder(self, request: Any, context: Any) -> Any:
        work()
        return trading_pb2.AmendOrderResponse()

    async def CancelOrder(self, request: Any, context: Any) -> Any:
        work()
        return trading_pb2.CancelOrderResponse()


def build(resources: Any) -> list[Servicer]:
    """Both. What they do not implement nobody calls."""
    for servicer in (Markets, Orders):
        servicer.__abstractmethods__ = frozenset()
    return [Markets(), Orders()]


if __name__ == "__main__":
    Server(Service(SERVICE, ServiceSettings, build)).run()
