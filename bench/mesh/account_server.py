"""`python -m bench.mesh.account_server NAME`: a service of ours that asks the database twice for each call."""

import asyncio
import sys
from typing import Any

from aac.marketdata.v1 import marketdata_pb2 as pb
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceServicer

from aac_grpc.common.database import Database
from aac_grpc.common.resources import Resources
from aac_grpc.common.server import Server, Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.settings import ServiceSettings
from bench.mesh.account_work import ACCOUNT, DOWNSTREAM_S, ORDERS


class AccountWork(Servicer, MarketDataServiceServicer):
    """GetQuotes does the work: it needs no account of its own to be allowed."""

    def __init__(self, resources: Resources) -> None:
        self._database: Database = resources.database

    async def GetQuotes(self, request: pb.GetQuotesRequest, context: Any) -> pb.GetQuotesResponse:
        account = await self._database.fetch_one(ACCOUNT.decode())
        await asyncio.sleep(DOWNSTREAM_S)
        orders = await self._database.fetch_one(ORDERS.decode())
        assert account is not None
        assert orders is not None
        quote = pb.Quote(venue="main", symbol=account["account"], last_quantity=str(orders["orders"]))
        return pb.GetQuotesResponse(quotes=[quote])


if __name__ == "__main__":
    Server(Service(sys.argv[1], ServiceSettings, lambda resources: [AccountWork(resources)])).run()
