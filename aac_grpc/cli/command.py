"""How a command is written: an async function of a session; options that all share are added to it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Concatenate, ParamSpec

import typer
from typer.core import TyperCommand

from aac_grpc.cli import output
from aac_grpc.cli.session import connect, find_target, require_running
from aac_grpc.client.aio import AsyncClient

P = ParamSpec("P")

VenueOption = Annotated[str, typer.Option("--venue", help="Isolated market.", show_default="main")]
AccountOption = Annotated[str, typer.Option("--account", help="Account; left out, your only one.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")]

OffsetOption = Annotated[int, typer.Option("--port-offset", envvar="AAC_PORT_OFFSET", help="Added to every port.")]
TargetOption = Annotated[
    str,
    typer.Option(
        "--target",
        envvar="AAC_TARGET",
        help="host:port of the gateway, or of several, with commas.",
        show_default="this installation's",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON: one document, or a line for each update.")]

_SHARED: dict[str, tuple[Any, Any]] = {
    "json": (JsonOption, False),
    "target": (TargetOption, ""),
    "api_key": (
        Annotated[
            str,
            typer.Option("--api-key", envvar="AAC_API_KEY", help="Sign in with an API key.", show_default=False),
        ],
        "",
    ),
    "user": (
        Annotated[
            str,
            typer.Option(
                "--as", metavar="USER", help="Act as demo, admin or another who is signed in.", show_default=False
            ),
        ],
        "",
    ),
}


class Session:
    """What a command works with.

    Attributes:
        client: Signed in as far as the session allows.
        json: Print JSON.
        target: host:port of the gateway.
    """

    def __init__(self, client: AsyncClient, target: str, *, json: bool) -> None:
        self.client = client
        self.target = target
        self.json = json

    def show(self, value: Any, print_it: Callable[[Any], None]) -> None:
        """Prints one result: as JSON, or as `print_it` does."""
        if self.json:
            output.print_json(value)
        else:
            print_it(value)

    def show_rows(self, rows: Any, columns: list[output.Column], *, empty: str) -> None:
        """Prints a list."""
        self.show(rows, lambda shown: output.print_table(shown, columns, empty=empty))


Work = Callable[Concatenate[Session, P], Coroutine[Any, Any, None]]


def session_command(
    app: typer.Typer, name: str | None = None, *, preferred: str = "demo", kind: type[TyperCommand] | None = None
) -> Callable[[Work[P]], Work[P]]:
    """Makes a command of an async function whose first argument is the session.

    Args:
        app: Where the command belongs.
        name: Of the command; the function's by default.
        preferred: Who of the local installation acts where nobody is named or signed in.
        kind: How its arguments are read; None for the usual way.
    """

    def decorate(work: Work[P]) -> Work[P]:
        def callback(**given: Any) -> None:
            shared = {option: given.pop(option) for option in _SHARED}
            asyncio.run(_run(work, shared, preferred, given))

        _, *own = inspect.signature(work, eval_str=True).parameters.values()
        shared = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for option, (kind, default) in _SHARED.items()
        ]
        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        vars(callback)["__signature__"] = inspect.Signature([*own, *shared])
        callback.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *shared)}
        callback.__doc__ = work.__doc__
        callback.__name__ = getattr(work, "__name__", "command")
        app.command(name, cls=kind)(callback)
        return work

    return decorate


async def _run(
    work: Callable[..., Coroutine[Any, Any, None]], shared: dict[str, Any], preferred: str, given: dict[str, Any]
) -> None:
    target = find_target(shared["target"])
    require_running(target)
    async with connect(target, shared["api_key"], shared["user"], preferred) as client:
        await work(Session(client, target, json=shared["json"]), **given)
