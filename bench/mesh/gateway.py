"""What the gateway adds to a unary call: CPU and time, against the same call made to the service directly."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from statistics import median

from bench import cores
from bench.authority import authority
from bench.callers.remote import DESCRIPTION, RemoteCallers, Run, calling
from bench.mesh.proxied import Proxied, proxied
from bench.mesh.servers import quotes, tokens
from bench.options import Options
from bench.pairs import PAIRS, QUICK_PAIRS, by_turns, compare
from bench.report import Row

CALLERS = 50
CONNECTIONS = 5
STEADY = 100.0
"""Calls a second at which the time that the gateway adds is measured: few enough not to wait for each other."""


async def measure_gateway(options: Options) -> AsyncIterator[Row]:
    """CPU in a closed loop, then latency at a low steady rate; each call by turns directly and through the gateway."""
    seconds, rounds = options.pick(1.5, 0.5), options.pick(PAIRS, QUICK_PAIRS)
    async with AsyncExitStack() as stack:
        signer = await stack.enter_async_context(authority())
        both = await stack.enter_async_context(proxied(signer))
        direct, through, gateway_alone = await _callers(stack, both, tokens(signer))

        async def busy(callers: RemoteCallers) -> Run:
            return await callers.run(callers=CALLERS, seconds=seconds)

        async def steady(callers: RemoteCallers) -> Run:
            return await callers.run(callers=CALLERS, seconds=2 * seconds, rate=STEADY)

        runs = await by_turns(
            {"direct": lambda: busy(direct), "through": lambda: busy(through), "alone": lambda: busy(gateway_alone)},
            rounds,
        )
        calm = await by_turns({"direct": lambda: steady(direct), "through": lambda: steady(through)}, rounds)
    yield compare(
        "mesh.gateway_cpu_vs_direct",
        [(one["direct"].cpu_per_call, one["through"].cpu_per_call) for one in runs],
        "us server CPU/call",
        scale=1e6,
        detail="gateway and service together, against the service called directly; of it the gateway alone"
        f" {median(one['alone'].cpu_per_call for one in runs) * 1e6:.0f} us; {CALLERS} callers in a closed loop on"
        f" {CONNECTIONS} connections for {seconds} s each; GetQuotes, the whole chain in the service; gateway and"
        f" service share a core; {cores.describe()}; {DESCRIPTION}",
    )
    yield compare(
        "mesh.gateway_added_ms_p50",
        [(one["direct"].p50, one["through"].p50 - one["direct"].p50) for one in calm],
        "ms",
        scale=1e3,
        detail=f"p50 through the gateway less p50 directly, beside the latter; open loop of {STEADY:.0f} calls/s;"
        f" {cores.describe()}",
    )


async def _callers(
    stack: AsyncExitStack, both: Proxied, credentials: list[str]
) -> tuple[RemoteCallers, RemoteCallers, RemoteCallers]:
    """Callers of the service, of the gateway at the cost of both, of the gateway at its own cost."""
    directly = quotes(both.service, credentials, CONNECTIONS)
    through = quotes(both.gateway, credentials, CONNECTIONS)
    return (
        await stack.enter_async_context(calling(directly, both.service_pid)),
        await stack.enter_async_context(calling(through, both.service_pid, both.gateway_pid)),
        await stack.enter_async_context(calling(through, both.gateway_pid)),
    )
