"""How interceptors become hooks of a method."""

from typing import Any

from aac_grpc.common.contract import policy_of
from aac_grpc.common.interceptors.hooks import Hooks, Interceptor, compose
from tests.support.ping import SERVICE


class Named(Interceptor):
    def __init__(self, name: str) -> None:
        self.name = name


class Around(Named):
    def on_start(self, call: Any) -> None:
        call.append(f"{self.name} starts")

    def on_end(self, call: Any) -> None:
        call.append(f"{self.name} ends")


class AtEnd(Named):
    def on_end(self, call: Any) -> None:
        call.append(f"{self.name} ends")


def ends(hooks: Hooks, entered: int) -> list[str]:
    story: list[str] = []
    for hook in hooks.ends[entered]:
        hook(story)  # type: ignore[arg-type]
    return story


def test_ends_run_in_reverse_and_only_where_the_start_returned() -> None:
    hooks = Hooks([AtEnd("log"), Around("metrics"), Around("shed"), Around("auth")])
    assert [ends(hooks, entered) for entered in range(4)] == [
        ["log ends"],
        ["metrics ends", "log ends"],
        ["shed ends", "metrics ends", "log ends"],
        ["auth ends", "shed ends", "metrics ends", "log ends"],
    ]


def test_hooks_that_a_class_does_not_define_are_not_called() -> None:
    hooks = Hooks([Named("nothing"), AtEnd("log")])
    assert (hooks.starts, hooks.requests, hooks.responses) == ((), (), ())


def test_an_interceptor_that_does_not_apply_is_left_out() -> None:
    class Never(Around):
        def for_method(self, policy: Any) -> None:
            return None

    hooks = compose([Never("never"), Around("always")], policy_of(f"/{SERVICE}/Unary"))
    assert len(hooks.starts) == 1
