"""The outermost boundary: whatever goes wrong in a call becomes one of our errors. No exception's text gets out."""

import grpc
import structlog

from aac_grpc.client.errors import AacError, DeadlineExceeded, Internal, Unavailable, from_rpc_error
from aac_grpc.common.call import Call

_log = structlog.get_logger("recovery")


def recover(call: Call, failure: Exception) -> AacError:
    """The error that the caller gets for what a handler or hook raised."""
    if isinstance(failure, AacError):
        if isinstance(failure, Internal):
            _log.error("internal error", method=call.policy.path, request_id=call.request_id, exc_info=failure)
        return failure
    if isinstance(failure, grpc.RpcError):
        return _from_elsewhere(call, failure)
    _log.error("unexpected exception", method=call.policy.path, request_id=call.request_id, exc_info=failure)
    return Internal()


def _from_elsewhere(call: Call, failure: grpc.RpcError) -> AacError:
    """An error of a call to something that is not one of our services, which no channel of ours has translated."""
    error = from_rpc_error(failure)
    _log.warning("call failed", method=call.policy.path, request_id=call.request_id, error=str(error))
    if isinstance(error, Unavailable | DeadlineExceeded):
        return error
    return Internal()


def canceled(call: Call) -> grpc.StatusCode:
    """Status to count for a call whose task was cancelled: by the caller, or by gRPC when its deadline passed."""
    # The margin that the deadline leaves is over before gRPC's own limit is.
    return grpc.StatusCode.DEADLINE_EXCEEDED if call.time_remaining() == 0 else grpc.StatusCode.CANCELLED
