"""auth-service: who people, programs and services are, and what they may do."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from aac_grpc.common.changes import Changes
from aac_grpc.common.database import Database
from aac_grpc.common.executor import BoundedExecutor
from aac_grpc.common.outbox import Relay
from aac_grpc.common.resources import Resources
from aac_grpc.common.server import Service
from aac_grpc.common.servicer import Servicer
from aac_grpc.common.tokens import TokenVerifier
from aac_grpc.servicers.auth.administration import Administration
from aac_grpc.servicers.auth.api_keys import ApiKeys
from aac_grpc.servicers.auth.bootstrap import bootstrap
from aac_grpc.servicers.auth.directory import Directory
from aac_grpc.servicers.auth.lockout import Lockout, Policy
from aac_grpc.servicers.auth.passwords import Passwords
from aac_grpc.servicers.auth.revocation_feed import RevocationFeed
from aac_grpc.servicers.auth.revocations import forget_ended, note_lifetime
from aac_grpc.servicers.auth.service_identities import ServiceIdentities
from aac_grpc.servicers.auth.servicer import AuthServicer
from aac_grpc.servicers.auth.sessions import Lifetimes, Sessions
from aac_grpc.servicers.auth.settings import AuthSettings
from aac_grpc.servicers.auth.signing import KeyRing
from aac_grpc.servicers.auth.tokens import AccessTokens

_TIDY_EVERY_S = 3600.0


async def build(resources: Resources) -> Sequence[Servicer]:
    """Composes auth-service, and makes at the first start what it cannot be without: keys and an administrator."""
    settings, database, clock = resources.settings, resources.database, resources.clock
    assert isinstance(settings, AuthSettings)
    ring = KeyRing(
        database, clock, settings.derive_key("signing keys"), timedelta(seconds=settings.signing_key_lifetime_s)
    )
    tokens = AccessTokens(ring, settings.token_issuer, timedelta(seconds=settings.access_token_lifetime_s))
    directory = Directory(database)
    passwords = _passwords(settings)
    keys = ApiKeys(database, directory, tokens)
    sessions = _sessions(resources, settings, directory, passwords, tokens)
    await passwords.start()
    await ring.load()
    await bootstrap(database, directory, passwords, settings)
    resources.verifier = TokenVerifier(
        ring,
        resources.revocations,
        issuer=settings.token_issuer,
        clock=clock,
        cache_size=settings.token_cache_size,
    )
    resources.tasks.spawn(ring.keep_fresh, name="signing-keys")
    resources.tasks.spawn(Relay(database, resources.events).run, name="outbox")
    resources.prune("outbox", "client_keys")
    administration = Administration(
        directory, keys, sessions, clock, operator_firm=settings.bootstrap_firm, plan=settings.default_plan
    )
    servicer = AuthServicer(
        administration=administration,
        changes=Changes(database),
        clock=clock,
        directory=directory,
        feed=await _revocation_feed(resources, settings),
        keys=keys,
        passwords=passwords,
        ring=ring,
        services=ServiceIdentities(tokens, settings.mesh_secret.get_secret_value()),
        sessions=sessions,
    )
    return [servicer]


def _sessions(
    resources: Resources, settings: AuthSettings, directory: Directory, passwords: Passwords, tokens: AccessTokens
) -> Sessions:
    database, clock = resources.database, resources.clock
    lockout = Lockout(database, clock, _lockout_policy(settings))
    secret = settings.derive_key("refresh tokens")
    sessions = Sessions(database, directory, passwords, lockout, tokens, clock, _lifetimes(settings), secret)
    resources.tasks.spawn(partial(_tidy, database, sessions, lockout), name="tidy")
    return sessions


async def _revocation_feed(resources: Resources, settings: AuthSettings) -> RevocationFeed:
    await note_lifetime(resources.database, settings.access_token_lifetime_s)
    feed = RevocationFeed(resources.database, resources.revocations, resources.clock, settings.revocation_poll_s)
    await feed.load()
    resources.tasks.spawn(feed.follow, name="revocations")
    return feed


async def _tidy(database: Database, sessions: Sessions, lockout: Lockout) -> None:
    """Removes what has ended, again and again; runs until it is cancelled."""
    while True:
        await sessions.forget_ended()
        await lockout.forget_old()
        await forget_ended(database)
        await asyncio.sleep(_TIDY_EVERY_S)


def _passwords(settings: AuthSettings) -> Passwords:
    executor = BoundedExecutor("argon2", threads=settings.password_threads, waiting=settings.password_queue)
    return Passwords(
        executor,
        memory_kib=settings.password_memory_kib,
        passes=settings.password_passes,
        lanes=settings.password_lanes,
    )


def _lockout_policy(settings: AuthSettings) -> Policy:
    return Policy(
        tries=settings.lockout_tries,
        window=timedelta(seconds=settings.lockout_window_s),
        wait=timedelta(seconds=settings.lockout_wait_s),
        tries_in_all=settings.lockout_tries_in_all,
    )


def _lifetimes(settings: AuthSettings) -> Lifetimes:
    return Lifetimes(
        refresh_token=timedelta(seconds=settings.refresh_token_lifetime_s),
        session=timedelta(seconds=settings.session_lifetime_s),
        repeat=timedelta(seconds=settings.refresh_repeat_s),
    )


service = Service(
    name="auth-service",
    settings=AuthSettings,
    build=build,
    migrations="aac_grpc.servicers.auth.migrations",
    stateless=True,
)
