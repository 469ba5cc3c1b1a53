"""What a process knows of revocations: whom they cover, how fresh they are, and how the watch of them goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from aac.auth.v1.auth_pb2 import WatchRevocationsRequest, WatchRevocationsResponse
from aac.type.v1 import stream_pb2
from aac.type.v1.stream_pb2 import StreamHeader

from aac_grpc.client.errors import NotFound, StaleRevocations, Unavailable
from aac_grpc.common.call import Principal
from aac_grpc.common.clock import SystemClock
from aac_grpc.common.revocation_watch import RevocationWatch
from aac_grpc.common.revocations import Revocations
from tests.support.mesh import eventually
from tests.support.revoking import revocation

SNAPSHOT, UPDATE = stream_pb2.FRAME_KIND_SNAPSHOT, stream_pb2.FRAME_KIND_UPDATE
GAP, HEARTBEAT, DRAINING = stream_pb2.FRAME_KIND_GAP, stream_pb2.FRAME_KIND_HEARTBEAT, stream_pb2.FRAME_KIND_DRAINING


def user(name: str = "ada", token_id: str = "s1.1", generation: int = 0) -> Principal:
    return Principal(name, kind="user", token_id=token_id, generation=generation)


def new_revocations(stale_after_s: float = 5.0) -> Revocations:
    return Revocations(SystemClock(), stale_after_s)


async def test_a_session_and_a_key_are_covered_with_all_their_tokens_and_nothing_else() -> None:
    known = new_revocations()
    known.add([revocation(session_id="s1"), revocation(api_key_id="k1")])
    assert known.cover(user(token_id="s1.1"))
    assert known.cover(user(token_id="s1.2"))
    assert known.cover(user(token_id="k1.9"))
    assert not known.cover(user(token_id="s10.1"))
    assert not known.cover(Principal("no token at all"))


async def test_of_a_user_the_tokens_of_earlier_generations_are_covered() -> None:
    known = new_revocations()
    known.add([revocation(user_id="ada", generation=2)])
    assert [known.cover(user(generation=number)) for number in (0, 1, 2, 3)] == [True, True, False, False]
    assert not known.cover(user("bob"))


async def test_what_does_not_matter_any_more_is_forgotten() -> None:
    known = new_revocations()
    known.add([revocation(session_id="old", matters_s=-1), revocation(session_id="new")])
    assert len(known) == 1
    assert not known.cover(user(token_id="old.1"))


async def test_listeners_hear_of_a_revocation_at_once_and_in_a_storm_of_several_together() -> None:
    known, heard = new_revocations(), []
    known.on_news(lambda: heard.append(len(known)))
    known.replace([])
    assert heard == []
    known.add([revocation(session_id="s0")])
    assert heard == [1]
    for number in range(1, 100):
        known.add([revocation(session_id=f"s{number}")])
    await eventually(lambda: heard[-1] == 100)
    assert len(heard) < 100


async def test_knowledge_gets_old() -> None:
    known = new_revocations(stale_after_s=0.05)
    assert not known.fresh
    known.heard()
    assert known.fresh
    await known.require()
    await asyncio.sleep(0.1)
    assert not known.fresh
    with pytest.raises(StaleRevocations):
        await known.require()


async def test_the_age_of_what_the_source_knows_counts_and_never_makes_older() -> None:
    known = new_revocations()
    known.heard(age_s=7)
    assert not known.fresh
    known.heard(age_s=1)
    known.heard(age_s=3)
    assert 1 <= known.staleness_s < 2


async def test_a_process_that_has_just_started_waits_for_the_first_word() -> None:
    known = new_revocations()
    waiting = asyncio.create_task(known.require())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    known.heard()
    await waiting


async def test_where_nobody_watches_nothing_is_ever_stale() -> None:
    known = new_revocations(stale_after_s=float("inf"))
    assert known.fresh
    await known.require()


class Source:
    """An auth-service whose connections end as the test says.

    Attributes:
        requests: What each connection began with.
    """

    def __init__(self, *connections: list[Any]) -> None:
        self.requests: list[WatchRevocationsRequest] = []
        self._connections = iter(connections)

    def __call__(self, request: WatchRevocationsRequest) -> Any:
        self.requests.append(request)
        return Connection(next(self._connections, []))


class Connection:
    """Gives frames; raises those that are errors; waits for ever after the last."""

    def __init__(self, frames: list[Any]) -> None:
        self._frames = iter(frames)

    async def read(self) -> Any:
        frame = next(self._frames, None)
        if frame is None:
            await asyncio.Event().wait()
        if isinstance(frame, Exception):
            raise frame
        return frame

    def cancel(self) -> None:
        """Nothing to end."""


def frame(kind: Any, sequence: int, *sessions: str, epoch: int = 1, **header: Any) -> WatchRevocationsResponse:
    made = StreamHeader(kind=kind, epoch=epoch, sequence=sequence, topic=stream_pb2.TOPIC_REVOCATIONS, **header)
    return WatchRevocationsResponse(header=made, revocations=[revocation(session_id=one) for one in sessions])


@asynccontextmanager
async def following(*connections: list[Any]) -> AsyncIterator[tuple[Revocations, Source, Callable[[str], bool]]]:
    """A watch that reads these connections, one after the other."""
    known, source = new_revocations(), Source(*connections)
    task = asyncio.create_task(RevocationWatch(source, known).follow())
    try:
        yield known, source, lambda session: known.cover(user(token_id=f"{session}.1"))
    finally:
        task.cancel()
        await asyncio.wait({task})


def resumed(request: WatchRevocationsRequest) -> tuple[int, int] | None:
    return (request.resume.epoch, request.resume.sequence) if request.HasField("resume") else None


async def test_a_snapshot_and_updates_are_taken_and_a_broken_connection_goes_on_from_there() -> None:
    first = [frame(SNAPSHOT, 4, "s4"), frame(UPDATE, 5, "s5", first_sequence=5), Unavailable("gone")]
    async with following(first, [frame(UPDATE, 7, "s6", "s7", first_sequence=6)]) as (known, source, covers):
        await eventually(lambda: covers("s7"))
        assert all(map(covers, ("s4", "s5", "s6")))
        assert list(map(resumed, source.requests)) == [None, (1, 5)]
        assert known.fresh


async def test_a_connection_that_falls_silent_or_fails_for_whatever_reason_is_followed_by_another() -> None:
    silent, refused = [frame(SNAPSHOT, 4, "s4")], [NotFound("stream", "x")]
    async with following(silent, refused, [frame(UPDATE, 5, "s5", first_sequence=5)]) as (known, source, covers):
        await eventually(lambda: covers("s5"))
        assert known.fresh
        assert list(map(resumed, source.requests)) == [None, (1, 4), (1, 4)]


@pytest.mark.parametrize("goodbye", [frame(DRAINING, 0, epoch=0), grpc.aio.EOF], ids=["draining", "end"])
async def test_a_goodbye_is_followed_by_another_connection(goodbye: Any) -> None:
    async with following([frame(SNAPSHOT, 4, "s4"), goodbye], [frame(UPDATE, 5, "s5", first_sequence=5)]) as (
        _, source, covers,
    ):  # fmt: skip
        await eventually(lambda: covers("s5"))
        assert list(map(resumed, source.requests)) == [None, (1, 4)]


async def test_a_snapshot_after_a_gap_replaces_what_was_known() -> None:
    news = [frame(GAP, 9, gap_first=5, gap_last=9), frame(SNAPSHOT, 9, "s9")]
    async with following([frame(SNAPSHOT, 4, "s4"), *news]) as (_, _, covers):
        await eventually(lambda: covers("s9"))
        assert not covers("s4")


async def test_a_connection_that_breaks_between_gap_and_snapshot_begins_anew() -> None:
    broken = [frame(SNAPSHOT, 4, "s4"), frame(GAP, 9, gap_first=5, gap_last=9), Unavailable("gone")]
    async with following(broken, [frame(SNAPSHOT, 9, "s9")]) as (_, source, covers):
        await eventually(lambda: covers("s9"))
        assert list(map(resumed, source.requests)) == [None, None]


async def test_revocations_that_were_skipped_in_silence_are_asked_for_anew() -> None:
    skipping = [frame(SNAPSHOT, 4, "s4"), frame(UPDATE, 9, "s9", first_sequence=9)]
    async with following(skipping, [frame(SNAPSHOT, 9, "s8", "s9")]) as (_, source, covers):
        await eventually(lambda: covers("s8"))
        assert list(map(resumed, source.requests)) == [None, None]


async def test_a_snapshot_in_parts_counts_when_the_last_has_come() -> None:
    parts = [frame(SNAPSHOT, 0, "a", epoch=0), Unavailable("gone")]
    async with following(parts, [frame(SNAPSHOT, 0, "a", epoch=0), frame(SNAPSHOT, 2, "b")]) as (known, source, covers):
        await eventually(lambda: covers("b"))
        assert covers("a")
        assert len(known) == 2
        assert list(map(resumed, source.requests)) == [None, None]


async def test_a_heartbeat_says_how_old_the_knowledge_of_auth_service_is() -> None:
    beat = frame(HEARTBEAT, 4)
    beat.header.staleness.FromSeconds(30)
    late = frame(SNAPSHOT, 4, "s4")
    async with following([late, beat]) as (known, _, covers):
        await eventually(lambda: covers("s4"))
        known._heard_at -= 60
        await asyncio.sleep(0)
        assert known.staleness_s > 29
