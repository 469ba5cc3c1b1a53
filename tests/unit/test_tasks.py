"""Background tasks: owned, restarted as told, and gone after stop."""

import asyncio

import pytest

from aac_grpc.common import tasks as module
from aac_grpc.common.tasks import Tasks


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.001)


async def test_a_task_that_fails_is_run_again_until_it_returns() -> None:
    tasks, runs = Tasks(), 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise OSError("away")

    await asyncio.wait_for(tasks.spawn(work, name="follow").wait(), 2)
    assert runs == 4
    assert tasks.failed == {}


async def test_a_failure_without_restart_is_kept_for_readiness() -> None:
    tasks = Tasks()

    async def work() -> None:
        raise OSError("away")

    await tasks.spawn(work, name="load", restart=False).wait()
    assert isinstance(tasks.failed["load"], OSError)


async def test_stop_cancels_the_youngest_first_and_waits() -> None:
    tasks, ended = Tasks(), []

    def sleeper(name: str):  # type: ignore[no-untyped-def]
        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(name)

        return work

    for name in ("first", "second", "third"):
        tasks.spawn(sleeper(name), name=name)
    await asyncio.sleep(0)
    await tasks.stop()
    assert ended == ["third", "second", "first"]
    with pytest.raises(RuntimeError):
        tasks.spawn(sleeper("late"), name="late")


async def test_a_task_that_will_not_end_does_not_hold_up_the_stop() -> None:
    tasks, let_go = Tasks(), asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    task = tasks.spawn(stubborn, name="stubborn")
    await asyncio.sleep(0)
    await asyncio.wait_for(tasks.stop(grace=0.05), 1)
    let_go.set()
    await task.wait()


async def test_one_task_can_be_cancelled_alone() -> None:
    tasks = Tasks()
    task = tasks.spawn(lambda: asyncio.sleep(60), name="one")
    await asyncio.sleep(0)
    await task.cancel()
    assert task.done
    assert tasks.failed == {}


async def test_a_task_that_swallows_one_cancellation_is_cancelled_again() -> None:
    swallowed = 0

    async def work() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 1:
                    raise

    tasks = Tasks()
    task = tasks.spawn(work, name="swallows")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await tasks.stop()
    assert (task.done, swallowed) == (True, 2)
