"""Signing in and out."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from aac_grpc.cli.command import JsonOption, Session, TargetOption, session_command
from aac_grpc.cli.failures import WrongUsage
from aac_grpc.cli.output import console, print_json
from aac_grpc.cli.session import SessionStore, find_target, require_running
from aac_grpc.client.aio import AsyncClient
from aac_grpc.client.models import User

PasswordStdinOption = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(login)
    session_command(app)(logout)
    session_command(app)(token)


def login(
    username: Annotated[str, typer.Argument(help="Asked for where it is left out.", show_default=False)] = "",
    password_stdin: PasswordStdinOption = False,
    target: TargetOption = "",
    json: JsonOption = False,
) -> None:
    """Sign in, and keep the session in a file that only you can read. Later commands act as this user."""
    where = find_target(target)
    require_running(where)
    if not sys.stdin.isatty() and not (username and password_stdin):
        raise WrongUsage(
            "there is no terminal to ask for the user name and the password on",
            remedy="name the user, and give the password on standard input: `aac login USER --password-stdin`",
        )
    name = username or typer.prompt("User name", err=True)
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = typer.prompt("Password", hide_input=True, err=True)
    user = asyncio.run(_login(where, name, password))
    if json:
        print_json(user)
    else:
        accounts = ", ".join(user.account_ids) or "none"
        console.print(f"Signed in at {where} as [bold]{user.username}[/bold] ({user.role}; accounts: {accounts})")


async def _login(target: str, username: str, password: str) -> User:
    async with AsyncClient(target) as client:
        tokens, user = await client.login(username, password)
    store = SessionStore.default()
    store.put(target, username, tokens)
    store.choose(target, username)
    return user


async def logout(session: Session) -> None:
    """End the session: its tokens and streams stop within a second."""
    store = SessionStore.default()
    user = store.current(session.target)
    if user is None:
        nobody = f"[dim]Nobody is signed in at {session.target}[/dim]"
        session.show({"signed_out": None}, lambda _: console.print(nobody))
        return
    try:
        await session.client.logout()
    finally:
        store.forget(session.target, user)
    session.show({"signed_out": user}, lambda _: console.print(f"Signed out {user}"))


async def token(session: Session) -> None:
    """Print an access token of the session, good for five minutes, for tools such as grpcurl."""
    bearer = await session.client.access_token()
    session.show({"access_token": bearer}, lambda _: print(bearer))  # for pipes
