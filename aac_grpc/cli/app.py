"""The command line's entry. A command's module is imported when it is called; errors become sentences."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from aac_grpc.cli.failures import WrongUsage, explain

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("up", "Start the platform: backends, services, flow."),
    "down": ("installation", "Stop what `aac up` started."),
    "status": ("installation", "What runs, and since when."),
    "restart": ("restart", "Restart services, one instance after the other."),
    "doctor": ("installation", "What is wrong with this machine, and how to mend it."),
    "serve": ("serving", "Run the process of one service."),
    "login": ("login", "Sign in, and keep the session."),
    "logout": ("login", "End the session."),
    "session": ("sessions", "List and revoke sessions."),
    "token": ("login", "Print an access token, for other tools."),
    "instruments": ("market", "What can be traded."),
    "quote": ("market", "Best bid and ask, and the last trade."),
    "trades": ("market", "Trades, newest first."),
    "candles": ("market", "Open, high, low and close by interval."),
    "watch": ("live", "Trades and quotes as they happen."),
    "book": ("live", "The book, live."),
    "order": ("orders", "Place, amend, cancel, list and show orders."),
    "account": ("account", "Cash of an account."),
    "positions": ("account", "Holdings by instrument."),
    "executions": ("account", "Executions, newest first."),
    "overview": ("account", "An account at a glance."),
    "mesh": ("mesh", "The services and their instances."),
    "events": ("events", "The platform's domain events."),
    "replay": ("replay", "Feed a recorded day into the venue, and see how it goes."),
    "api-key": ("api_keys", "Create, list and revoke API keys."),
}
"""Module that registers each command, and a word about it."""


def build(called: str | None) -> typer.Typer:
    """The application, with the called command's module, and with the words of all others."""
    app = typer.Typer(
        name="aac",
        help="AAC: an exchange that you start with one command.",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    registered: set[str] = set()
    for name, (module, word) in COMMANDS.items():
        if called in COMMANDS and module == COMMANDS[called][0]:
            if module not in registered:
                importlib.import_module(f"aac_grpc.cli.{module}").register(app)
                registered.add(module)
        else:
            app.command(name, help=word)(_not_called)
    return app


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process: 0 is success, 1 failure, 2 wrong usage, 130 an interrupt."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    called = next((argument for argument in given if not argument.startswith("-")), None)
    try:
        application = build(called)
        # Wrong usage is told in a box for people, and by us for programs.
        ended = application(given, prog_name="aac", standalone_mode="--json" not in given)
        sys.exit(ended if isinstance(ended, int) else 0)
    except typer.Abort:
        sys.exit(explain(WrongUsage("nothing was answered to the question"), as_json=True))
    except typer.TyperException as error:
        sys.exit(explain(WrongUsage(usage_fault(error)), as_json=True))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does: nothing more to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        sys.exit(explain(error, as_json="--json" in given))


def usage_fault(error: typer.TyperException) -> str:
    """What is wrong with a command line."""
    return str(getattr(error, "format_message", error.__str__)())


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(version("aac-grpc"))
        except PackageNotFoundError:
            typer.echo("a checkout, not installed")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", is_eager=True, help="Print the version.", callback=_version, show_default=False)
]


def _root(version: VersionOption = False) -> None:
    pass


def _not_called() -> None:
    raise AssertionError("stands for a command that was not called")
