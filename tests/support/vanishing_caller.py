"""A caller that is in the midst of many calls of every arity until somebody kills it. Runs as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

import grpc

from tests.support.ping import ARITIES, SERVICE, Request

CALLS = {"sleep": 80, "": 20, "missing": 10, "hold": 60, "hold and refuse": 30}
"""Calls of each arity by what they ask for; when one ends, the next is made."""


async def call(channel: grpc.aio.Channel, name: str, act: str, token: str) -> None:
    """Makes one call, reading and writing for as long as it lasts."""
    path, metadata = f"/{SERVICE}/{name}", (("authorization", f"Bearer {token}"),)
    message = Request(act=act, count=50, padding=bytes(2000)).SerializeToString()

    async def messages() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield message

    match name:
        case "Unary":
            await channel.unary_unary(path)(message, metadata=metadata)
        case "ServerStream":
            async for _ in channel.unary_stream(path)(message, metadata=metadata):
                pass
        case "ClientStream":
            await channel.stream_unary(path)(messages(), metadata=metadata)
        case _:
            async for _ in channel.stream_stream(path)(messages(), metadata=metadata):
                pass


async def work(channel: grpc.aio.Channel, name: str, act: str, token: str) -> None:
    """One call after the other."""
    while True:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call(channel, name, act, token)


async def main(address: str, token: str) -> None:
    """Calls until killed."""
    async with grpc.aio.insecure_channel(address) as channel:
        acts = [act for act, number in CALLS.items() for _ in range(number)]
        await asyncio.gather(*(work(channel, name, act, token) for name in ARITIES for act in acts))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
