"""What each process of an installation is told: where the others are, its own secret, and nothing of the others'."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from aac_grpc.backends.logs import tail
from aac_grpc.backends.postgres import MAX_CONNECTIONS
from aac_grpc.backends.spec import ProcessSpec
from aac_grpc.backends.state import StateDirectory
from aac_grpc.cli.serve import settings_classes
from aac_grpc.cli.up import lines_to_try
from aac_grpc.common.identity import derive_service_secret
from aac_grpc.common.ports import MAX_REPLICAS
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.platform.composition import SERVICES, WITH_SCHEMA, Platform
from aac_grpc.platform.connections import BESIDE_THE_POOL, RESERVED
from aac_grpc.platform.environment import EnvironmentUnsound, require_sound
from aac_grpc.platform.flow import Flow, choose_flow
from aac_grpc.platform.replicas import parse_replicas

URLS = {"DATABASE_URL": "postgresql://x", "REDIS_URL": "redis://x", "KAFKA_BOOTSTRAP_SERVERS": "x:1"}


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    state = StateDirectory(tmp_path / "state")
    state.create()
    corners = {service: f"postgresql://{service}" for service in WITH_SCHEMA}
    return Platform(state, 100, URLS, corners, ("postgres", "valkey", "kafka"), Flow("a simulator", 10, None))


@pytest.fixture
def processes(platform: Platform) -> dict[str, ProcessSpec]:
    return {process.name: process for process in platform.processes()}


def test_only_auth_service_and_the_registry_know_the_mesh_secret(
    platform: Platform, processes: dict[str, ProcessSpec]
) -> None:
    knowing = {name for name, process in processes.items() if platform.mesh_secret in process.env.values()}
    assert knowing == {"auth-service", "registry"}


def test_each_process_has_its_own_secret(platform: Platform, processes: dict[str, ProcessSpec]) -> None:
    for name, process in processes.items():
        assert process.env["AAC_SERVICE_SECRET"] == derive_service_secret(platform.mesh_secret, name)
    assert len({process.env["AAC_SERVICE_SECRET"] for process in processes.values()}) == len(processes)


def test_each_service_enters_its_own_corner_of_the_database(processes: dict[str, ProcessSpec]) -> None:
    for service in WITH_SCHEMA:
        assert processes[service].env["DATABASE_URL"] == f"postgresql://{service}"


def test_passwords_of_people_are_known_to_auth_service_alone(
    platform: Platform, processes: dict[str, ProcessSpec]
) -> None:
    passwords = {platform.password("admin"), platform.password("demo")}
    assert len(passwords) == 2
    knowing = {name for name, process in processes.items() if passwords & set(process.env.values())}
    assert knowing == {"auth-service"}


def test_secrets_of_the_users_environment_reach_nobody_they_are_not_for(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AAC_MESH_SECRET", "the mesh's")
    monkeypatch.setenv("AAC_SERVICE_SECRET", "somebody's")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a cloud's")
    for process in platform.processes():
        assert "a cloud's" not in process.env.values()
        assert process.env["AAC_SERVICE_SECRET"] != "somebody's"
        assert ("the mesh's" in process.env.values()) == (process.name in {"auth-service", "registry"})


def test_every_process_knows_where_every_service_is(platform: Platform, processes: dict[str, ProcessSpec]) -> None:
    for process in processes.values():
        for variable, value in process.env.items():
            if variable.startswith("AAC_") and variable.endswith("_ADDRESS"):
                assert value in {platform.addresses(service) for service in SERVICES}
    assert platform.address("api-gateway") == "127.0.0.1:50150"
    settings = {name for name in ServiceSettings.model_fields if name.endswith("_address")} - {"advertised_address"}
    assert {f"AAC_{name.upper()}" for name in settings} <= set(processes["feed"].env)


def test_services_start_at_once_and_the_gateway_stops_first(processes: dict[str, ProcessSpec]) -> None:
    backends = ("postgres", "valkey", "kafka")
    assert {processes[service].waits_for for service in SERVICES} == {backends}
    assert set(processes["api-gateway"].depends_on) == {*SERVICES, *backends} - {"api-gateway"}
    assert processes["registry"].depends_on == backends


def replicated(platform: Platform, *replicas: str) -> Platform:
    return dataclasses.replace(platform, replicas=parse_replicas(replicas))


def test_instances_of_a_service_share_its_name_secret_and_corner_but_no_port_log_or_file(platform: Platform) -> None:
    two = replicated(platform, "2", "analytics=1")
    processes = {process.name: process for process in two.processes()}
    services = {f"{name}{suffix}" for name in SERVICES for suffix in ("", "-2")} - {"analytics-2"}
    assert set(processes) == {*services, "feed"}
    for name in set(SERVICES) - {"analytics"}:
        first, second = processes[name], processes[f"{name}-2"]
        differs = {key for key, value in first.env.items() if second.env[key] != value}
        assert differs == {"AAC_GRPC_PORT", "AAC_ADMIN_PORT", "AAC_ENDPOINTS_FILE"}
        assert first.argv == second.argv
        assert first.log_path != second.log_path
    assert processes["risk-management-2"].env["AAC_RISK_ADDRESS"] == two.addresses("risk-management")
    assert two.addresses("risk-management") == "127.0.0.1:50154,127.0.0.1:50165"
    assert {"registry", "registry-2", "market-data-2"} <= set(processes["api-gateway-2"].depends_on)


def test_instances_of_two_checkouts_a_hundred_ports_apart_share_no_port(platform: Platform) -> None:
    here = replicated(platform, str(MAX_REPLICAS))
    there = dataclasses.replace(here, port_offset=platform.port_offset + 100)
    ports = [*here.ports.values(), *there.ports.values()]
    assert len(set(ports)) == len(ports) == 2 * 2 * len(SERVICES) * MAX_REPLICAS


def test_the_number_of_instances_is_said_for_all_services_or_for_one() -> None:
    assert set(parse_replicas(()).values()) == {1}
    said = parse_replicas(("3", "trading-engine=2"))
    assert said == {**dict.fromkeys(SERVICES, 3), "trading-engine": 2}
    for wrong in ("0", "10", "x", "", "nobody=2", "trading-engine=", "trading-engine=0"):
        with pytest.raises(ValueError, match=r"instances|service"):
            parse_replicas((wrong,))


@pytest.mark.parametrize("replicas", range(1, MAX_REPLICAS + 1))
def test_all_processes_together_stay_within_the_connections_of_the_database(platform: Platform, replicas: int) -> None:
    processes = replicated(platform, str(replicas)).processes()
    sizes = [
        int(one.env["AAC_DATABASE_POOL_SIZE"])
        for one in processes
        if "DATABASE_URL" in one.env and "AAC_DATABASE_POOL_SIZE" in one.env
    ]
    assert len(sizes) == len(WITH_SCHEMA) * replicas
    assert min(sizes) >= 3
    assert sum(size + BESIDE_THE_POOL for size in sizes) + RESERVED <= MAX_CONNECTIONS


def test_a_pool_is_not_larger_than_the_user_says(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAC_DATABASE_POOL_SIZE", "4")
    assert {one.env.get("AAC_DATABASE_POOL_SIZE") for one in platform.processes()} == {"4"}


def test_workers_are_for_stateless_services_and_share_the_connections_of_the_database(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {spec.name: int(spec.env.get("AAC_DATABASE_POOL_SIZE", 0)) for spec in platform.processes()}
    monkeypatch.setenv("AAC_WORKERS", "16")
    told = {spec.name: spec.env for spec in platform.processes()}
    assert {name for name, environment in told.items() if environment["AAC_WORKERS"] == "16"} == {
        "api-gateway", "auth-service", "market-data", "risk-management", "analytics",
    }  # fmt: skip
    assert 0 < int(told["market-data"]["AAC_DATABASE_POOL_SIZE"]) < alone["market-data"]


def test_without_flow_there_is_no_feeder(platform: Platform) -> None:
    quiet = Platform(platform.state, 0, URLS, {}, (), None)
    assert {process.name for process in quiet.processes()} == set(SERVICES)


def test_a_process_finds_our_packages_from_any_directory(processes: dict[str, ProcessSpec], tmp_path: Path) -> None:
    program = "import aac_grpc.cli.serve, aac.trading.v1.trading_pb2"
    subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=dict(processes["registry"].env), check=True, timeout=60
    )


def test_the_flow_says_which_one_runs(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAC_SHARED", str(shared))
    recorded = choose_flow(None, 10)
    assert (
        recorded.title
        == "recorded day GOOG 2012-06-21 (LOBSTER, 10 levels), 10 times as fast as recorded, day after day"
    )
    assert choose_flow(None, 0).title.endswith(", as fast as it can, once")
    monkeypatch.setenv("AAC_SHARED", str(shared / "nowhere"))
    simulated = choose_flow(None, 0)
    assert simulated.day is None
    assert simulated.symbols
    assert recorded.symbols == ("GOOG",)
    assert "simulator" in simulated.title
    assert "as fast as it can" in simulated.title


def test_a_day_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        choose_flow(tmp_path / "nothing.zip", 10)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AAC_WORKERS", "abc", "'abc': should be a valid integer"),
        ("AAC_WORKERS", "0", "'0': should be greater than or equal to 1"),
        ("AAC_BATCH_ORDERS", "abc", "'abc': should be a valid integer"),
        ("AAC_REGISTRY_POLL_S", "0", "'0': should be greater than 0"),
        ("AAC_FEED_SEED", "abc", "'abc': should be a valid integer"),
        ("AAC_KAFKA_CONFIG", "s3cret", "is not JSON"),
        ("AAC_KAFKA_CONFIG", '["s3cret"]', "should be a valid dictionary"),
        ("DATABASE_URL", "s3cret nonsense", "is not a URL such as postgresql://"),
        ("REDIS_URL", "s3cret", "is not a URL such as redis://"),
        ("ENVIRONMENT", "production", "not fit for ENVIRONMENT=production: DATABASE_URL is not set"),
    ],
)
def test_what_is_wrong_with_the_environment_is_said_before_anything_starts(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in URLS:
        monkeypatch.delenv(name, raising=False)
    require_sound(os.environ, settings_classes)
    monkeypatch.setenv(variable, value)
    with pytest.raises(EnvironmentUnsound) as refusal:
        require_sound(os.environ, settings_classes)
    assert set(refusal.value.fields) == {variable}
    assert refusal.value.fields[variable].startswith(words)
    assert variable in refusal.value.remedy
    assert "s3cret" not in f"{refusal.value} {refusal.value.fields}"


def test_a_failed_start_shows_the_lines_of_its_own_run(tmp_path: Path) -> None:
    log = tmp_path / "supervisor.log"
    log.write_text("of the last run\n")
    before = log.stat().st_size
    log.write_text("of the last run\nof this run\n")
    assert tail(log, since=before) == "of this run"


def test_the_lines_to_try_stand_a_path_with_a_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "a checkout" / "python"))
    monkeypatch.setenv("AAC_STATE_DIR", str(tmp_path / "a state"))
    python, place = lines_to_try("127.0.0.1:1", "GOOG")[1:]
    assert shlex.split(python)[0] == sys.executable
    assert shlex.split(place)[:2] == [f"AAC_STATE_DIR={tmp_path / 'a state'}", sys.executable]
