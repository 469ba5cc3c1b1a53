"""What `aac mesh` prints of instances and of their circuit breakers, in a terminal of 80 columns."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from aac_grpc.cli.mesh import BREAKER_COLUMNS, breakers, columns, rows
from aac_grpc.cli.output import Column, table
from aac_grpc.client.models import Breaker, BreakerState, Instance, InstanceState, Service

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
BREAKER = Breaker("auth-service/IssueServiceToken", BreakerState.HALF_OPEN, NOW)


def lines(shown: list[object], columns: list[Column]) -> list[str]:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(table(shown, columns))
    return captured.get().splitlines()


def instance(service: str, **known: Any) -> Instance:
    return Instance(
        instance_id=f"{service}-1",
        service=service,
        address="127.0.0.1:50054",
        admin_address="127.0.0.1:8004",
        version="source",
        workers=1,
        renewed_at=NOW - timedelta(seconds=14),
        lease_expires_at=NOW,
        **{"breakers": (), **known},
    )


@pytest.mark.parametrize("since", [datetime.now(UTC), NOW - timedelta(days=9)])
def test_each_instance_and_each_breaker_takes_one_line(since: datetime) -> None:
    one = instance("risk-management", registered_at=since, state=InstanceState.UNREACHABLE, breakers=(BREAKER,))
    services = [Service("risk-management", (one, one))]
    instances = lines(list(rows(services)), columns(services, NOW))
    assert len(instances) == 3
    assert all("127.0.0.1:50054" in line and "unreachable" in line for line in instances[1:])
    troubled = lines(list(breakers(services)), BREAKER_COLUMNS)
    assert len(troubled) == 3
    assert all(BREAKER.target in line and "half-open" in line for line in troubled[1:])


def test_workers_are_shown_where_an_instance_has_several() -> None:
    one = instance("analytics", registered_at=datetime.now(UTC), state=InstanceState.SERVING)
    services = [Service("analytics", (one, replace(one, workers=4))), Service("risk-management", ())]
    heading, first, second, _ = lines(list(rows(services)), columns(services, NOW))
    assert "workers" in heading
    assert (first.split()[2], second.split()[2]) == ("1", "4")
    assert "workers" not in lines(list(rows(services)), columns([Service("analytics", (one,))], NOW))[0]
