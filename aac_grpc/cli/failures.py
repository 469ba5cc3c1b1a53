"""Errors for people: a red sentence, the fields at fault, the request id. For programs: one JSON object."""

from __future__ import annotations

import json
import sys
from typing import Any

FAILED = 1
WRONG_USAGE = 2

_MODULES_FOR_PEOPLE = {"aac_grpc.backends.errors", "aac_grpc.cli.session"}
"""Their errors say what is wrong and how to mend it."""


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
            "retry_after": error.retry_after,
            "request_id": error.request_id,
        }
    if isinstance(error, ModuleNotFoundError):
        remedy = "pip install 'aac-grpc[up]'"
        return {"reason": "ModuleNotFoundError", "message": f"{error.name} is not installed; {remedy} installs it"}
    if _is_for_people(error):
        return {"reason": type(error).__name__, "message": str(error)}
    return None


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
    facts = [f"{document['code']} {document['reason']}"] if "code" in document else []
    if document.get("request_id"):
        facts.append(f"request id {document['request_id']}")
    if facts:
        console.print(Text("  " + ", ".join(facts), style="dim"))
