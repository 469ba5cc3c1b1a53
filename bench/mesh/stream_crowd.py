"""`python -m bench.mesh.stream_crowd ADDRESS COUNT CONNECTIONS CREDENTIAL...`: holds streams open and reads them.

All are opened at once. A line of JSON says how that went, another, once standard input ends, how they fared.
"""

import asyncio
import json
import sys
import time
from collections import Counter

import grpc
import uvloop
from aac.marketdata.v1 import marketdata_pb2 as pb

PATH = "/aac.marketdata.v1.MarketDataService/Stream"
FIRST_WITHIN_S = 60.0


class Crowd:
    """The streams.

    Attributes:
        failures: How many streams ended, by their status.
        frames: Frames that came.
        open: Streams whose first frame came.
    """

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self.frames = 0
        self.open = 0

    async def follow(self, channel: grpc.aio.Channel, credential: str, opened: asyncio.Event) -> None:
        """Reads one stream until it is cancelled; `opened` is set when it is known whether it opens."""
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(PATH)
        call = method(metadata=(("authorization", credential),))
        try:
            await call.write(pb.StreamRequest().SerializeToString())
            while await call.read() is not grpc.aio.EOF:
                self.frames += 1
                self.open += not opened.is_set()
                opened.set()
            self.failures["ended"] += 1
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            code = await call.code()
            self.failures[code.name if code is not None else "lost"] += 1
        finally:
            call.cancel()
            opened.set()

    def tell(self, seconds: float) -> None:
        """How it went so far."""
        print(
            json.dumps({"open": self.open, "frames": self.frames, "failures": self.failures, "seconds": seconds}),
            flush=True,
        )


async def main(address: str, count: int, connections: int, credentials: list[str]) -> None:
    """Opens, says so, holds, says how it was."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(connections)]
    crowd, began = Crowd(), time.perf_counter()
    opened = [asyncio.Event() for _ in range(count)]
    following = [
        asyncio.create_task(crowd.follow(channels[at % connections], credentials[at % len(credentials)], opened[at]))
        for at in range(count)
    ]
    async with asyncio.timeout(FIRST_WITHIN_S):
        await asyncio.gather(*(one.wait() for one in opened))
    crowd.tell(time.perf_counter() - began)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    crowd.tell(time.perf_counter() - began)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
