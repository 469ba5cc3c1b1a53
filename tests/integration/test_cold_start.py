"""A process that has just started, and gets its first calls all at once."""

import asyncio
from collections import Counter
from typing import Any

import grpc
import pytest

from aac_grpc.client.errors import AacError
from tests.support.mesh import AuthDouble, PingMesh, Signer, ping_mesh
from tests.support.ping import ARITIES

PATIENT: dict[str, Any] = {
    "rate_limits": {}, "timeout_fast_s": 60.0, "shedding": False, "revocation_watch": False,
}  # fmt: skip
OF_EACH_ARITY = 100


class LateKeys(AuthDouble):
    """An auth-service that has no answer to the first requests for its keys, or takes its time for each."""

    def __init__(self, refusals: int, takes_s: float) -> None:
        super().__init__(Signer())
        self._refusals = refusals
        self._takes_s = takes_s

    async def GetJwks(self, request: Any, context: Any) -> Any:
        response = await super().GetJwks(request, context)
        await asyncio.sleep(self._takes_s)
        if self.key_requests <= self._refusals:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return response


async def outcomes(mesh: PingMesh) -> Counter[str]:
    """Reasons that calls of all arities end with, which are made at once."""

    async def outcome(name: str) -> str:
        try:
            await mesh.call(name, timeout=60)
        except AacError as error:
            return error.reason
        return "OK"

    calls = [outcome(name) for name in ARITIES for _ in range(OF_EACH_ARITY)]
    return Counter(await asyncio.gather(*calls))


async def test_a_process_has_the_keys_before_it_takes_calls() -> None:
    async with ping_mesh(**PATIENT) as mesh:
        assert mesh.auth.key_requests == 1
        assert await outcomes(mesh) == {"OK": 4 * OF_EACH_ARITY}
        assert mesh.auth.key_requests == 1


@pytest.mark.parametrize(("refusals", "takes_s"), [(6, 0.0), (0, 1.5)], ids=["away", "slow"])
async def test_first_calls_of_all_arities_wait_for_keys_that_come_late(refusals: int, takes_s: float) -> None:
    async with ping_mesh(auth=LateKeys(refusals, takes_s), **PATIENT) as mesh:
        assert await outcomes(mesh) == {"OK": 4 * OF_EACH_ARITY}
