"""Revocations as messages."""

import time
from typing import Any

from aac.auth.v1.auth_pb2 import Revocation


def revocation(matters_s: float = 360, **credential: Any) -> Revocation:
    """One that matters for so long: of a `session_id`, an `api_key_id`, or a `user_id` and `generation`."""
    made = Revocation(**credential)
    made.matters_until.FromNanoseconds(int((time.time() + matters_s) * 1e9))
    return made
