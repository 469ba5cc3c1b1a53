"""The six services inherit one base and own nothing of it."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from aac_grpc.cli import serve
from aac_grpc.common.contract import platform_contract
from aac_grpc.common.servicer import Servicer
from aac_grpc.platform.composition import workers_of

ROOT = Path(__file__).parents[2] / "aac_grpc"
SERVICERS = ROOT / "servicers"
SERVICES = ("auth", "market_data", "trading", "risk", "analytics", "gateway")

# What the base did before a method runs: connections, environment, tokens, metrics, logs, servers.
OF_THE_BASE = {
    "os", "socket", "logging", "prometheus_client", "psycopg_pool", "redis", "confluent_kafka",
    "jwt", "tenacity", "pydantic_settings", "grpc_health", "grpc_reflection",
}  # fmt: skip

# auth-service makes the tokens that the base verifies.
OF_THE_SERVICE = {"auth": {"jwt"}}

# Error and value classes of the driver are a repository's business; connections are not.
BY_NAME = {"grpc.aio", "grpc", "aio", "os", "psycopg", "AsyncConnection", "Connection"}


def sources(service: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((SERVICERS / service).rglob("*.py")):
        yield path, ast.parse(path.read_text(), str(path))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def servicer_classes(package: str) -> Iterator[type[Servicer]]:
    """Every class of ours that answers a gRPC service, found by import."""
    import pkgutil

    root = importlib.import_module(package)
    modules = [root, *(importlib.import_module(m.name) for m in pkgutil.walk_packages(root.__path__, package + "."))]
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Servicer) and value.__module__ == module.__name__:
                yield value


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_inherits_the_one_base(service: str) -> None:
    classes = list(servicer_classes(f"aac_grpc.servicers.{service}"))
    assert classes, f"{service} has no servicer"


def test_every_method_of_the_contract_is_answered_by_a_servicer_of_the_base() -> None:
    packages = [f"aac_grpc.servicers.{name}" for name in SERVICES] + ["aac_grpc.registry"]
    bases = {base.__name__ for package in packages for cls in servicer_classes(package) for base in cls.__mro__}
    services = {name.rpartition(".")[2] + "Servicer" for name in platform_contract().services}
    assert services <= bases


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_opens_no_connection_and_reads_no_environment(service: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}" for path, tree in sources(service) for name in imported(tree)
        if name in OF_THE_BASE - OF_THE_SERVICE.get(service, set())
    }  # fmt: skip
    assert not found, "the base owns these"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_makes_no_channel_and_no_server(service: str) -> None:
    forbidden = {"insecure_channel", "secure_channel", "server", "environ", "getenv", "connect"}
    found = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}"
        for path, tree in sources(service)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in forbidden
        and isinstance(node.value, ast.Attribute | ast.Name) and ast.unparse(node.value) in BY_NAME
    }  # fmt: skip
    assert not found


def test_no_file_is_too_long_to_read_in_one_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in ROOT.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long, "split them along a concept"


@pytest.mark.parametrize("name", sorted(serve.SERVICES))
def test_the_platform_gives_workers_to_the_services_that_may_have_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told by a name, since the supervisor forks and imports no service."""
    monkeypatch.setenv("AAC_WORKERS", "3")
    service = importlib.import_module(serve.SERVICES[name]).service
    assert workers_of(name) == (3 if service.stateless else 1)
