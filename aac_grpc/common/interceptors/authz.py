"""Whether the caller may: exposure and scope at the start, the account on every message."""

from google.protobuf.message import Message

from aac_grpc.client.errors import PermissionDenied
from aac_grpc.common.call import Call
from aac_grpc.common.contract import MethodPolicy
from aac_grpc.common.interceptors.hooks import Interceptor


class Authorization(Interceptor):
    """Refuses what the policy does not grant. It looks at nothing but credential and request: a caller without the
    right never learns what exists.
    """

    def for_method(self, policy: MethodPolicy) -> Interceptor | None:
        """Nothing to check where anybody may call."""
        if not policy.authenticated:
            return None
        return AccountAuthorization(policy) if policy.account_field else ScopeAuthorization(policy)


class ScopeAuthorization(Interceptor):
    """Checks exposure and scope of one method."""

    def __init__(self, policy: MethodPolicy) -> None:
        self._policy = policy
        self._internal = policy.internal
        self._scope = policy.scope

    def on_start(self, call: Call) -> None:
        """Checks the credential."""
        if self._internal and not call.principal.is_service:
            raise PermissionDenied("this method is for services of the mesh", reason="INTERNAL_METHOD")
        if self._scope not in call.principal.scopes:
            raise PermissionDenied(
                f"the credential lacks the scope {self._scope}",
                reason="MISSING_SCOPE",
                metadata={"scope": self._scope},
            )


class AccountAuthorization(ScopeAuthorization):
    """Checks the account of each message as well."""

    def on_request(self, call: Call, message: Message) -> None:
        """Checks the account that the message names; none means the caller's own."""
        account = self._policy.account(message)
        if account and not call.principal.may_act_on(account):
            raise PermissionDenied(
                f"the credential does not cover the account {account!r}, or was issued before that was granted",
                reason="FOREIGN_ACCOUNT",
                metadata={"account": account},
            )
