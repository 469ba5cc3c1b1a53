"""The whole mesh suite, run short as a user runs it: every figure that is promised is there."""

import asyncio
import json
import math

import pytest

from bench.machine import ROOT
from bench.processes import outputs

WITHIN_S = 1500
CALLERS = (1, 50, 1000)
INTERCEPTORS = ("metrics", "access_log", "deadline", "authentication", "authorization", "rate_limit", "validation")
PROMISED = {
    "mesh.chain_vs_bare_cpu",
    "mesh.chain_vs_bare_unary",
    *(f"mesh.interceptor_us_{noun}" for noun in (*INTERCEPTORS, "all", "adapter")),
    "mesh.ratelimit_added_us",
    "mesh.ratelimit_overshoot",
    "mesh.ratelimit_false_refusals",
    "mesh.gateway_added_ms_p50",
    "mesh.gateway_cpu_vs_direct",
    "mesh.users_1000_error_rate",
    "mesh.users_1000_p99_ms",
    "mesh.goodput_at_8x_vs_peak",
    "mesh.workers_2_vs_1",
    "mesh.memory_vs_separate",
    "mesh.db_connections_vs_ancestor",
    "mesh.cache_hit_rate",
    *(f"mesh.p50_vs_fastapi_ancestor_{callers}" for callers in CALLERS),
    *(f"mesh.p50_vs_fastapi_expert_{callers}" for callers in CALLERS),
    "mesh.concurrency_vs_fastapi_ancestor",
    "targets.memory_vs_ancestor",
    "targets.kafka_vs_ancestor_before",
    "targets.kafka_vs_ancestor_after",
}


@pytest.mark.slow
@pytest.mark.timeout(WITHIN_S + 60)
async def test_a_quick_run_of_the_mesh_suite_has_every_row_with_a_figure() -> None:
    process = await asyncio.create_subprocess_exec(
        *(str(ROOT / "scripts" / "bench"), "mesh", "--quick", "--json"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, said = await outputs(process, WITHIN_S)
    report = json.loads(output)
    assert report["quick"] is True
    failed = [f"{row['name']}: {row['detail']}" for row in report["rows"] if row["value"] is None]
    assert not failed, said[-2000:]
    rows = {row["name"]: row for row in report["rows"]}
    assert len(rows) == len(report["rows"])
    assert set(rows) >= PROMISED
    for row in rows.values():
        figures = [row["value"], row["baseline"], row["ratio"], *(row["quartiles"] or ())]
        assert all(math.isfinite(one) for one in figures if one is not None), row
    assert process.returncode == 0
