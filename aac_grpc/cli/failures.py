"""Errors for people: a red sentence, the fields at fault, the remedy, the request id. For programs: one JSON object."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aac_grpc.client.errors import AacError

FAILED = 1
WRONG_USAGE = 2

_MODULES_FOR_PEOPLE = {"aac_grpc.backends.errors", "aac_grpc.cli.session"}
"""Their errors say what is wrong and how to mend it."""


class WrongUsage(ValueError):
    """The command line can't be read."""


_LISTED_BY = {
    "instrument": "`aac instruments` lists what can be traded",
    "order": "`aac order list` shows your orders",
    "API key": "`aac api-key list` shows your keys",
    "session": "`aac session list` shows your sessions",
}
"""By the kind of thing that there is none of."""


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
        remedy = "pip install 'aac-grpc[up]'"
        return {"reason": "ModuleNotFoundError", "message": f"{error.name} is not installed; {remedy} installs it"}
    if _is_for_people(error):
        return {"reason": type(error).__name__, "message": str(error)}
    return None


def remedy_of(error: AacError) -> str:
    """What to do about an error of a call, as far as the command line has something for it; empty where it has not."""
    if error.code.name == "UNAVAILABLE" and not error.request_id:
        return "`aac status` says what runs on this machine; --target names the gateway of another one"
    if error.reason == "MISSING_SCOPE":
        return "name a user who has it, as --as admin does on your own installation, or sign in as one (`aac login`)"
    if error.reason == "UNAUTHENTICATED":
        return "sign in with `aac login USER`, or give --api-key"
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
    for violation in document.get("fields", ()):
        console.print(Text(f"  {violation['field']}: {violation['description']}", style="red"))
    if document.get("remedy"):
        console.print(Text("  " + document["remedy"], style="yellow"))
    facts = [f"{document['code']} {document['reason']}"] if "code" in document else []
    if document.get("request_id"):
        facts.append(f"request id {document['request_id']}")
    if facts:
        console.print(Text("  " + ", ".join(facts), style="dim"))
