"""The arithmetic of the mesh's benches, and their callers on real servers. Nothing here measures time."""

import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from aac.marketdata.v1 import marketdata_pb2 as pb
from aac.marketdata.v1.marketdata_pb2_grpc import MarketDataServiceServicer, add_MarketDataServiceServicer_to_server
from hypothesis import given
from hypothesis import strategies as st

from bench import cores
from bench.callers.__main__ import Callers
from bench.callers.grpc_unary import integer
from bench.callers.http1 import Http1Connection, request_bytes
from bench.mesh import MESH
from bench.mesh.ancestor import callers_at
from bench.mesh.cache import zipf_keys
from bench.mesh.servers import quotes
from bench.pairs import by_turns, compare, quartiles_of, single
from bench.report import Row
from bench.suite import later


def test_quartiles_are_those_of_the_figures_and_of_one_figure_itself() -> None:
    found = quartiles_of([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (found.low, found.middle, found.high) == (2.0, 3.0, 4.0)
    assert quartiles_of([7.0]).low == quartiles_of([7.0]).high == 7.0


async def test_contestants_take_turns_in_both_orders_and_the_first_round_does_not_count() -> None:
    order, numbers = [], itertools.count()

    def contestant(name: str) -> Any:
        async def measure() -> int:
            order.append(name)
            return next(numbers)

        return measure

    runs = await by_turns({"a": contestant("a"), "b": contestant("b")}, rounds=2)
    assert order == ["b", "a", "a", "b", "b", "a"]
    assert runs == [{"a": 2, "b": 3}, {"b": 4, "a": 5}]


def test_a_comparison_is_the_median_of_ratios_and_not_the_ratio_of_medians() -> None:
    row = compare("a.b", [(1.0, 2.0), (10.0, 10.0), (100.0, 50.0)], "ms", goal="<= 1.0", detail="how")
    assert (row.value, row.baseline, row.ratio) == (10.0, 10.0, 1.0)
    assert row.quartiles == (0.75, 1.5)
    assert row.met is True
    assert compare("a.b", [(1.0, 2.0)], "ms", inverse=True, detail="").ratio == 0.5


def test_a_goal_is_for_the_ratio_where_there_is_one_and_else_for_the_value() -> None:
    assert single("a.b", [0.95, 0.91], "share", goal="> 0.9", detail="").met is True
    assert Row("a.b", 5.0, "ms", 10.0, 0.5, goal="<= 0.4").met is False
    assert Row("a.b", None, "ms", goal="<= 0.4").met is None
    assert Row("a.b", 5.0, "ms").met is None


def test_callers_of_equal_latency_are_interpolated_and_never_beyond_what_was_measured() -> None:
    measured = {25: 0.010, 50: 0.020, 100: 0.040}
    assert callers_at(0.030, measured) == pytest.approx(75)
    assert callers_at(0.005, measured) == pytest.approx(12.5)
    assert callers_at(1.0, measured) == 100


def test_keys_follow_zipfs_law_and_are_the_same_each_time() -> None:
    drawn = Counter(itertools.islice(zipf_keys(1000, 1.0, seed=1), 50_000))
    assert drawn["key-1"] / drawn["key-10"] == pytest.approx(10, rel=0.2)
    first, second = (list(itertools.islice(zipf_keys(1000, 1.0, seed=1), 500)) for _ in range(2))
    assert first == second


async def test_a_bench_that_needs_what_is_not_there_fails_alone() -> None:
    with pytest.raises(ModuleNotFoundError):
        [row async for row in later("bench.no_such_module:measure")(None)]  # type: ignore[arg-type]
    assert len({bench.name for bench in MESH.benches}) == len(MESH.benches)


@given(st.integers(0, 1 << 31), st.integers(1, 7))
def test_an_integer_of_hpack_reads_as_what_was_written(value: int, bits: int) -> None:
    data = integer(value, bits, 0)
    limit = (1 << bits) - 1
    read = data[0]
    if read == limit:
        read += sum((byte & 0x7F) << 7 * at for at, byte in enumerate(data[1:]))
    assert read == value


class Choosy(MarketDataServiceServicer):
    """Answers the user it knows."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    async def GetQuotes(self, request: pb.GetQuotesRequest, context: Any) -> pb.GetQuotesResponse:
        user = dict(context.invocation_metadata())["authorization"]
        self.seen[user] += 1
        if user != "Bearer known":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who?")
        return pb.GetQuotesResponse(quotes=[pb.Quote(symbol=request.symbols[0])])


@asynccontextmanager
async def choosy() -> AsyncIterator[tuple[Choosy, str]]:
    servicer, server = Choosy(), grpc.aio.server()
    add_MarketDataServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def test_lean_grpc_callers_are_heard_and_know_an_answer_from_a_refusal() -> None:
    async with choosy() as (servicer, address):
        callers = Callers(quotes(address, ["Bearer known", "Bearer unknown"]))
        load = await callers.run(callers=4, seconds=0.2)
    assert load.done == servicer.seen["Bearer known"] > 4
    assert load.failures == {"refused": servicer.seen["Bearer unknown"]}


async def test_lean_callers_at_a_rate_make_the_same_calls_each_run() -> None:
    async with choosy() as (_, address):
        callers = Callers(quotes(address, ["Bearer known"], connections=1))
        first = await callers.run(callers=50, seconds=0.3, rate=200)
        second = await callers.run(callers=50, seconds=0.3, rate=200)
    assert first.done + first.skipped == second.done + second.skipped > 20
    assert not first.failures


async def test_callers_whose_server_is_gone_fail_and_do_not_hang() -> None:
    async with choosy() as (_, address):
        callers = Callers(quotes(address, ["Bearer known"]))
        await callers.run(callers=2, seconds=0.05)
        connections = list(callers._connections)
    for connection in connections:
        connection.close()
    with pytest.raises(OSError):
        await callers.run(callers=2, seconds=0.05)


def test_an_http_answer_is_complete_with_its_body_whatever_the_pieces() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    for cut in range(1, len(answer)):
        outcomes: list[str] = []
        connection = Http1Connection(request_bytes("host", "/", {}))
        connection._done = outcomes.append
        connection.data_received(answer[:cut])
        assert outcomes == []
        connection.data_received(answer[cut:])
        assert outcomes == [""]


def test_an_http_refusal_is_told_by_its_status() -> None:
    outcomes: list[str] = []
    connection = Http1Connection(b"")
    connection._done = outcomes.append
    connection.data_received(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n")
    assert outcomes == ["429"]


def test_servers_and_callers_have_cores_of_their_own_where_there_are_two() -> None:
    assert (cores.SERVERS is not None) == cores.PINNED
    assert not cores.PINNED or cores.SERVERS != cores.CALLERS


def test_the_benches_lock_agrees_with_that_of_development() -> None:
    def versions(lock: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in (Path(__file__).parents[2] / "requirements" / lock).read_text().splitlines():
            if "==" in line:
                name, _, rest = line.partition("==")
                found.setdefault(name, set()).add(rest.split()[0])
        return found

    bench, dev = versions("bench.lock"), versions("dev.lock")
    assert json.dumps({name: sorted(bench[name]) for name in sorted(bench.keys() & dev.keys())}) == json.dumps(
        {name: sorted(dev[name]) for name in sorted(bench.keys() & dev.keys())}
    )
    assert "fastapi" in bench
    assert "fastapi" not in dev
