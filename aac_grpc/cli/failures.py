"""Errors for people: a red sentence, the fields at fault, the remedy, the request id. For programs: one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aac_grpc.client.errors import AacError

FAILED = 1
WRONG_USAGE = 2

_MODULES_FOR_PEOPLE = {"aac_grpc.backends.errors", "aac_grpc.cli.session"}
"""Their errors say what is wrong and how to mend it."""


class WrongUsage(ValueError):
    """The command line can't be read, or says what can't be.

    Attributes:
        fields: What is wrong, by argument or option.
        remedy: What to do about it.
    """

    def __init__(self, message: str, *, fields: Mapping[str, str] | None = None, remedy: str = "") -> None:
        super().__init__(message)
        self.fields = dict(fields or {})
        self.remedy = remedy


_LISTED_BY = {
    "instrument": "`aac instruments` lists what can be traded",
    "order": "`aac order list` shows your orders",
    "API key": "`aac api-key list` shows your keys",
    "session": "`aac session list` shows your sessions",
    "venue": "leave --venue out for the one that `aac up` makes, main",
}
"""By the kind of thing that there is none of."""


_SIGN_IN = "sign in again with `aac login USER`"
_ABOUT_CREDENTIALS = {
    "UNAUTHENTICATED": "sign in with `aac login USER`, or give --api-key",
    "EXPIRED_TOKEN": _SIGN_IN,
    "REVOKED_TOKEN": _SIGN_IN,
    "INVALID_TOKEN": _SIGN_IN,
    "WRONG_CREDENTIALS": "`aac login USER` asks for a password; `aac api-key create NAME` makes a key",
    "FOREIGN_ACCOUNT": "leave --account out to use your own, or name a user who may with --as",
}


def explain(error: Exception, *, as_json: bool) -> int:
    """Writes an error to standard error and returns the exit code.

    Raises:
        Exception: The error itself, where it is a fault of this program.
    """
    document = _document(error)
    if document is None:
        raise error
    if as_json:
        sys.stderr.write(json.dumps({"error": document}) + "\n")
    else:
        _print(document)
    return WRONG_USAGE if isinstance(error, ValueError) else FAILED


def _document(error: Exception) -> dict[str, Any] | None:
    from aac_grpc.client.errors import AacError

    if isinstance(error, AacError):
        return {
            "code": error.code.name,
            "reason": error.reason,
            "message": error.message,
            "fields": [{"field": one.field, "description": one.description} for one in error.violations],
            "metadata": error.metadata,
            "remedy": remedy_of(error),
            "retry_after": error.retry_after,
            "request_id": error.request_id,
        }
    if isinstance(error, ModuleNotFoundError):
        remedy = "pip install 'aac-grpc[up]' installs it"
        return _own(error, f"{error.name} is not installed", remedy=remedy)
    if _is_for_people(error):
        return _own(error, str(error), getattr(error, "fields", {}), getattr(error, "remedy", ""))
    return None


def _own(error: Exception, message: str, fields: Mapping[str, str] | None = None, remedy: str = "") -> dict[str, Any]:
    """An error that no service told, in the shape of those that one did."""
    return {
        "code": "INVALID_ARGUMENT" if isinstance(error, ValueError) else "FAILED_PRECONDITION",
        "reason": type(error).__name__,
        "message": message,
        "fields": [{"field": field, "description": description} for field, description in (fields or {}).items()],
        "metadata": {},
        "remedy": remedy,
        "retry_after": None,
        "request_id": "",
    }


def remedy_of(error: AacError) -> str:
    """What to do about an error of a call, as far as the command line has something for it; empty where it has not."""
    if error.code.name == "UNAVAILABLE" and not error.request_id:
        return "`aac status` says what runs on this machine; --target names the gateway of another one"
    if error.reason == "MISSING_SCOPE":
        return "name a user who has it, as --as admin does on your own installation, or sign in as one (`aac login`)"
    if error.reason in _ABOUT_CREDENTIALS:
        return _ABOUT_CREDENTIALS[error.reason]
    if any(violation.field.startswith("symbol") for violation in error.violations):
        return _LISTED_BY["instrument"]
    return _LISTED_BY.get(error.metadata.get("kind", ""), "")


def _is_for_people(error: Exception) -> bool:
    # Known by name, so that no command has to import them.
    modules = {base.__module__ for base in type(error).__mro__}
    return isinstance(error, OSError | ValueError) or bool(modules & _MODULES_FOR_PEOPLE)


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True)
    message = document["message"] or "the call failed"
    console.print(Text("✗ " + message[:1].upper() + message[1:], style="bold red"))
    for violation in document["fields"]:
        console.print(Text(f"  {violation['field']}: {violation['description']}", style="red"))
    if document["remedy"]:
        console.print(Text("  " + document["remedy"], style="yellow"))
    # Reasons of services are names in the contract; of others they are names of classes, for programs.
    facts = [f"{document['code']} {document['reason']}"] if document["reason"].isupper() else []
    if document["request_id"]:
        facts.append(f"request id {document['request_id']}")
    if facts:
        console.print(Text("  " + ", ".join(facts), style="dim"))
