"""The benches' own arithmetic. No test of this file measures time: that is what the benches are for."""

import asyncio
import io
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aac.marketdata.v1 import marketdata_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.__main__ import parse
from bench.histogram import Histogram
from bench.load import closed_loop, open_loop
from bench.machine import describe_machine
from bench.options import Options
from bench.page import page
from bench.processes import cpu_seconds, program
from bench.progress import SuiteProgress, last_took_s
from bench.report import Report, Row, figure, print_report, save
from bench.spine import SPINE
from bench.spine.chain import to_row
from bench.spine.duplication import duplicated_lines, run_symilar
from bench.spine.orders import cpu_per_call
from bench.spine.tick_readers import header_of
from bench.suite import Bench, Suite

latencies = st.lists(st.floats(1e-5, 1e3), min_size=1, max_size=200)


@given(latencies, st.floats(0, 100))
def test_a_percentile_is_within_a_percent_of_the_exact_one(seconds: list[float], percent: float) -> None:
    histogram = Histogram()
    for one in seconds:
        histogram.add(one)
    exact = sorted(seconds)[max(0, -(-len(seconds) * percent // 100).__int__() - 1)]
    assert histogram.percentile(percent) == pytest.approx(exact, rel=0.0101)


def test_a_histogram_without_a_latency_has_no_percentile() -> None:
    assert str(Histogram().percentile(50)) == "nan"


async def test_a_closed_loop_makes_as_many_calls_as_told_and_no_more_at_a_time() -> None:
    now, most, numbers = 0, 0, []

    async def call(number: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        numbers.append(number)
        await asyncio.sleep(0)
        now -= 1

    load = await closed_loop(call, callers=7, calls=100)
    assert (load.done, most, sorted(numbers)) == (100, 7, list(range(100)))


async def test_an_open_loop_makes_calls_at_its_rate_and_counts_what_it_skips() -> None:
    async def call(number: int) -> None:
        await asyncio.sleep(0.2)

    load = await open_loop(call, rate=1000, seconds=0.05, max_pending=5)
    assert load.done + load.skipped == 50
    assert load.skipped > 0


async def test_calls_that_fail_are_counted_by_what_they_raised_and_not_as_latencies() -> None:
    async def call(number: int) -> None:
        if number % 2:
            raise ValueError

    load = await closed_loop(call, callers=3, calls=20)
    assert load.done == 10
    assert load.failures == {"ValueError": 10}
    assert "10 x ValueError" in load.describe()


def test_a_row_of_pairs_has_the_median_of_their_ratios() -> None:
    row = to_row([(100e-6, 200e-6), (100e-6, 125e-6), (100e-6, 100e-6)], calls=10)
    assert (row.baseline, row.value) == (pytest.approx(100), pytest.approx(125))
    assert row.ratio == pytest.approx(0.8)
    assert row.quartiles == pytest.approx((0.65, 0.9))
    assert row.met is False


def test_cpu_of_an_order_is_told_by_part_the_largest_first() -> None:
    assert cpu_per_call({"a": 1.0}, {"a": 1.1, "b": 0.5, "c": 0.0}, 100) == "b 5.00, a 1.00"


async def test_a_block_of_six_lines_counts_in_every_place_and_one_of_five_does_not(tmp_path: Path) -> None:
    block = "\n".join(f"value_{number} = compute({number})" for number in range(6))
    short = "\n".join(f"other_{number} = derive({number})" for number in range(5))
    files = [tmp_path / name for name in ("one.py", "two.py", "three.py")]
    files[0].write_text(f"import one\n{block}\nfirst = 1\n{short}\n")
    files[1].write_text(f"import two\n{short}\nsecond = 2\n{block}\n")
    files[2].write_text("third = 3\n")
    assert duplicated_lines(await run_symilar(files)) == 12


def test_the_header_of_a_frame_is_read_without_the_rest() -> None:
    frame = pb.StreamResponse(trades=[pb.Trade(price="1")] * 50)
    frame.header.sequence, frame.header.key = 2**40, "k" * 200
    assert header_of(frame.SerializeToString()) == frame.header


def test_a_report_is_the_machine_and_its_rows(tmp_path: Path) -> None:
    report = Report(describe_machine(), [Row("spine.x", 1234.5, "ms", 100.0, 0.081, "how"), Row("spine.y", None, "")])
    document = json.loads(save(report, "spine", tmp_path).read_text())
    assert set(document) == {"machine", "quick", "rows", "took_s"}
    assert set(document["rows"][0]) == {
        "name", "value", "unit", "baseline", "ratio", "detail", "quartiles", "goal",
    }  # fmt: skip
    assert {"cpu", "cores", "python", "versions", "load"} <= set(document["machine"])
    console = Console(width=100, record=True, quiet=False, file=(tmp_path / "out").open("w"))
    print_report(report, console)
    assert "1,234" in console.export_text()


def test_a_page_shows_each_goal_as_a_bar_that_passes_the_middle_where_it_is_met() -> None:
    rows = [
        Row("mesh.fewer", 3.0, "us", goal="<= 5"),
        Row("mesh.more", 1.0, "/s", 2.0, 0.5, "a < b", goal=">= 1"),
        Row("mesh.unjudged", 1.0, "us"),
        Row("mesh.away", None, "", detail="failed", goal="<= 1"),
    ]
    shown = page(Report(describe_machine(), rows), "mesh")
    assert "Goals: 1 of 2 met" in shown
    assert [float(width) for width in re.findall(r"width:([0-9.]+)%\"", shown)] == [pytest.approx(83.3), 25.0]
    assert "a &lt; b" in shown


def test_who_waits_for_a_bench_is_told_how_long_it_and_the_rest_took_last_time(tmp_path: Path) -> None:
    for number, took in enumerate(({"chain": 1.0, "quota": 30.0}, {"chain": 60.0})):
        report = Report(describe_machine(), [], took_s=took)
        (tmp_path / f"mesh-{number}.json").write_text(report.to_json())
    (tmp_path / "spine-1.json").write_text(Report(describe_machine(), [], took_s={"gateway": 1.0}).to_json())
    said = io.StringIO()
    with SuiteProgress(Console(file=said), ["chain", "quota", "gateway"], last_took_s("mesh", tmp_path)) as progress:
        progress.begin("chain")
    with SuiteProgress(Console(file=said), ["chain", "quota"], last_took_s("mesh", tmp_path)) as progress:
        progress.begin("chain")
        progress.begin("quota")
    assert said.getvalue().splitlines() == [
        "1 of 3: chain ...",
        "1 of 2: chain (took 60 s last time; all that is left 90 s) ...",
        "2 of 2: quota (took 30 s last time; all that is left 30 s) ...",
    ]
    assert set(progress.took_s) == {"chain", "quota"}


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.0, "0"), (0.0123, "0.0123"), (12.345, "12.3"), (1e6, "1,000,000")]
)
def test_a_figure_has_about_three_digits(value: float | None, text: str) -> None:
    assert figure(value) == text


async def test_a_bench_that_fails_is_a_row_that_says_so_and_the_others_run() -> None:
    async def fails(options: Options) -> AsyncIterator[Row]:
        yield Row("a.first", 1.0, "x")
        raise RuntimeError("no such machine")

    async def works(options: Options) -> AsyncIterator[Row]:
        yield Row("a.second", 2.0, "x")

    suite = Suite("a", [Bench("fails", fails), Bench("works", works)])
    rows = [row async for row in suite.measure(Options())]
    assert [row.name for row in rows] == ["a.first", "a.fails", "a.second"]
    assert rows[1].value is None
    assert "no such machine" in rows[1].detail
    assert [row.name async for row in suite.measure(Options(only=("works",)))] == ["a.second"]


def test_the_command_line_knows_the_benches_of_a_suite() -> None:
    assert parse(["spine", "--only", "chain", "--quick"]).only == ["chain"]
    with pytest.raises(SystemExit):
        parse(["spine", "--only", "nothing"])
    assert {bench.name for bench in SPINE.benches} == {"chain", "orders", "ticks", "startup", "duplication"}


async def test_a_program_that_ends_by_itself_tells_its_last_words() -> None:
    with pytest.raises(RuntimeError, match="what went wrong"):
        async with program("-c", "import sys; sys.exit('what went wrong')", environment={}) as process:
            await process.wait()
            raise ConnectionError


async def test_the_cpu_of_another_process_grows_with_its_work() -> None:
    code = "import sys; sum(range(2_000_000)); print('done', flush=True); sys.stdin.read()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    before = cpu_seconds(process.pid)
    assert process.stdout is not None
    await process.stdout.readline()
    assert cpu_seconds(process.pid) > before
    await process.communicate(b"")
