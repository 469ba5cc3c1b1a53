"""What holds for every call of every arity, whatever the shape of its handler."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from aac_grpc.client.errors import (
    AacError,
    DeadlineExceeded,
    Draining,
    FieldViolation,
    Internal,
    InvalidFields,
    Malformed,
    MessageTooLarge,
    NotFound,
    PermissionDenied,
    RateLimited,
    Unauthenticated,
    UnknownMethod,
    from_rpc_error,
)
from tests.support.mesh import PingMesh, Signer, bearer, eventually, ping_mesh
from tests.support.ping import ARITIES, SERVICE, Item, PingServicer, Request, WritingPingServicer

STREAMS = ("ServerStream", "ClientStream", "Bidi")
CLIENT_STREAMS = ("ClientStream", "Bidi")


@pytest.fixture(scope="module", params=[PingServicer, WritingPingServicer], ids=["generators", "writers"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[PingMesh]:
    plans = {"standard": {name: [1000, 100_000] for name in ("READ", "STREAM", "ADMIN", "LOGIN")}}
    async with ping_mesh(request.param(), max_message_bytes=1 << 20, rate_limits=plans) as mesh:
        yield mesh


@pytest.fixture(params=ARITIES)
def arity(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def refusal(mesh: PingMesh, name: str, *requests: Any, **options: Any) -> AacError:
    """The error of a call that must fail, after which the server must still answer."""
    with pytest.raises(AacError) as failed:
        await mesh.call(name, *requests, **options)
    assert await mesh.call("Unary")
    return failed.value


async def test_a_good_call_is_answered(mesh: PingMesh, arity: str) -> None:
    responses = await mesh.call(arity, Request(account_id="acc-1"))
    assert len(responses) == 1


async def test_each_message_of_a_stream_arrives_once_and_in_order(mesh: PingMesh) -> None:
    assert [r.count for r in await mesh.call("ServerStream", Request(count=50))] == list(range(50))
    assert [r.count for r in await mesh.call("ClientStream", *[Request()] * 50)] == [50]
    assert [r.count for r in await mesh.call("Bidi", *[Request()] * 50)] == list(range(1, 51))


async def test_a_handler_may_send_what_was_serialized_before(mesh: PingMesh) -> None:
    assert [r.count for r in await mesh.call("ServerStream", Request(act="encoded", count=3))] == [0, 1, 2]


async def test_garbage_is_refused_with_details(mesh: PingMesh, arity: str) -> None:
    error = await refusal(mesh, arity, b"\xff\xff\xff", raw=True)
    assert type(error) is Malformed
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED")
    assert error.request_id


async def test_a_message_between_our_limit_and_the_transports_is_refused_with_details(
    mesh: PingMesh, arity: str
) -> None:
    error = await refusal(mesh, arity, Request(padding=bytes(2 << 20)))
    assert type(error) is MessageTooLarge
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.metadata["limit"] == str(1 << 20)


async def test_a_message_over_the_transports_limit_is_refused_by_grpc_itself(mesh: PingMesh, arity: str) -> None:
    error = await refusal(mesh, arity, Request(padding=bytes(5 << 20)))
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_text_of_an_unexpected_exception_never_gets_out(mesh: PingMesh, arity: str) -> None:
    call = mesh.begin(arity, Request(act="fail"))
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        _ = [r async for r in call] if hasattr(call, "__aiter__") else await call
    error = from_rpc_error(failed.value)
    assert type(error) is Internal
    assert error.code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in repr(failed.value) + str(failed.value.trailing_metadata())
    assert ("x-request-id", error.request_id) in tuple(failed.value.trailing_metadata())


async def test_an_error_of_ours_arrives_with_its_reason_and_facts(mesh: PingMesh, arity: str) -> None:
    error = await refusal(mesh, arity, Request(act="missing"))
    assert type(error) is NotFound
    assert error.metadata == {"kind": "thing", "id": "x"}


async def test_a_handlers_own_abort_is_left_as_it_is(mesh: PingMesh, arity: str) -> None:
    error = await refusal(mesh, arity, Request(act="abort"))
    assert (error.code, error.message) == (grpc.StatusCode.DATA_LOSS, "its own words")


async def test_without_a_credential_nobody_gets_in(mesh: PingMesh, arity: str) -> None:
    error = await refusal(mesh, arity, metadata=())
    assert (type(error), error.reason) == (Unauthenticated, "UNAUTHENTICATED")


async def test_permission_is_judged_before_the_request_is(mesh: PingMesh, arity: str) -> None:
    error = await refusal(mesh, arity, b"\xff\xff\xff", raw=True, metadata=())
    assert type(error) is Unauthenticated


@pytest.mark.parametrize(
    ("credential", "reason"),
    [
        ("Bearer nonsense", "INVALID_TOKEN"),
        ("Bearer ", "INVALID_TOKEN"),
        ("Basic dXNlcjpwYXNz", "INVALID_TOKEN"),
        ("foreign", "INVALID_TOKEN"),
        ("expired", "EXPIRED_TOKEN"),
    ],
)
async def test_a_bad_credential_is_refused_with_the_reason(
    mesh: PingMesh, arity: str, credential: str, reason: str
) -> None:
    made = {"foreign": Signer().token(), "expired": mesh.signer.token(lifetime_s=-1)}
    sent = f"Bearer {made[credential]}" if credential in made else credential
    error = await refusal(mesh, arity, metadata=(("authorization", sent),))
    assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)


async def test_a_credential_without_the_scope_is_refused(mesh: PingMesh, arity: str) -> None:
    error = await refusal(mesh, arity, metadata=bearer(mesh.signer.token(scopes=["market:read"])))
    assert (type(error), error.reason) == (PermissionDenied, "MISSING_SCOPE")
    assert error.metadata == {"scope": "orders:read"}


async def test_anothers_account_is_refused(mesh: PingMesh, arity: str) -> None:
    error = await refusal(mesh, arity, Request(account_id="acc-2", act="missing"))
    assert (type(error), error.reason) == (PermissionDenied, "FOREIGN_ACCOUNT")
    assert error.metadata == {"account": "acc-2"}


@pytest.mark.parametrize("name", CLIENT_STREAMS)
async def test_the_account_is_checked_on_every_message_of_a_stream(mesh: PingMesh, name: str) -> None:
    good, bad = Request(account_id="acc-1"), Request(account_id="acc-2")
    error = await refusal(mesh, name, good, good, bad)
    assert error.reason == "FOREIGN_ACCOUNT"


async def test_a_user_does_not_get_into_the_mesh(mesh: PingMesh) -> None:
    for name in ("Internal", "InternalStream"):
        error = await refusal(mesh, name, metadata=bearer(mesh.signer.token(scopes=["internal"])))
        assert (type(error), error.reason) == (PermissionDenied, "INTERNAL_METHOD")
    service = bearer(mesh.signer.token("risk-management", kind="service", scopes=["internal"], accounts=["*"]))
    assert await mesh.call("Internal", metadata=service)


async def test_all_fields_that_break_a_rule_are_listed(mesh: PingMesh, arity: str) -> None:
    request = Request(count=100001, act="x" * 65, items=[Item(price="1"), Item(price="1.0"), Item(price="-1")])
    error = await refusal(mesh, arity, request)
    assert type(error) is InvalidFields
    assert [violation.field for violation in error.violations] == ["act", "count", "items[1].price", "items[2].price"]


async def test_a_refusal_arrives_however_much_is_wrong(mesh: PingMesh, arity: str) -> None:
    error = await refusal(mesh, arity, Request(items=[Item(price="-1")] * 300))
    assert type(error) is InvalidFields
    assert error.metadata["violations"] == "300"
    # Of a large request one thing is told: each costs time.
    error = await refusal(mesh, arity, Request(items=[Item(price="-1")] * 5000))
    assert [violation.field for violation in error.violations] == ["items[0].price"]
    error = await refusal(mesh, arity, Request(account_id="x" * 100_000))
    assert error.reason == "FOREIGN_ACCOUNT"


async def test_a_rule_of_the_whole_message_names_its_field(mesh: PingMesh, arity: str) -> None:
    error = await refusal(mesh, arity, Request(act="once", count=2))
    assert error.violations == (FieldViolation("act", "can't be done twice"),)


async def test_a_good_request_does_not_make_a_bad_one_good(mesh: PingMesh) -> None:
    for _ in range(3):
        assert await mesh.call("Unary", Request(count=7))
        error = await refusal(mesh, "Unary", Request(count=-7))
        assert [violation.field for violation in error.violations] == ["count"]


@pytest.mark.parametrize("name", CLIENT_STREAMS)
async def test_a_message_that_breaks_a_rule_ends_the_stream(mesh: PingMesh, name: str) -> None:
    error = await refusal(mesh, name, Request(), Request(count=-1), Request())
    assert [violation.field for violation in error.violations] == ["count"]


@pytest.mark.parametrize("open_call", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"], ids=str)
async def test_an_unknown_method_is_refused_with_details(mesh: PingMesh, open_call: str) -> None:
    call = getattr(mesh.channel, open_call)(f"/{SERVICE}/Nope")(
        iter([b""]) if open_call.startswith("stream") else b"", timeout=5
    )
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        _ = [r async for r in call] if hasattr(call, "__aiter__") else await call
    error = from_rpc_error(failed.value)
    assert type(error) is UnknownMethod
    assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD")
    assert error.metadata == {"method": f"/{SERVICE}/Nope"}


async def test_a_caller_that_goes_away_cancels_the_handler(mesh: PingMesh, arity: str) -> None:
    before = mesh.servicer.canceled
    mesh.servicer.ready.clear()
    call = mesh.begin(arity, Request(act="sleep"))
    waiting = asyncio.ensure_future(call.read() if hasattr(call, "read") and arity != "ClientStream" else call)
    await asyncio.wait_for(mesh.servicer.ready.wait(), 5)
    call.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await eventually(lambda: mesh.servicer.canceled > before)


async def test_a_handler_is_held_to_the_callers_deadline_and_says_so(mesh: PingMesh, arity: str) -> None:
    for _ in range(5):
        error = await refusal(mesh, arity, Request(act="sleep"), timeout=0.5)
        assert type(error) is DeadlineExceeded
        # The status comes from the server before gRPC gives up, unless the machine is too busy for that.
        if error.request_id:
            return
    raise AssertionError("the server never got to speak")


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_ends_when_its_token_does(mesh: PingMesh, name: str) -> None:
    error = await refusal(mesh, name, Request(act="sleep"), metadata=bearer(mesh.signer.token(lifetime_s=0.4)))
    assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "EXPIRED_TOKEN")


async def test_a_good_request_id_of_the_caller_is_kept_and_a_bad_one_replaced(mesh: PingMesh, arity: str) -> None:
    for given, kept in (("trace-7", True), ("bad id\n"[:6], False), ("x" * 65, False)):
        call = mesh.begin(arity, metadata=(*mesh.metadata, ("x-request-id", given)))
        _ = [r async for r in call] if hasattr(call, "__aiter__") else await call
        answered = dict(await call.trailing_metadata())["x-request-id"]
        assert (answered == given) is kept


async def test_every_reply_tells_the_callers_budget(mesh: PingMesh, arity: str) -> None:
    call = mesh.begin(arity, metadata=bearer(mesh.signer.token("budget-reader")))
    _ = [r async for r in call] if hasattr(call, "__aiter__") else await call
    trailers = dict(await call.trailing_metadata())
    limit, remaining = int(trailers["x-ratelimit-limit"]), int(trailers["x-ratelimit-remaining"])
    assert 0 < remaining < limit
    assert int(trailers["x-ratelimit-reset"]) >= 0


async def test_draining_ends_open_streams_that_say_nothing_themselves() -> None:
    async with ping_mesh(drain_grace_s=0.3) as mesh:
        calls = [mesh.begin(name, Request(act="sleep")) for name in STREAMS]
        waiting = [asyncio.ensure_future(call.read() if hasattr(call, "read") else call) for call in calls]
        await eventually(lambda: mesh.servicer.calls == len(calls))
        await mesh.server.stop()
        for failed in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(failed, grpc.aio.AioRpcError)
            assert type(from_rpc_error(failed)) is Draining


async def test_a_spent_budget_is_refused_with_when_and_why() -> None:
    plans = {"standard": {"READ": [1, 3], "STREAM": [1, 10], "ADMIN": [1, 10]}}
    async with ping_mesh(rate_limits=plans) as mesh:
        for _ in range(3):
            await mesh.call("Unary")
        call = mesh.begin("Unary")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        error = from_rpc_error(failed.value)
        assert type(error) is RateLimited
        assert 0 < (error.retry_after or 0) <= 1
        assert error.metadata == {"subject": "user:user-1", "quota": "READ", "limit": "1/s, burst 3"}
        assert dict(failed.value.trailing_metadata())["x-ratelimit-remaining"] == "0"
        assert await mesh.call("Unary", metadata=bearer(mesh.signer.token("user-2"))), "each caller has its own"


async def test_items_and_messages_are_charged_too() -> None:
    plans = {"standard": {"READ": [0.001, 3], "STREAM": [0.001, 10], "ADMIN": [0.001, 10]}}
    async with ping_mesh(rate_limits=plans) as mesh:
        await mesh.call("Batch", Request(items=[Item()] * 8))
        with pytest.raises(RateLimited):
            await mesh.call("Batch", Request(items=[Item()] * 2))
        for name, token in (("ClientStream", "a"), ("Bidi", "b")):
            metadata = bearer(mesh.signer.token(token))
            with pytest.raises(RateLimited):
                await mesh.call(name, *[Request()] * 11, metadata=metadata)
            assert mesh.servicer.calls


async def test_one_message_costs_a_full_bucket_at_most_however_many_items_it_carries() -> None:
    async with ping_mesh(rate_limits={"standard": {"STREAM": [5, 10]}}) as mesh:
        stream = mesh.method("Bidi")(metadata=mesh.metadata)
        await asyncio.sleep(0.3)  # the call itself was charged, too
        await stream.write(Request(items=[Item()] * 200_000))
        await stream.done_writing()
        assert [response async for response in stream]
        ended = await asyncio.gather(*(mesh.call("Bidi") for _ in range(60)), return_exceptions=True)
        refusals = [error.retry_after for error in ended if isinstance(error, RateLimited)]
        assert refusals
        assert max(refusals) <= 1


async def test_services_of_the_mesh_are_not_charged() -> None:
    async with ping_mesh(rate_limits={"standard": {"READ": [0.001, 1]}}) as mesh:
        service = bearer(mesh.signer.token("api-gateway", kind="service", scopes=["orders:read"], accounts=["*"]))
        for _ in range(5):
            await mesh.call("Unary", metadata=service)


async def test_anonymous_callers_share_the_budget_of_their_address_unless_the_gateway_vouches_for_another() -> None:
    async with ping_mesh(rate_limits={"standard": {"LOGIN": [0.001, 1]}}) as mesh:
        await mesh.call("Anonymous", metadata=())
        with pytest.raises(RateLimited):
            await mesh.call("Anonymous", metadata=())
        with pytest.raises(RateLimited):
            await mesh.call("Anonymous", metadata=(("x-aac-client-address", "10.0.0.1"),))
        gateway = ("x-aac-forwarder", mesh.signer.token("api-gateway", kind="service", scopes=["internal"]))
        for address in ("10.0.0.1", "10.0.0.2"):
            await mesh.call("Anonymous", metadata=(("x-aac-client-address", address), gateway))
        user = ("x-aac-forwarder", mesh.signer.token())
        with pytest.raises(RateLimited):
            await mesh.call("Anonymous", metadata=(("x-aac-client-address", "10.0.0.3"), user))
