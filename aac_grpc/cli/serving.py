"""`aac serve NAME`."""

from __future__ import annotations

from typing import Annotated

import typer

from aac_grpc.cli.serve import FEED, SERVICES, run

NameArgument = Annotated[str, typer.Argument(help=f"One of {', '.join((*SERVICES, FEED))}.")]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(serve)


def serve(name: NameArgument) -> None:
    """Run the process of one service, told by its environment (docs/configuration.md), until it is stopped."""
    run(name)
