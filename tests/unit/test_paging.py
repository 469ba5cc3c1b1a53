"""Paging: tokens that say where the next page begins, and nothing else."""

import json
from base64 import urlsafe_b64encode

import pytest
from aac.type.v1.page_pb2 import PageRequest, PageResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from aac_grpc.client.errors import InvalidField
from aac_grpc.common.paging import MAX_INTEGER, Page, each_page

ROWS = [(number // 3, f"name-{number:03}") for number in range(100)]


def read(size: int = 0, token: str = "", query: tuple[str, ...] = ("alice",)) -> Page:
    return Page.read(PageRequest(page_size=size, page_token=token), (int, str), query=query)


def listing(request: PageRequest) -> tuple[list[tuple[int, str]], PageResponse]:
    """A list method over ROWS."""
    page = Page.read(request, (int, str), query=("alice",))
    found = [row for row in ROWS if row > page.start(-1, "")][: page.limit]
    items, next_page = page.cut(found, lambda row: row)
    return list(items), next_page


@settings(deadline=None)
@given(st.integers(1, 120))
def test_pages_of_any_size_give_every_item_once_and_in_order(size: int) -> None:
    seen: list[tuple[int, str]] = []
    request = PageRequest(page_size=size)
    while True:
        items, answer = listing(request)
        seen += items
        if not answer.next_page_token:
            break
        assert len(items) == size
        request.page_token = answer.next_page_token
    assert seen == ROWS


def test_a_page_has_fifty_items_unless_the_caller_says_otherwise() -> None:
    items, answer = listing(PageRequest())
    assert len(items) == 50
    assert answer.next_page_token


def test_the_last_page_says_that_there_is_no_other() -> None:
    assert listing(PageRequest(page_size=100))[1].next_page_token == ""


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_page_size_out_of_bounds_is_refused(size: int) -> None:
    with pytest.raises(InvalidField, match=r"page\.page_size"):
        read(size)


def token(*parts: object) -> str:
    return urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "forged",
    [
        "nonsense!",
        "AAAA",
        "é",
        token(),
        token(0, 1, "x"),
        token(read().query),
        token(read().query, "1", "x"),
        token(read().query, True, "x"),
        token(read().query, 1, "x", 2),
        token(read().query, MAX_INTEGER + 1, "x"),
        token(read().query, 1, "a\0b"),
        token(read().query, 1, "a\ud800b"),
        urlsafe_b64encode(b"[" * 2000).decode(),
    ],
)
def test_a_forged_token_is_a_field_violation(forged: str) -> None:
    with pytest.raises(InvalidField, match=r"page\.page_token"):
        read(token=forged)


def test_a_token_of_another_list_is_refused() -> None:
    answer = listing(PageRequest(page_size=10))[1]
    assert read(token=answer.next_page_token).start(0, "") == ROWS[9]
    with pytest.raises(InvalidField, match=r"page\.page_token"):
        read(token=answer.next_page_token, query=("bob",))


async def test_each_page_follows_the_tokens_to_the_end() -> None:
    from aac.auth.v1.auth_pb2 import ListUsersRequest, ListUsersResponse, User

    async def list_users(request: ListUsersRequest) -> ListUsersResponse:
        items, answer = listing(request.page)
        return ListUsersResponse(users=[User(username=name) for _, name in items], page=answer)

    request = ListUsersRequest(page=PageRequest(page_size=30))
    pages = [[user.username for user in page.users] async for page in each_page(list_users, request)]
    assert [len(page) for page in pages] == [30, 30, 30, 10]
    assert [name for page in pages for name in page] == [name for _, name in ROWS]
