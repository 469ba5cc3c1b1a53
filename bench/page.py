"""A report as a page that any browser shows, without a network: each goal as a bar, then every row."""

from collections.abc import Iterable
from html import escape

from bench.report import Report, Row, figure, reached, spread

_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; width: 100% }
th { text-align: left }
td, th { padding: .2rem .6rem .2rem 0 }
td { border-top: 1px solid #ddd; vertical-align: top }
td.n { text-align: right; white-space: nowrap }
small { color: #666 }
.bar { position: relative; width: 24rem; height: 1.1rem; background: #eee }
.bar i { position: absolute; left: 0; top: 0; bottom: 0 }
.bar b { position: absolute; left: 50%; top: -3px; bottom: -3px; width: 2px; background: #222 }
.met { background: #2a9d55 }
.missed { background: #d2452d }
"""
_FULL = 2.0
"""A bar's right end, in times the goal; the goal is in its middle."""


def page(report: Report, suite: str) -> str:
    """The page as HTML."""
    machine = report.machine
    about = f"{machine.cpu}, {machine.cores} cores, {machine.memory_mb} MB, {machine.system}, {machine.python}"
    run = f"commit {machine.commit or 'unknown'}, load {machine.load[0]}, {machine.measured_at}"
    judged = [row for row in report.rows if row.met is not None]
    return "\n".join(
        (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(suite)}</title>',
            f"<style>{_STYLE}</style><h1>scripts/bench {escape(suite)}</h1>",
            f"<p>{escape(about)}<br>{escape(run)}</p>",
            "<p><strong>A quick run: the figures show that the benches work, and little else.</strong></p>"
            if report.quick
            else "",
            f"<h2>Goals: {sum(row.met is True for row in judged)} of {len(judged)} met</h2>",
            "<p>The line in the middle is the goal; a bar that passes it is better than the goal, up to twice.</p>",
            _table(("", "", "measured", "goal"), map(_bar, judged)),
            "<h2>All figures</h2>",
            _table(("name", "value", "baseline", "ratio", "quartiles", "how"), map(_line, report.rows)),
            "</html>\n",
        )
    )


def _table(headings: Iterable[str], lines: Iterable[str]) -> str:
    return f"<table><tr>{''.join(f'<th>{one}</th>' for one in headings)}</tr>{''.join(lines)}</table>"


def _bar(row: Row) -> str:
    share = min(_FULL, reached(row)) / _FULL
    judged = "met" if row.met else "missed"
    fill = f'<i class="{judged}" style="width:{share:.1%}"></i><b></b>'
    bar = f'<div class="bar" role="img" aria-label="{judged}">{fill}</div>'
    return (
        f"<tr><td>{escape(row.name)}</td><td>{bar}</td>"
        f'<td class="n">{figure(row.judged)}</td><td class="n">{escape(row.goal)}</td></tr>'
    )


def _line(row: Row) -> str:
    figures = (f"{figure(row.value)} {row.unit}", figure(row.baseline), figure(row.ratio), spread(row))
    cells = "".join(f'<td class="n">{escape(one)}</td>' for one in figures)
    return f"<tr><td>{escape(row.name)}</td>{cells}<td><small>{escape(row.detail)}</small></td></tr>"
