"""A thousand users and a thousand streams at once, through one gateway, each of the parts a process of its own."""

from __future__ import annotations

import asyncio
import resource

import psutil
import pytest

from bench.authority import authority
from bench.callers.remote import calling
from bench.cores import allow_open_files
from bench.mesh.proxied import proxied
from bench.mesh.servers import quotes, tokens
from bench.mesh.users import kb_per_stream, maximum_rate, rss, steady_users, streams
from tests.integration.odd_processes import odd_processes

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]

THOUSAND = 1000
SHARE = 0.5
"""Of what the machine holds at the time, which it may hold no more a moment later."""
ATTEMPTS = 3


async def test_a_thousand_users_and_a_thousand_streams_are_served() -> None:
    allow_open_files()
    async with authority() as signer, proxied(signer) as both:
        credentials, pids = tokens(signer), (both.gateway_pid, both.service_pid)
        async with calling(quotes(both.gateway, credentials), *pids) as callers:
            await maximum_rate(callers, 2.0)
            before = [rss(pid) for pid in pids]
            async with streams(both.gateway, credentials) as held:
                assert (held.opened.open, held.opened.failures) == (THOUSAND, {})
                assert max(kb_per_stream(pids, before, THOUSAND)) < 150
                for _ in range(ATTEMPTS):
                    rate = await maximum_rate(callers, 2.0)
                    run = await steady_users(callers, SHARE * rate, 6.0)
                    if run.error_rate < 0.01:
                        break
                fared = await held.close()
        assert run.error_rate < 0.01, run
        assert fared.failures == {}
        assert fared.frames > THOUSAND


async def test_a_burst_of_connections_finds_the_limit_of_open_files_raised() -> None:
    """Most systems begin with 1,024; what may be had is far more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        async with odd_processes() as (gateway, _):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert gateway.process.rlimit(psutil.RLIMIT_NOFILE)[0] > 2 * THOUSAND
            host, port = gateway.address.split(":")
            idle = await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in range(THOUSAND)))
            try:
                for reader, _ in idle:  # the frame of the server's settings: it has accepted the connection
                    await asyncio.wait_for(reader.readexactly(9), 60)
            finally:
                for _, writer in idle:
                    writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_few_busy_connections_do_not_starve_the_others() -> None:
    """One user who keeps a thousand calls in flight on one connection, and fifty who make one at a time."""
    allow_open_files()
    async with authority() as signer, proxied(signer, {"AAC_SHEDDING": "false"}) as both:
        credentials = tokens(signer)
        async with (
            calling(quotes(both.gateway, credentials[:1], connections=1), both.gateway_pid) as greedy,
            calling(quotes(both.gateway, credentials[1:]), both.gateway_pid) as modest,
        ):
            await asyncio.gather(greedy.run(callers=100, seconds=1), modest.run(callers=50, seconds=1))
            crowd, few = await asyncio.gather(greedy.run(callers=950, seconds=5), modest.run(callers=50, seconds=5))
    share = few.done / (few.done + crowd.done)
    assert share > 0.5 * 50 / THOUSAND, f"a twentieth of the calls in flight got {share:.1%} of the service"
    assert few.p99 < 2 * crowd.p99
