"""`python -m bench SUITE`: runs a suite of benches and prints its report."""

import argparse
import asyncio
import signal
import sys

import structlog
from rich.console import Console

from bench.cores import allow_open_files
from bench.machine import describe_machine
from bench.mesh import MESH
from bench.options import Options
from bench.page import page
from bench.progress import SuiteProgress, last_took_s
from bench.report import Report, Row, figure, print_report, save
from bench.spine import SPINE
from bench.suite import Suite

SUITES = {suite.name: suite for suite in (SPINE, MESH)}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures the platform on this machine.")
    parser.add_argument("suite", choices=sorted(SUITES), help="which benches to run")
    parser.add_argument("--json", action="store_true", help="print {machine, rows} as JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="short runs: to see that it works, not to compare")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a bench of the suite, such as chain; repeatable"
    )
    given = parser.parse_args(arguments)
    known = [bench.name for bench in SUITES[given.suite].benches]
    if unknown := set(given.only).difference(known):
        parser.error(f"no such bench: {', '.join(sorted(unknown))} (there are {', '.join(known)})")
    return given


async def measure(suite: Suite, options: Options) -> list[Row]:
    """Runs a suite and tells each row as it comes. Told to end, it stops what it has started first."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    rows = []
    async for row in suite.measure(options):
        options.say(f"{row.name} {in_short(row)}")
        rows.append(row)
    return rows


def in_short(row: Row) -> str:
    """A row's figures for whoever waits; why there are none where there are none."""
    if row.value is None:
        return row.detail
    ratio = "" if row.ratio is None else f", ratio {figure(row.ratio)}"
    return f"{figure(row.value)} {row.unit}{ratio}"


def main(arguments: list[str]) -> int:
    """Measures, prints, and writes bench/results/ unless the run was a quick one; 1 where a bench failed."""
    given = parse(arguments)
    terminal = Console(stderr=True, highlight=False)
    suite = SUITES[given.suite]
    names = [bench.name for bench in suite.chosen(given.only)]
    progress = SuiteProgress(terminal, names, {} if given.quick else last_took_s(suite.name))
    options = Options(given.quick, tuple(given.only), progress.say, progress.begin)
    # What runs within this process logs as well, and standard output is the report's.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    machine = describe_machine()
    allow_open_files()
    try:
        with progress:
            rows = asyncio.run(measure(suite, options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        options.say("stopped")
        return 130
    report = Report(machine, rows, quick=given.quick, took_s=progress.took_s)
    if not given.quick:
        file = save(report, suite.name)
        file.with_suffix(".html").write_text(page(report, suite.name), encoding="utf-8")
        options.say(f"written to {file}, and as a page with the goals as bars to {file.with_suffix('.html').name}")
    if given.json:
        print(report.to_json())
    else:
        print_report(report, Console())
    return int(any(row.value is None for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
