"""What each interceptor costs a call: the chain with it and without it, in one process and without a network."""

import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from pydantic import SecretStr

from aac_grpc.common.call import Call, Principal
from aac_grpc.common.chain import handlers_of, inner_chain, outer_chain
from aac_grpc.common.contract import policy_of
from aac_grpc.common.expiry import Expiry
from aac_grpc.common.interceptors.adapter import INVOCATION_METADATA, MethodAdapter, Serving
from aac_grpc.common.interceptors.auth import Authentication
from aac_grpc.common.interceptors.drain import OpenStreams
from aac_grpc.common.interceptors.half_open import HalfOpenCalls
from aac_grpc.common.interceptors.hooks import Interceptor, compose
from aac_grpc.common.server import Server, Service
from aac_grpc.common.settings import ServiceSettings
from bench.authority import Authority, authority
from bench.mesh.backends import backends
from bench.mesh.servers import PATH, REQUEST, UNLIMITED
from bench.options import Options
from bench.pairs import PAIRS, QUICK_PAIRS, by_turns, single
from bench.report import Row
from bench.spine.chain_servers import SERVICE, ServedQuotes

RAW = REQUEST.SerializeToString()
WHAT = (
    "CPU of the event loop's thread for each GetQuotes by one user that goes through our adapter in one process, from"
    " bytes to bytes, with nothing of gRPC around it; all variants by turns"
)
Serve = Callable[[bytes, Any], Awaitable[Any]]


class QuietContext:
    """What the chain asks of gRPC's context, answered at once."""

    def time_remaining(self) -> float:
        """Seconds until the caller's deadline."""
        return 30.0

    def peer(self) -> str:
        """The caller's address."""
        return "ipv4:127.0.0.1:50000"

    def trailing_metadata(self) -> tuple[()]:
        """None so far."""
        return ()

    def set_trailing_metadata(self, metadata: object) -> None:
        """Takes them."""

    async def abort(self, code: grpc.StatusCode, message: str, metadata: object) -> None:
        """The chain refuses the call, which no bench wants.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(f"the call was refused: {code.name} {message}")


class Assumed(Interceptor):
    """Stands where authentication is left out: what comes after it asks who the caller is."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    def on_start(self, call: Call) -> None:
        """Assumes one."""
        call.principal = self._principal


async def measure_interceptors(options: Options) -> AsyncIterator[Row]:
    """A row for each interceptor of the chain, one for all of them, one for the adapter that runs them."""
    calls, rounds = options.pick(4000, 1000), options.pick(2 * PAIRS + 1, QUICK_PAIRS)
    async with backends("REDIS_URL") as urls, authority() as signer, _server(signer, urls) as server:
        credential = f"Bearer {signer.token(['market:read'], plan='bench')}"
        INVOCATION_METADATA.set([("authorization", credential)])
        assumed = Assumed(await server.resources.verifier.verify(credential))
        chain = [*outer_chain(server.resources), *inner_chain(server.resources, (), ())]
        handler = handlers_of(server.servicers[0])[PATH]
        variants = {"chain": adapted(chain, handler), "adapter": adapted([], handler), "handler": plain(handler)}
        for one in chain:
            instead = [assumed] if isinstance(one, Authentication) else []
            at = chain.index(one)
            variants[noun_of(one)] = adapted([*chain[:at], *instead, *chain[at + 1 :]], handler)
        # The first call of each verifies the token and opens what is opened late.
        for serve in variants.values():
            await serve(RAW, QuietContext())
        runs = await by_turns({name: timed(serve, calls) for name, serve in variants.items()}, rounds)
    for one in chain:
        yield to_row(noun_of(one), [run["chain"] - run[noun_of(one)] for run in runs], calls)
    yield to_row("all", [run["chain"] - run["adapter"] for run in runs], calls)
    yield to_row("adapter", [run["adapter"] - run["handler"] for run in runs], calls)


def noun_of(interceptor: Interceptor) -> str:
    """Its name in a row, such as "access_log"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(interceptor).__name__).lower()


def to_row(noun: str, costs: Sequence[float], calls: int) -> Row:
    """The row of differences in seconds of CPU."""
    compared = {
        "all": "the chain and the adapter with no interceptor",
        "adapter": "the adapter with no interceptor and the bare handler with its parsing and serializing",
    }.get(noun, "the chain with it and without it")
    return single(
        f"mesh.interceptor_us_{noun}",
        [cost * 1e6 for cost in costs],
        "us CPU/call",
        detail=f"difference between {compared}, {calls} calls each; {WHAT}",
    )


def adapted(chain: Sequence[Interceptor], handler: Any) -> Serve:
    """The method behind these interceptors."""
    policy = policy_of(PATH)
    serving = Serving(Expiry(), OpenStreams(), HalfOpenCalls(ServiceSettings()), 1 << 20, str)
    return MethodAdapter(policy, handler, compose(chain, policy), serving).serve


def plain(handler: "grpc.RpcMethodHandler[Any, Any]") -> Serve:
    """The method as gRPC would serve it by itself."""

    async def serve(raw: bytes, context: Any) -> bytes:
        return handler.response_serializer(await handler.unary_unary(handler.request_deserializer(raw), context))  # type: ignore[misc]

    return serve


def timed(serve: Serve, calls: int) -> Callable[[], Awaitable[float]]:
    """CPU seconds of this thread for each of so many calls."""

    async def measure() -> float:
        began = time.thread_time()
        for _ in range(calls):
            await serve(RAW, QuietContext())
        return (time.thread_time() - began) / calls

    return measure


@asynccontextmanager
async def _server(signer: Authority, urls: Mapping[str, str]) -> AsyncIterator[Server]:
    settings = ServiceSettings(
        grpc_port=0,
        admin_port=0,
        auth_address=signer.address,
        registry_address="",
        rate_limits=json.loads(json.dumps(UNLIMITED)),
        redis_url=SecretStr(urls["REDIS_URL"]),
        access_log_sample=0,
    )
    server = Server(Service(SERVICE, ServiceSettings, lambda resources: [ServedQuotes()]), settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
