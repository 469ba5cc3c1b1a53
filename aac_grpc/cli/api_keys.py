"""API keys: credentials of programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from aac_grpc.cli.command import Session, session_command
from aac_grpc.cli.market import parse_interval
from aac_grpc.cli.output import console, print_facts
from aac_grpc.client.models import ApiKey, CreatedApiKey

ScopesOption = Annotated[list[str] | None, typer.Option("--scope", help="Only these of yours, such as orders:write.")]
AccountsOption = Annotated[list[str] | None, typer.Option("--account", help="Only these of yours.")]
ExpiresOption = Annotated[str, typer.Option("--expires", help="Such as 12h or 30d.", show_default="never")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")
    session_command(group)(create)
    session_command(group, "list")(list_keys)
    session_command(group)(revoke)
    app.add_typer(group, name="api-key")


async def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="For people.")],
    scope: ScopesOption = None,
    account: AccountsOption = None,
    expires: ExpiresOption = "",
) -> None:
    """Make an API key. Its secret is printed now and never again."""
    until = datetime.now(UTC) + parse_interval(expires) if expires else None
    created = await session.client.create_api_key(name, scopes=scope or (), accounts=account or (), expires_at=until)
    session.show(created, _print_created)


async def list_keys(session: Session) -> None:
    """Your API keys, newest first."""
    columns = [
        ("key", lambda one: one.key_id),
        ("name", lambda one: one.name),
        ("scopes", lambda one: " ".join(one.scopes)),
        ("accounts", lambda one: " ".join(one.account_ids)),
        ("expires", lambda one: one.expires_at),
        ("revoked", lambda one: one.revoked_at),
    ]
    found = [key async for key in session.client.list_api_keys()]
    session.show_rows(found, columns, empty="No API keys")


async def revoke(
    session: Session, key_id: Annotated[str, typer.Argument(help="As `aac api-key list` shows it.")]
) -> None:
    """Revoke an API key."""
    key = await session.client.revoke_api_key(key_id)
    session.show(key, lambda shown: console.print(f"Revoked {shown.key_id} ({shown.name})"))


def _print_created(created: CreatedApiKey) -> None:
    key: ApiKey = created.api_key
    print_facts(
        [
            ("key", key.key_id),
            ("secret", created.secret),
            ("scopes", " ".join(key.scopes)),
            ("accounts", " ".join(key.account_ids) or None),
            ("expires", key.expires_at or "never"),
        ]
    )
    console.print("[yellow]Keep the secret now: it is not shown again.[/yellow]")
    console.print("Use it as `--api-key`, AAC_API_KEY, or the metadata key x-api-key.")
