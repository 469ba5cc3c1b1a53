"""Sessions: where somebody is signed in."""

from __future__ import annotations

from typing import Annotated

import typer

from aac_grpc.cli.command import Session, session_command
from aac_grpc.cli.output import console


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(no_args_is_help=True, help="List and revoke sessions.")
    session_command(group, "list")(list_sessions)
    session_command(group)(revoke)
    app.add_typer(group, name="session")


async def list_sessions(session: Session) -> None:
    """Your sessions that have not ended, newest first."""
    columns = [
        ("session", lambda one: one.session_id),
        ("since", lambda one: one.created_at),
        ("until", lambda one: one.ends_at),
        ("", lambda one: "this one" if one.current else ""),
    ]
    found = [one async for one in session.client.list_sessions()]
    session.show_rows(found, columns, empty="No sessions")


async def revoke(
    session: Session, session_id: Annotated[str, typer.Argument(help="As `aac session list` shows it.")]
) -> None:
    """End a session: its tokens and streams stop within a second."""
    ended = await session.client.revoke_session(session_id)
    session.show(ended, lambda one: console.print(f"Ended the session {one.session_id} of {one.username}"))
