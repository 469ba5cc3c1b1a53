"""Access tokens: what is taken, what is refused, what is remembered."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest

from aac_grpc.client.errors import DependencyUnavailable, Unauthenticated
from aac_grpc.common.call import Principal
from aac_grpc.common.keys import Keys, RemoteKeys, parse_keys
from aac_grpc.common.revocations import Revocations
from aac_grpc.common.tokens import TokenVerifier, claims_of, principal_of
from tests.support.mesh import Signer
from tests.support.revoking import revocation


class ManualClock:
    """Time that a test moves; wall and monotonic time are the same."""

    def __init__(self) -> None:
        self.seconds = datetime.now(UTC).timestamp()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def time(self) -> float:
        return self.seconds

    def nanoseconds(self) -> int:
        return int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds


class Jwks:
    """auth-service's keys, and how often they were asked for."""

    def __init__(self, *signers: Signer) -> None:
        self.signers = list(signers)
        self.fetches = 0
        self.away = False

    async def __call__(self) -> Keys:
        self.fetches += 1
        await asyncio.sleep(0)
        if self.away:
            raise DependencyUnavailable("auth-service")
        return parse_keys([signer.public_key for signer in self.signers])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def jwks(signer: Signer) -> Jwks:
    return Jwks(signer)


@pytest.fixture
def revocations(clock: ManualClock) -> Revocations:
    return Revocations(clock, 5)


@pytest.fixture
def verifier(jwks: Jwks, revocations: Revocations, clock: ManualClock) -> TokenVerifier:
    return TokenVerifier(RemoteKeys(jwks, clock), revocations, issuer="aac", clock=clock, cache_size=10)


async def verify(verifier: TokenVerifier, token: str) -> Principal:
    return verifier.known(f"Bearer {token}") or await verifier.verify(f"Bearer {token}")


async def reason(verifier: TokenVerifier, credential: str) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await verifier.verify(credential)
    return refusal.value.reason


async def test_a_token_says_who_the_caller_is(verifier: TokenVerifier, signer: Signer) -> None:
    principal = await verify(verifier, signer.token("user-7", scopes=["a:b"], accounts=["x", "y"], plan="standard"))
    assert (principal.subject, principal.kind, principal.firm_id) == ("user-7", "user", "firm-1")
    assert principal.has_scope("a:b")
    assert principal.may_act_on("x")
    assert not principal.may_act_on("z")


async def test_a_star_covers_every_account(verifier: TokenVerifier, signer: Signer) -> None:
    principal = await verify(verifier, signer.token(kind="service", accounts=["*"]))
    assert principal.is_service
    assert principal.may_act_on("whatever")


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "someone else"},
        {"iss": None},
        {"sub": None},
        {"sub": 7},
        {"knd": "root"},
        {"knd": None},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": None},
        {"jti": None},
        {"accounts": "*"},
        {"accounts": [1]},
        {"scopes": {"a": 1}},
        {"plan": ["x"]},
    ],
    ids=str,
)
async def test_a_token_with_other_claims_than_ours_is_refused(
    verifier: TokenVerifier, signer: Signer, changes: Mapping[str, Any]
) -> None:
    claims = jwt.decode(signer.token(), options={"verify_signature": False}) | changes
    token = signer.sign({name: value for name, value in claims.items() if value is not None})
    assert await reason(verifier, f"Bearer {token}") == "INVALID_TOKEN"


async def test_a_token_that_nobody_of_ours_signed_is_refused(verifier: TokenVerifier, signer: Signer) -> None:
    claims = jwt.decode(signer.token(), options={"verify_signature": False})
    forged = [
        Signer().token(),
        jwt.encode(claims, None, algorithm="none", headers={"kid": signer.key_id}),
        jwt.encode(claims, "secret" * 10, algorithm="HS256", headers={"kid": signer.key_id}),
        # The public key as an HMAC secret: a classic.
        jwt.encode(claims, signer.public_key.x.ljust(64, "x"), algorithm="HS256", headers={"kid": signer.key_id}),
        signer.sign(claims, kid="unknown"),
        jwt.encode(claims, signer.private_key, algorithm="EdDSA"),
        signer.token()[:-4] + "AAAA",
        "a.b.c",
        "",
    ]
    for token in forged:
        assert await reason(verifier, f"Bearer {token}") == "INVALID_TOKEN"
    assert await reason(verifier, signer.token()) == "INVALID_TOKEN", "the scheme is part of it"


async def test_a_token_ends_on_time_though_it_was_verified_before(
    verifier: TokenVerifier, signer: Signer, clock: ManualClock
) -> None:
    token = signer.token(lifetime_s=60)
    await verify(verifier, token)
    clock.seconds += 59
    await verify(verifier, token)
    clock.seconds += 2
    with pytest.raises(Unauthenticated) as refusal:
        await verify(verifier, token)
    assert refusal.value.reason == "EXPIRED_TOKEN"
    assert await reason(verifier, f"Bearer {token}") == "EXPIRED_TOKEN"


async def test_keys_are_fetched_once_for_many_tokens_at_once(
    verifier: TokenVerifier, signer: Signer, jwks: Jwks
) -> None:
    await asyncio.gather(*(verify(verifier, signer.token(f"user-{number}")) for number in range(20)))
    assert jwks.fetches == 1


async def test_made_up_key_ids_do_not_flood_auth_service(
    verifier: TokenVerifier, signer: Signer, jwks: Jwks, clock: ManualClock
) -> None:
    for number in range(50):
        assert await reason(verifier, f"Bearer {Signer(f'made-up-{number}').token()}") == "INVALID_TOKEN"
    assert jwks.fetches == 1
    clock.seconds += 1
    await reason(verifier, f"Bearer {Signer('made-up').token()}")
    assert jwks.fetches == 2


async def test_a_new_key_is_found_when_its_first_token_comes(
    verifier: TokenVerifier, signer: Signer, jwks: Jwks, clock: ManualClock
) -> None:
    await verify(verifier, signer.token())
    newer = Signer("newer")
    jwks.signers.append(newer)
    clock.seconds += 1
    await verify(verifier, newer.token())


async def test_the_last_known_keys_hold_while_auth_service_is_away(
    verifier: TokenVerifier, signer: Signer, jwks: Jwks, clock: ManualClock
) -> None:
    await verify(verifier, signer.token("first"))
    jwks.away = True
    clock.seconds += 1
    assert await reason(verifier, f"Bearer {Signer('unknown').token()}") == "INVALID_TOKEN"
    await verify(verifier, signer.token("second"))


async def test_without_any_key_the_caller_is_not_blamed(clock: ManualClock, jwks: Jwks, signer: Signer) -> None:
    jwks.away = True
    keys = RemoteKeys(jwks, clock, patience_s=0.05)
    verifier = TokenVerifier(keys, Revocations(clock, 5), issuer="aac", clock=clock)
    with pytest.raises(DependencyUnavailable) as away:
        await verify(verifier, signer.token())
    assert away.value.metadata == {"dependency": "auth-service"}


async def test_the_first_tokens_wait_for_keys_that_come_late(
    verifier: TokenVerifier, signer: Signer, jwks: Jwks
) -> None:
    jwks.away = True
    waiting = [asyncio.ensure_future(verify(verifier, signer.token(f"user-{number}"))) for number in range(20)]
    while jwks.fetches < 2:  # noqa: ASYNC110 the second one follows by itself
        await asyncio.sleep(0.01)
    jwks.away = False
    await asyncio.gather(*waiting)
    assert jwks.fetches <= 3


async def test_the_memory_of_tokens_is_bounded(verifier: TokenVerifier, signer: Signer) -> None:
    tokens = [signer.token(f"user-{number}") for number in range(25)]
    for token in tokens:
        await verify(verifier, token)
    assert sum(verifier.known(f"Bearer {token}") is not None for token in tokens) <= 10
    assert verifier.known(f"Bearer {tokens[-1]}") is not None


async def test_a_revoked_token_is_forgotten_and_refused(
    verifier: TokenVerifier, revocations: Revocations, signer: Signer
) -> None:
    mine, other = signer.token("me"), signer.token("other")
    await verify(verifier, mine)
    await verify(verifier, other)
    revocations.add([revocation(user_id="me", generation=1)])
    assert verifier.known(f"Bearer {mine}") is None
    assert await reason(verifier, f"Bearer {mine}") == "REVOKED_TOKEN"
    assert verifier.known(f"Bearer {other}") is not None


def test_claims_say_what_is_read_from_them() -> None:
    principal = Principal(
        subject="u", username="ada", kind="user", firm_id="f", accounts=frozenset({"a", "b"}),
        scopes=frozenset({"x:y"}), plan="standard", token_id="s.1", expires_at=2_000_000_000,
    )  # fmt: skip
    assert principal_of(claims_of(principal, issuer="aac", issued_at=1)) == principal
