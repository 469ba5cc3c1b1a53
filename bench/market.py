"""What is traded where something is measured, drilled or tested, and the people who trade it."""

import secrets
from collections.abc import Callable, Sequence

from aac.type.v1.market_pb2 import INSTRUMENT_KIND_VENUE, Instrument

from aac_grpc.client import AsyncClient


def stock(symbol: str) -> Instrument:
    """A stock with cents and whole shares."""
    return Instrument(
        symbol=symbol,
        name=f"{symbol}, for trial",
        kind=INSTRUMENT_KIND_VENUE,
        currency="USD",
        tick_size="0.01",
        lot_size="1",
        min_quantity="1",
        max_quantity="1000000",
    )


async def new_users(
    admin: Callable[[], AsyncClient], names: Sequence[str], venues: Sequence[str], cash: str, role: str = "trader"
) -> list[str]:
    """Users of the first administrator's firm, each with an account of the same name that is opened in each venue.

    Args:
        admin: Makes a client for the administrator.
        names: Of the users.
        venues: Where they trade.
        cash: What each account begins with, in USD.
        role: Of the users.

    Returns:
        Their passwords.
    """
    passwords = [secrets.token_urlsafe(16) for _ in names]
    async with admin() as client:
        for name, password in zip(names, passwords, strict=True):
            await client.create_account(name)
            await client.create_user(name, password, role, accounts=[name])
    # A token names the accounts that there were when it was issued.
    async with admin() as client:
        for name in names:
            for venue in venues:
                await client.open_account(name, cash, "USD", allow_short=True, venue=venue)
    return passwords
