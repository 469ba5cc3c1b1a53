"""docs/methods.md: every method with its policy, as the contract states it."""

from itertools import groupby
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from aac_grpc.common.contract import MethodPolicy, platform_contract
from scripts.reference.table import code, table

DESCRIPTORS = Path(__file__).parents[2] / "gen" / "descriptors.binpb"
SERVICE_FIELD = FileDescriptorProto.SERVICE_FIELD_NUMBER
METHOD_FIELD = 2
"""Field number of `ServiceDescriptorProto.method`, as source locations name it."""

INTRODUCTION = """# Methods

Written by `scripts/docs` from the policy options in `proto/`; what is said here is what the base enforces.

- **Kind**: unary, or which side streams.
- **Scope**: what the caller's token must hold; *open* needs no token.
- **Account**: the request field that names the account; the caller must be allowed to act on it, on every message.
- **Rate**: the budget that is charged, and how much where it is not 1; "+ 1 each" is for the items of that field.
- **Timeout**: the class; a stream has no deadline of ours. **Priority**: while more calls come in
  than can be served, LOW is refused before NORMAL, NORMAL before HIGH, and CRITICAL never.
- **Retry**: whether repeating a call is safe: a *read* changes nothing, *same key* gives the first result again.
- **Audit**: every call is logged, not a sample; what it changed is in an audit log or, of orders, in the journal. It is
  refused (UNAVAILABLE, STALE_REVOCATIONS) while the service does not know what was revoked in the last five
  seconds, unless its priority is CRITICAL: a cancel waits for nobody.

Methods in *italics* are for services of the mesh; the gateway does not forward them.
"""
HEADINGS = ("Method", "Kind", "Scope", "Account", "Rate", "Timeout", "Priority", "Retry", "Audit", "What it does")
RETRY = {"UNKNOWN": "no", "NO_SIDE_EFFECTS": "read", "IDEMPOTENT": "same key"}
KINDS = {
    (False, False): "unary",
    (False, True): "server stream",
    (True, False): "client stream",
    (True, True): "both stream",
}


def methods_page() -> str:
    """The page's text."""
    comments = method_comments()
    parts = [INTRODUCTION]
    policies = sorted(platform_contract(), key=lambda policy: (policy.service, policy.path))
    for service, methods in groupby(policies, key=lambda policy: policy.service):
        rows = [_row(policy, comments.get(policy.path, "")) for policy in methods]
        parts.append(f"## {service}\n\n{table(HEADINGS, rows)}\n")
    return "\n".join(parts)


def method_comments() -> dict[str, str]:
    """First sentence of each method's comment in `proto/`, by path."""
    comments: dict[str, str] = {}
    for file in FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        for location in file.source_code_info.location:
            place = location.path
            if len(place) == 4 and place[0] == SERVICE_FIELD and place[2] == METHOD_FIELD:
                service = file.service[place[1]]
                path = f"/{file.package}.{service.name}/{service.method[place[3]].name}"
                comments[path] = _first_sentence(location.leading_comments)
    return comments


def _row(policy: MethodPolicy, comment: str) -> tuple[str, ...]:
    return (
        f"*{policy.name}*" if policy.internal else policy.name,
        KINDS[policy.client_streaming, policy.server_streaming],
        code(policy.scope) or "*open*",
        code(policy.account_field),
        _rate(policy),
        policy.timeout_class.lower(),
        policy.priority.lower(),
        RETRY[policy.idempotency],
        "yes" if policy.audit else "",
        comment,
    )


def _rate(policy: MethodPolicy) -> str:
    cost = "" if policy.cost == 1 else f" × {policy.cost}"
    items = f" + 1 each of {code(policy.cost_field)}" if policy.cost_field else ""
    return policy.rate_class.lower() + cost + items


def _first_sentence(comment: str) -> str:
    text = " ".join(comment.split())
    sentence, stop, _ = text.partition(". ")
    return sentence + stop.rstrip()
