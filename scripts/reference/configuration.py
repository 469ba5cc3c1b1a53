"""docs/configuration.md: every setting of every process, from the settings classes."""

import importlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from aac_grpc.cli.serve import SERVICES
from aac_grpc.common.ports import ADMIN_PORTS, GRPC_PORTS
from aac_grpc.common.server import Service
from aac_grpc.common.settings import ServiceSettings
from aac_grpc.feeds.runner import FeedSettings
from scripts.reference.table import code, table

INTRODUCTION = """# Configuration

Written by `scripts/docs` from the settings classes. Each process reads its environment once, at its start, and refuses
to start where a value is out of bounds. Variables that it does not know are ignored, so one environment serves all.
Values of more than one part are JSON. `aac up` sets what the processes it starts need; nothing here must be set by hand
to try the platform.
"""
HEADINGS = ("Variable", "Values", "Default", "Meaning")
BOUNDS = {"gt": "above {}", "ge": "from {}", "lt": "below {}", "le": "to {}"}
LAPTOP = (
    ("AAC_STATE_DIR", "`.aac` in the checkout", "Data, logs and secrets of the platform that `aac up` starts."),
    ("AAC_PORT_OFFSET", "`0`", "Added to every port of `aac up`, so that two checkouts run side by side."),
    ("AAC_SHARED", "`../shared`", "Where recorded days, oracle tables and scenarios are looked for."),
    (
        "AAC_CACHE_DIR",
        "`~/.cache/aac`",
        "Kafka's jars and class archive, for all checkouts (`XDG_CACHE_HOME` counts too).",
    ),
    ("AAC_VENV", "`.venv` in the checkout", "The environment that the scripts make."),
    ("AAC_PYTHON", "the newest on PATH", "The Python that it is made of."),
    ("AAC_TARGET", "this installation's", "Gateway that the command line calls."),
    ("AAC_API_KEY", "unset", "API key that the command line signs in with."),
)
KINDS = {
    str: "text",
    Path: "path",
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    SecretStr: "secret",
}


def configuration_page() -> str:
    """The page's text."""
    parts = [INTRODUCTION, _ports(), _section("Every process", "", environment(ServiceSettings))]
    for service in services():
        own = list(environment(service.settings, beside=ServiceSettings))
        if own:
            parts.append(_section(service.name, "On top of what every process reads, or in place of it.\n\n", own))
    parts.append(
        _section(
            "feed",
            "On top of what every process reads, or in place of it.\n\n",
            environment(FeedSettings, beside=ServiceSettings),
        )
    )
    laptop = table(("Variable", "Default", "Meaning"), [(code(name), *rest) for name, *rest in LAPTOP])
    parts.append(f"## The scripts, `aac up` and the command line\n\n{laptop}\n")
    return "\n".join(parts)


def services() -> list[Service]:
    """What can be served, in the order of the ports."""
    return [importlib.import_module(SERVICES[name]).service for name in GRPC_PORTS]


def _ports() -> str:
    rows = [(name, code(str(port)), code(str(ADMIN_PORTS[name]))) for name, port in GRPC_PORTS.items()]
    return "## Ports\n\n" + table(("Process", "gRPC", "/health, /ready, /metrics"), rows) + "\n"


def _section(title: str, text: str, fields: Iterable[tuple[str, FieldInfo]]) -> str:
    rows = [(code(variable), _values(field), _default(field), field.description or "") for variable, field in fields]
    return f"## {title}\n\n{text}{table(HEADINGS, rows)}\n"


def environment(
    settings: type[ServiceSettings], beside: type[ServiceSettings] | None = None
) -> Iterator[tuple[str, FieldInfo]]:
    """Environment variables and fields of a settings class, less those that another one has with the same default."""
    known = beside.model_fields if beside else {}
    prefix = settings.model_config.get("env_prefix", "")
    for name, field in settings.model_fields.items():
        if name not in known or field.default != known[name].default:
            alias = field.validation_alias
            plain = alias.choices[0] if isinstance(alias, AliasChoices) else alias
            yield str(plain or f"{prefix}{name}".upper()), field


def _values(field: FieldInfo) -> str:
    kind, optional = field.annotation, ""
    if type(None) in get_args(kind):
        kind, optional = next(one for one in get_args(kind) if one is not type(None)), ", or unset"
    if get_origin(kind) is Literal:
        return ", ".join(code(str(choice)) for choice in get_args(kind)) + optional
    limits = (BOUNDS[name].format(_number(getattr(rule, name))) for rule in field.metadata for name in BOUNDS
              if getattr(rule, name, None) is not None)  # fmt: skip
    return " ".join((KINDS.get(kind, "JSON") if isinstance(kind, type) else "JSON", *limits)) + optional


def _number(value: float) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) and value >= 10_000 else str(value)


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "made at the start"
    value: Any = field.default
    if value is PydanticUndefined:
        return "must be set"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return "unset"
    return code(value if isinstance(value, str) else json.dumps(value))
