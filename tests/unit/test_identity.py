"""How processes prove who they are."""

import asyncio
import hashlib
import hmac

import pytest

from aac_grpc.client.errors import DependencyUnavailable, Unauthenticated
from aac_grpc.common.identity import ServiceSecrets, ServiceToken, ServiceTokens, derive_service_secret
from tests.unit.test_tokens import ManualClock


class Issuer:
    """Issues tokens that live for 100 s."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.issued = 0
        self.away = False

    async def __call__(self) -> ServiceToken:
        await asyncio.sleep(0.01)
        if self.away:
            raise DependencyUnavailable("auth-service")
        self.issued += 1
        return ServiceToken(f"token-{self.issued}", self.clock.time(), self.clock.time() + 100)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def issuer(clock: ManualClock) -> Issuer:
    return Issuer(clock)


@pytest.fixture
def tokens(issuer: Issuer, clock: ManualClock) -> ServiceTokens:
    return ServiceTokens(issuer, clock)


async def test_all_who_wait_get_the_same_token(tokens: ServiceTokens, issuer: Issuer) -> None:
    assert set(await asyncio.gather(*(tokens.get() for _ in range(10)))) == {"token-1"}
    assert issuer.issued == 1


async def test_a_caller_that_gives_up_does_not_take_the_token_from_the_others(tokens: ServiceTokens) -> None:
    impatient, patient = asyncio.ensure_future(tokens.get()), asyncio.ensure_future(tokens.get())
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == "token-1"


async def test_a_token_is_renewed_in_the_background_at_half_its_life(tokens: ServiceTokens, clock: ManualClock) -> None:
    await tokens.get()
    clock.seconds += 49
    assert await tokens.get() == "token-1"
    await asyncio.sleep(0.02)
    clock.seconds += 2
    assert await tokens.get() == "token-1"
    await asyncio.sleep(0.02)
    assert await tokens.get() == "token-2"


async def test_the_last_token_is_used_until_it_ends_while_auth_service_is_away(
    tokens: ServiceTokens, issuer: Issuer, clock: ManualClock
) -> None:
    await tokens.get()
    issuer.away = True
    clock.seconds += 99
    assert await tokens.get() == "token-1"
    await asyncio.sleep(0.02)
    clock.seconds += 2
    with pytest.raises(DependencyUnavailable):
        await tokens.get()
    issuer.away = False
    assert await tokens.get() == "token-2"


async def test_a_token_that_was_not_taken_is_replaced(
    tokens: ServiceTokens, issuer: Issuer, clock: ManualClock
) -> None:
    await tokens.get()
    for _ in range(10):
        tokens.forget()
        await tokens.get()
    assert issuer.issued == 2, "at most one a second"
    clock.seconds += 1.1
    tokens.forget()
    assert await tokens.get() == "token-3"


async def test_closing_ends_a_renewal_that_is_under_way(tokens: ServiceTokens) -> None:
    waiting = asyncio.ensure_future(tokens.get())
    await asyncio.sleep(0)
    await tokens.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_services_secret_is_an_hmac_of_its_name() -> None:
    expected = hmac.new(b"mesh", b"service:analytics", hashlib.sha256).hexdigest()
    assert derive_service_secret("mesh", "analytics") == expected


async def test_a_bootstrap_secret_is_taken_from_its_own_service_only() -> None:
    scheme = ServiceSecrets("mesh")
    secret = derive_service_secret("mesh", "analytics")
    principal = await scheme.authenticate({"x-aac-service": "analytics", "x-aac-service-secret": secret})
    assert principal is not None
    assert (principal.subject, principal.is_service, principal.has_scope("internal")) == ("analytics", True, True)
    assert await scheme.authenticate({"authorization": "Bearer x"}) is None
    for wrong in (
        {"x-aac-service": "trading-engine", "x-aac-service-secret": secret},
        {"x-aac-service": "analytics", "x-aac-service-secret": "wrong"},
        {"x-aac-service": "analytics"},
    ):
        with pytest.raises(Unauthenticated) as refusal:
            await scheme.authenticate(wrong)
        assert refusal.value.reason == "WRONG_CREDENTIALS"


def test_without_a_mesh_secret_nobody_proves_anything() -> None:
    with pytest.raises(ValueError, match="AAC_MESH_SECRET"):
        ServiceSecrets("")
