"""Rows of a report: as a table for people, as JSON for everything else."""

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.machine import ROOT, Machine

RESULTS = ROOT / "bench" / "results"
WIDE = 120
"""Columns of a terminal that has room for everything."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        name: Such as "spine.place_order_per_s".
        value: The figure; None where it could not be measured.
        unit: Of the value and the baseline.
        baseline: What it is compared with, measured in the same run or stated; None where there is nothing.
        ratio: The comparison; `detail` says of what to what.
        detail: How it was measured, in words.
        quartiles: Between which the middle half of what was measured lies: of the ratio where there is one, else of
            the value; None where it was measured once.
        goal: For the ratio where there is one, else for the value: "<=", ">=" or "<" and a number; empty without one.
    """

    name: str
    value: float | None
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    detail: str = ""
    quartiles: tuple[float, float] | None = None
    goal: str = ""

    @property
    def judged(self) -> float | None:
        """What the goal is for."""
        return self.value if self.ratio is None else self.ratio

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal or a figure."""
        figure = self.judged
        if not self.goal or figure is None:
            return None
        relation, limit = self.goal.split()
        holds = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}[relation]
        return bool(holds(figure, float(limit)))


@dataclass(frozen=True, slots=True)
class Report:
    """All rows of one run, and the machine that they are of."""

    machine: Machine
    rows: Sequence[Row]
    quick: bool = False
    """Its runs were short: the figures show that the benches work, and little else."""
    took_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each bench took."""

    def to_dict(self) -> dict[str, Any]:
        """`{machine, quick, took_s, rows}`."""
        rows = [asdict(row) for row in self.rows]
        return {"machine": self.machine.to_dict(), "quick": self.quick, "took_s": dict(self.took_s), "rows": rows}

    def to_json(self) -> str:
        """The report as indented JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)


def save(report: Report, suite: str, folder: Path = RESULTS) -> Path:
    """Writes the report to `folder`, named after the suite and the time; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    moment = "".join(filter(str.isalnum, report.machine.measured_at.partition("+")[0]))
    file = folder / f"{suite}-{moment}.json"
    file.write_text(report.to_json() + "\n", encoding="utf-8")
    return file


def print_report(report: Report, console: Console) -> None:
    """Prints the machine and the rows."""
    machine = report.machine
    console.print(f"{machine.cpu}, {machine.cores} cores, {machine.memory_mb} MB, {machine.system}, {machine.python}")
    console.print(", ".join(f"{name} {number}" for name, number in machine.versions.items()))
    console.print(f"commit {machine.commit or 'unknown'}, load {machine.load[0]}, {machine.measured_at}")
    if report.quick:
        console.print("Quick run: the figures show that the benches work, and little else.", style="yellow")
    columns = ("name", "value", "unit", "baseline", "ratio", "quartiles", "goal")
    table = Table(*columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.columns[0].no_wrap = True
    table.columns[2].min_width = 4
    for column in (1, 3, 4, 5, 6):
        table.columns[column].justify = "right"
        table.columns[column].no_wrap = True
    styles = {True: "green", False: "red", None: ""}
    for row in report.rows:
        figures = (figure(row.baseline), figure(row.ratio), spread(row), row.goal)
        table.add_row(row.name, figure(row.value), row.unit, *figures, style=styles[row.met])
    if console.width < WIDE:
        del table.columns[5]  # they stand in the lines below as well
    console.print(table)
    for row in report.rows:
        quartiles = f" (quartiles {spread(row)})" if row.quartiles else ""
        console.print(f"{row.name}{quartiles}: {row.detail}", style="dim", markup=False)


def reached(row: Row) -> float:
    """How much of its goal a row reaches: 1 is the goal itself, more is better, whichever way the goal points."""
    relation, limit = row.goal.split()
    wanted, found = float(limit), row.judged or 0.0
    if relation.startswith("<"):
        wanted, found = found, wanted
    return found / wanted if wanted > 0 else float("inf")


def spread(row: Row) -> str:
    """A row's quartiles, in words."""
    return " to ".join(map(figure, row.quartiles or ()))


def figure(value: float | None) -> str:
    """A figure with about three significant digits; nothing where there is none."""
    if value is None:
        return ""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
