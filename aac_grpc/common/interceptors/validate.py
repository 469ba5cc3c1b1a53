"""Field rules of the contract (protovalidate), all violations of a request of usual size at once."""

import re
from typing import Any

import protovalidate
from google.protobuf.message import Message

from aac_grpc.client.errors import FieldViolation, InvalidFields
from aac_grpc.common.call import Call
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.hooks import Interceptor

_NAMED_FIELD = re.compile(r"([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*): (.+)", re.DOTALL)
_VALUE_TOLD = frozenset({"string.decimal", "string.positive_decimal"})
"""Rules of fields that never hold a secret: what was given is told with them."""
_LONGEST_TOLD = 40

MAX_REMEMBERED = 1024
"""Good requests that are remembered for a method."""
MAX_REMEMBERED_BYTES = 256
"""Larger ones are not remembered."""
MAX_EXPLAINED_BYTES = 2048
"""Of a larger message one violation is told: each costs 20 us while nobody else is served, and two bytes make one."""

_validator = protovalidate.Validator()


class Validation(Interceptor):
    """Refuses messages that break the rules that stand beside their fields."""

    def for_method(self, policy: MethodPolicy) -> Interceptor:
        """Compiles the request's rules before the first call."""
        _validator.collect_violations(policy.request_type())
        return RepeatedValidation() if policy.idempotency == "NO_SIDE_EFFECTS" and not policy.streaming else self

    def on_request(self, call: Call, message: Message) -> None:
        """Checks one message."""
        check_fields(message)


class RepeatedValidation(Interceptor):
    """Checks the requests of reads, which people and programs repeat: the same bytes are good or bad for good.

    (No rule of the contract asks for the time; a test holds that.)
    """

    def __init__(self) -> None:
        self._good: set[bytes] = set()

    def on_request(self, call: Call, message: Message) -> None:
        """Checks one message, unless the same one was found good lately."""
        raw = call.request
        if raw in self._good:
            return
        check_fields(message)
        if len(raw) <= MAX_REMEMBERED_BYTES:
            if len(self._good) >= MAX_REMEMBERED:
                self._good.clear()
            self._good.add(raw)


def check_fields(message: Message) -> None:
    """Checks a message against the rules beside its fields, as is done for each request. For items that handlers check.

    Raises:
        InvalidFields: Lists all that is wrong; of a message above `MAX_EXPLAINED_BYTES` one thing. Paths begin at the
            message.
    """
    if violations := _validator.collect_violations(message, fail_fast=message.ByteSize() > MAX_EXPLAINED_BYTES):
        raise InvalidFields(map(field_violation, violations))


def field_violation(violation: Any) -> FieldViolation:
    """The violation in our words. A rule of a whole message whose text begins with "field: " is about that field."""
    path, text = field_path(violation.proto.field), violation.proto.message
    if named := _NAMED_FIELD.fullmatch(text):
        field, text = named.groups()
        path = f"{path}.{field}" if path else field
    if violation.proto.rule_id in _VALUE_TOLD:
        given = violation.field_value
        text += f"; {given if len(given) <= _LONGEST_TOLD else given[:_LONGEST_TOLD] + '...'!r} is not"
    return FieldViolation(path, text)


def field_path(path: Any) -> str:
    """Writes a rule's field path, such as "orders[3].price" or `labels["region"]`."""
    if path is None:
        return ""
    written = ""
    for element in path.elements:
        written += ("." if written else "") + element.field_name
        if element.subscript is not None:
            key = element.subscript.value
            written += f'["{key}"]' if isinstance(key, str) else f"[{key}]"
    return written
