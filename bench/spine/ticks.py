"""How many ticks market-data hands to its subscribers in a second."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from aac.type.v1 import stream_pb2

from aac_grpc.backends.embedded import EmbeddedBackends
from aac_grpc.backends.state import StateDirectory
from bench.authority import Authority, authority
from bench.installation import folder_for_all, free_offset
from bench.machine import ROOT
from bench.options import Options
from bench.processes import START_TIMEOUT_S, STOP_TIMEOUT_S, cpu_seconds, end, free_port, program
from bench.report import Row
from bench.spine.orders import unlimited
from bench.spine.venue_source import BATCH_ROWS, SYMBOL, Batch, PreparedVenue, VenueSource, serving

TICKS = {1: 120_000, 100: 60_000, 1000: 15_000}
"""Ticks that each subscriber gets, by the number of subscribers."""
QUICK_TICKS = {1: 20_000, 100: 5_000, 1000: 1_500}
RUN_WITHIN_S = 180.0
WHAT = (
    "subscribers of trades and depth of one instrument on MarketDataService.Stream, each on a connection of its own, in"
    " one process that counts frames by their headers; market-data is the real process with the whole chain on real"
    " PostgreSQL, where it keeps every trade meanwhile; a stand-in for the engine streams a simulated market's events"
    f" (the domain's venue, the engine's encoding, {BATCH_ROWS} feed rows a batch) as fast as market-data takes them"
)


async def measure_ticks(options: Options) -> AsyncIterator[Row]:
    """One run for each number of subscribers, each with a market-data process of its own."""
    wanted = options.pick(TICKS, QUICK_TICKS)
    options.say("simulating a market ...")
    venue = await asyncio.to_thread(PreparedVenue, max(wanted.values()))
    with folder_for_all() as folder:
        backends = EmbeddedBackends(StateDirectory(folder / "state"), free_offset(), variables=("DATABASE_URL",))
        async with backends, authority() as signer:
            for run, (subscribers, ticks) in enumerate(wanted.items(), 1):
                batches = venue.until(ticks)
                async with serving(VenueSource(venue, batches, epoch=run)) as source:
                    yield await run_readers(subscribers, batches[-1], source, signer, backends.urls)


async def run_readers(
    subscribers: int, last: Batch, source: VenueSource, signer: Authority, urls: Mapping[str, str]
) -> Row:
    """Has so many subscribers read everything."""
    port = free_port()
    environment = {
        **urls,
        "AAC_GRPC_PORT": str(port),
        "AAC_ADMIN_PORT": "0",
        "AAC_AUTH_ADDRESS": signer.address,
        "AAC_TRADING_ADDRESS": source.address,
        "AAC_REGISTRY_ADDRESS": "",
        "AAC_RATE_LIMITS": json.dumps(unlimited()),
    }
    order = {
        "address": f"127.0.0.1:{port}",
        "token": signer.token(["market:read"]),
        "readers": subscribers,
        "symbol": SYMBOL,
        "last": {stream_pb2.TOPIC_TRADES: last.trade_sequence, stream_pb2.TOPIC_DEPTH: last.depth_sequence},
        "seconds": RUN_WITHIN_S,
    }
    async with program("-m", "aac_grpc.cli.serve", "market-data", environment=environment) as server:
        await _await_server(order["address"])  # type: ignore[arg-type]
        async with _readers(order) as readers:
            await _line(readers)  # "ready"
            before = cpu_seconds(server.pid)
            source.go.set()
            tally = json.loads(await _line(readers))
            used = cpu_seconds(server.pid) - before
    return to_row(subscribers, tally, used)


def to_row(subscribers: int, tally: Mapping[str, Any], cpu: float) -> Row:
    """The row of one run."""
    seconds, ticks = tally["last"] - tally["first"], tally["ticks"]
    how = (
        f"{ticks:,} ticks in {seconds:.2f} s from the first to the last; {ticks / max(tally['frames'], 1):.0f} ticks"
        f" and {tally['bytes'] / max(tally['frames'], 1) / 1024:.1f} KiB a frame, {tally['gaps']} gaps; CPU of"
        f" market-data {cpu:.1f} s, {cpu / ticks * 1e6:.2f} us a tick delivered. {subscribers} {WHAT}"
    )
    return Row(f"spine.ticks_delivered_per_s_{subscribers}", ticks / seconds, "ticks/s", detail=how)


async def _await_server(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(START_TIMEOUT_S):
        await channel.channel_ready()


@asynccontextmanager
async def _readers(order: Mapping[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.spine.tick_readers",
        json.dumps(order),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        await end(process, STOP_TIMEOUT_S)


async def _line(process: asyncio.subprocess.Process) -> str:
    """The next line that a program prints.

    Raises:
        RuntimeError: It ended instead.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(RUN_WITHIN_S):
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"the readers ended: {(await process.stderr.read()).decode()[-1000:]}")
    return line.decode()
