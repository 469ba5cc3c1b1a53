"""What names a call in logs and errors."""

import random
import re
from collections.abc import Mapping
from typing import Any

_FIT = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id_of(metadata: Mapping[str, Any]) -> str:
    """The caller's own request id where it is fit to be logged, else a new one."""
    given = metadata.get("x-request-id")
    if isinstance(given, str) and _FIT.fullmatch(given):
        return given
    return f"{random.getrandbits(64):016x}"
