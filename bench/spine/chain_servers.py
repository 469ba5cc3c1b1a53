"""`python -m bench.spine.chain_servers bare|chain`: one handler, with nothing around it or with all of ours.

Both are processes on uvloop with the transport options of our servers, and gRPC's threads in the background of the
event loop; they differ in what stands between the transport and the handler.
"""

import asyncio
import signal
import sys
from typing import Any

import grpc
import uvloop
from aac.marketdata.v1 import marketdata_pb2 as pb
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceServicer, add_MarketDataServiceServicer_to_server

from aac_grpc.common.process import background_threads
from aac_grpc.common.server import Server, Service, server_options
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.settings import ServiceSettings

SERVICE = "market-data"


class Quotes(MarketDataServiceServicer):
    """Answers GetQuotes with the same quote each time."""

    async def GetQuotes(self, request: pb.GetQuotesRequest, context: Any) -> pb.GetQuotesResponse:
        quote = pb.Quote(
            venue="main", symbol=request.symbols[0], bid_price="570.12", bid_quantity="100", ask_price="570.15",
            ask_quantity="300", last_price="570.12", last_quantity="20", depth_sequence=123_456,
        )  # fmt: skip
        return pb.GetQuotesResponse(quotes=[quote])


class ServedQuotes(Servicer, Quotes):
    """The same as a servicer of the base."""


async def serve_bare(settings: ServiceSettings) -> None:
    """Serves the handler by grpc.aio alone, until SIGTERM."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    with background_threads():
        server = grpc.aio.server(options=server_options(settings))
        add_MarketDataServiceServicer_to_server(Quotes(), server)
        server.add_insecure_port(f"{settings.grpc_host}:{settings.grpc_port}")
        await server.start()
    await told.wait()
    await server.stop(None)


if __name__ == "__main__":
    if sys.argv[1] == "bare":
        uvloop.run(serve_bare(ServiceSettings()))
    else:
        Server(Service(SERVICE, ServiceSettings, lambda resources: [ServedQuotes()], stateless=True)).run()
