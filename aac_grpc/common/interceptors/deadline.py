"""Sets until when a call may run: the caller's deadline, else what its timeout class allows."""

from aac_grpc.client.errors import DeadlineExceeded
from aac_grpc.common.call import Call
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.hooks import Interceptor
from aac_grpc.common.settings import ServiceSettings

LONGEST_MARGIN_S = 0.05


def margin(remaining_s: float) -> float:
    """Time to leave for the answer's way back, so that status and details still reach the caller."""
    return LONGEST_MARGIN_S if remaining_s > 10 * LONGEST_MARGIN_S else remaining_s / 10


class Deadline(Interceptor):
    """Sets `call.deadline`; the adapter holds the handler to it, and channels hand on what remains."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings

    def for_method(self, policy: MethodPolicy) -> Interceptor:
        """Knows the timeout of the method's class."""
        return MethodDeadline(self._settings.timeout(policy.timeout_class))


class MethodDeadline(Interceptor):
    """Sets the deadline of one method's calls."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout = timeout_s

    def on_start(self, call: Call) -> None:
        """Takes the caller's word, or the class's."""
        remaining = call.context.time_remaining()
        if remaining is not None:
            call.deadline = call.started_at + remaining - margin(remaining)
        elif self._timeout is not None:
            call.deadline = call.started_at + self._timeout
        else:
            return
        call.end_at(call.deadline, DeadlineExceeded)
