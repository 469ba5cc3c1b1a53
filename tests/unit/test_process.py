"""What a server process asks of the operating system."""

import os
import threading

import pytest

from aac_grpc.common.process import background_threads

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system has no such policy")


def policy_of_a_new_thread() -> int:
    """The scheduling policy that a thread has which begins now."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
    thread.start()
    thread.join()
    return found[0]


def test_threads_that_begin_in_the_background_stay_there_and_the_event_loop_does_not() -> None:
    before = os.sched_getscheduler(0)
    with background_threads():
        assert policy_of_a_new_thread() == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == before
    assert policy_of_a_new_thread() == before
