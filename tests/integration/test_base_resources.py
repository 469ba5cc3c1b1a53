"""What a process opens, waits for, checks and closes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from psycopg_pool import PoolClosed

from aac_grpc.client.errors import DependencyUnavailable
from aac_grpc.common.resources import Resources
from tests.support.mesh import settings

ROOT = Path(__file__).parents[2]


def test_a_service_that_asks_for_nothing_imports_no_client_of_a_backend() -> None:
    program = (
        "import sys, json, aac_grpc.common.server\n"
        "clients = {'redis', 'psycopg', 'psycopg_pool', 'confluent_kafka', 'numpy', 'talib', 'argon2'}\n"
        "print(json.dumps(sorted(clients & set(sys.modules))))\n"
    )
    output = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True).stdout
    assert json.loads(output) == []


async def test_what_was_asked_for_is_opened_checked_and_closed(backends: Mapping[str, str]) -> None:
    configured = settings(
        "analytics", database_url=backends["DATABASE_URL"], redis_url=backends["REDIS_URL"], kafka_bootstrap_servers=""
    )
    resources = Resources("base-test", configured, required=["postgresql"])
    assert await resources.redis.ping()
    database = resources.database
    await resources.open()
    assert await database.fetch_one("select 1 as one") == {"one": 1}
    await resources.health.check_all()
    states = {name: (one.up, one.required) for name, one in resources.health.dependencies.items()}
    assert states == {"postgresql": (True, True), "redis": (True, False)}
    await resources.close()
    with pytest.raises(PoolClosed):
        await database.fetch_one("select 1")


async def test_a_process_waits_for_a_dependency_that_comes_late() -> None:
    resources = Resources("analytics", settings("analytics", start_timeout_s=5))
    attempts = 0

    async def open_() -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise DependencyUnavailable("postgresql")

    resources._unopened.append(open_)
    await resources.open()
    assert attempts == 3


async def test_a_process_gives_up_on_a_dependency_that_does_not_come() -> None:
    away = settings("analytics", database_url="postgresql://x:y@127.0.0.1:1/z", start_timeout_s=0.5)
    resources = Resources("analytics", away)
    assert resources.database
    async with asyncio.timeout(10):
        with pytest.raises(DependencyUnavailable):
            await resources.open()
    await resources.close()


async def test_a_fault_of_ours_is_not_waited_for() -> None:
    resources = Resources("analytics", settings("analytics"))

    async def broken() -> Any:
        raise TypeError("broken")

    resources._unopened.append(broken)
    async with asyncio.timeout(1):
        with pytest.raises(TypeError):
            await resources.open()
