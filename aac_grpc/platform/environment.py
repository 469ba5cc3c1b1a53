"""What the user's environment says to every process: looked at before anything starts, where a sentence helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError

from aac_grpc.common.settings import ServiceSettings


def _read_redis_url(url: str) -> object:
    from redis.connection import parse_url  # where none is given, the supervisor needs no client of Redis

    return parse_url(url)  # type: ignore[no-untyped-call]  # redis types it not


_URLS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "DATABASE_URL": (conninfo_to_dict, "postgresql://user:password@host:5432/database"),
    "REDIS_URL": (_read_redis_url, "redis://host:6379/0"),
}
"""What reads each URL, and an example."""


def require_sound(environment: Mapping[str, str]) -> None:
    """Checks what processes read from their environment and what no service adds to: base settings, and URLs.

    Args:
        environment: Of this process.

    Raises:
        ValueError: Names every variable that is wrong, and why; never its value, which may be a secret.
    """
    faults = [*_settings_faults(), *_url_faults(environment)]
    if faults:
        raise ValueError("the environment is not as it should be: " + "; ".join(faults))


def _settings_faults() -> list[str]:
    try:
        ServiceSettings()
    except ValidationError as error:
        # What concerns no single variable depends on what the platform sets itself.
        return [f"{_variable(str(one['loc'][0]))}: {one['msg']}" for one in error.errors() if one["loc"]]
    return []


def _url_faults(environment: Mapping[str, str]) -> list[str]:
    faults = []
    for variable, (read, example) in _URLS.items():
        try:
            if given := environment.get(variable):
                read(given)
        except (ProgrammingError, ValueError):
            faults.append(f"{variable} is not a URL such as {example}")
    return faults


def _variable(name: str) -> str:
    return name if name.isupper() else f"AAC_{name.upper()}"
