"""`python -m bench.mesh.crowd_server`: market-data's double for crowds: quotes, and streams that send waves of frames.

AAC_BENCH_WAVE_S says how many seconds are between two frames of a stream.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from aac.marketdata.v1 import marketdata_pb2 as pb
from aac.type.v1.stream_pb2 import FRAME_KIND_HEARTBEAT, StreamHeader

from aac_grpc.common.encoded import Encoded
from aac_grpc.common.server import Server, Service
from aac_grpc.common.settings import ServiceSettings
from bench.spine.chain_servers import SERVICE, ServedQuotes

WAVE_S = float(os.environ.get("AAC_BENCH_WAVE_S", "5"))
FRAME = pb.StreamResponse(header=StreamHeader(kind=FRAME_KIND_HEARTBEAT)).SerializeToString()


class Crowd(ServedQuotes):
    """Quotes at once; a stream sends a frame as soon as it is open, and then one each wave."""

    async def Stream(self, requests: AsyncIterator[pb.StreamRequest], context: Any) -> AsyncIterator[Any]:
        await anext(requests)
        while True:
            yield Encoded(FRAME, 1)
            await asyncio.sleep(WAVE_S)


if __name__ == "__main__":
    Server(Service(SERVICE, ServiceSettings, lambda resources: [Crowd()])).run()
