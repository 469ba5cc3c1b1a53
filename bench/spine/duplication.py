"""How much of the six services is written more than once, by pylint's symilar."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from bench.machine import ROOT
from bench.options import Options
from bench.report import Row

SERVICERS = ROOT / "aac_grpc" / "servicers"
BLOCK_LINES = 6
GOAL = 0.05
ANCESTOR = 0.8

_PLACE = re.compile(r"^==(.+):\[(\d+):(\d+)\]$", re.MULTILINE)


async def measure_duplication(options: Options) -> AsyncIterator[Row]:
    """Every line that stands in a block of six or more that is found again, in each place where it is found."""
    files = sorted(SERVICERS.rglob("*.py"))
    total = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    alike = duplicated_lines(await run_symilar(files))
    share = alike / total
    yield Row(
        "spine.duplication_share",
        share,
        "share of lines",
        baseline=ANCESTOR,
        ratio=share / ANCESTOR,
        detail=f"{alike} of {total} lines of the six servicers ({len(files)} files) stand in blocks of {BLOCK_LINES} or"
        " more lines alike, counted in every place, by pylint's symilar, comments, docstrings, imports and signatures"
        f" included; the goal is {GOAL} or less; the baseline is the ancestor's share; ratio = ours / ancestor's",
    )


async def run_symilar(files: Iterable[Path]) -> str:
    """What symilar finds alike in files."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from pylint import run_symilar; run_symilar()",
        # It reports blocks of more lines than this.
        f"--duplicates={BLOCK_LINES - 1}",
        *map(str, files),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return output.decode()


def duplicated_lines(report: str) -> int:
    """Counts the lines of all places that a report of symilar names; each line once."""
    lines = {(file, line) for file, begin, end in _PLACE.findall(report) for line in range(int(begin), int(end))}
    return len(lines)
