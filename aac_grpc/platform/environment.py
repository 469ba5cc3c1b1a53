"""What the user's environment says to every process: looked at before anything starts, where a sentence helps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from secrets import token_urlsafe

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError
from pydantic_settings import SettingsError

from aac_grpc.common.settings import ServiceSettings


def _read_redis_url(url: str) -> object:
    from redis.connection import parse_url  # where none is given, the supervisor needs no client of Redis

    return parse_url(url)  # type: ignore[no-untyped-call]  # redis types it not


_OF_NO_SERVICE = {"AAC_STATE_DIR", "AAC_SHARED"}

_URLS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "DATABASE_URL": (conninfo_to_dict, "postgresql://user:password@host:5432/database"),
    "REDIS_URL": (_read_redis_url, "redis://host:6379/0"),
}
"""What reads each URL, and an example."""


class EnvironmentUnsound(ValueError):
    """Variables of the environment are wrong.

    Attributes:
        fields: What is wrong, by variable; without secrets.
        remedy: What to do about it.
    """

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("the environment is not as it should be")
        self.fields = dict(faults)
        self.remedy = (
            "set what is named, or unset ENVIRONMENT: a laptop needs none"
            if "ENVIRONMENT" in faults
            else f"mend {' and '.join(faults)}, or unset for the default; docs/configuration.md describes them"
        )


def require_sound(environment: Mapping[str, str], services: Callable[[], Iterable[type[ServiceSettings]]]) -> None:
    """Checks what processes read from their environment, with stand-ins for the secrets that the platform tells them.

    Args:
        environment: Of this process.
        services: Imports and returns the settings of what will be started; asked only where they are told anything.

    Raises:
        EnvironmentUnsound: Names every variable that is wrong, and why; never the value of one that may be a secret.
    """
    faults = _url_faults(environment)
    told = any(name.startswith("AAC_") and name not in _OF_NO_SERVICE for name in environment)
    for settings in services() if told or "ENVIRONMENT" in environment else (ServiceSettings,):
        for variable, fault in _settings_faults(settings, environment):
            faults.setdefault(variable, fault)
    if faults:
        raise EnvironmentUnsound(faults)


def _settings_faults(settings: type[ServiceSettings], environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    secrets = {
        "service_secret": token_urlsafe(32),
        "mesh_secret": environment.get("AAC_MESH_SECRET") or token_urlsafe(32),
    }
    try:
        settings(**secrets)  # type: ignore[arg-type]  # pydantic makes secrets of them
    except SettingsError as error:
        if (named := re.search(r'field "(\w+)"', str(error))) is None:
            raise
        yield _variable(named[1]), "is not JSON"
    except ValidationError as error:
        for one in error.errors():
            if one["loc"]:
                name = str(one["loc"][0])
                yield _variable(name), _fault(settings, name, one["msg"], environment)
            else:
                yield "ENVIRONMENT", str(one["ctx"]["error"])


def _fault(settings: type[ServiceSettings], name: str, words: str, environment: Mapping[str, str]) -> str:
    field = settings.model_fields.get(name.lower())
    value = environment.get(_variable(name))
    words = words.removeprefix("Value error, ").replace("Input should", "should")
    return words if value is None or field is None or "Secret" in str(field.annotation) else f"{value!r}: {words}"


def _url_faults(environment: Mapping[str, str]) -> dict[str, str]:
    faults = {}
    for variable, (read, example) in _URLS.items():
        try:
            if given := environment.get(variable):
                read(given)
        except (ProgrammingError, ValueError):
            faults[variable] = f"is not a URL such as {example}"
    return faults


def _variable(name: str) -> str:
    return name if name.isupper() else f"AAC_{name.upper()}"
