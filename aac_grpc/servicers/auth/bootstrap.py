"""Who is there after the first start: an administrator, and a trader with an account to try things with."""

from aac_grpc.common.database import Database
from aac_grpc.domain.permissions import Role
from aac_grpc.servicers.auth.directory import Directory
from aac_grpc.servicers.auth.passwords import Passwords
from aac_grpc.servicers.auth.settings import AuthSettings


async def bootstrap(database: Database, directory: Directory, passwords: Passwords, settings: AuthSettings) -> None:
    """Makes what the settings name and what is not there yet; what is there stays as it is."""
    firm, account = settings.bootstrap_firm, settings.bootstrap_demo_account
    people = [
        (settings.bootstrap_admin_username, settings.bootstrap_admin_password, Role.ADMIN, []),
        (settings.bootstrap_demo_username, settings.bootstrap_demo_password, Role.TRADER, [account]),
    ]
    async with database.transaction() as tx:
        # Of several instances at their first start one makes everything.
        await tx.execute("select pg_advisory_xact_lock(hashtext('bootstrap'))")
        await directory.add_firm(tx, firm)
        if settings.bootstrap_demo_password.get_secret_value() and not await directory.has_account(tx, account):
            await directory.add_account(tx, account_id=account, firm_id=firm, name="Demo")
        for username, password, role, account_ids in people:
            if not password.get_secret_value() or await directory.has_user(tx, username):
                continue
            await directory.add_user(
                tx,
                username=username,
                password_hash=await passwords.hash(password.get_secret_value()),
                firm_id=firm,
                role=role,
                plan="professional",
                account_ids=account_ids,
            )
