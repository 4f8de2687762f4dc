"""Pages: what is asked for, how they are merged, and where it ends."""

from __future__ import annotations

from typing import Any

import pytest

from capnet import CapnetError, FailedPrecondition, InvalidArgument, ResourceExhausted
from capnet.toolbox import Outcome, Page, collect, paged
from tests.loops import ONE_LOOP

pytestmark = ONE_LOOP


class Book:
    """Gives the pages it was made with."""

    def __init__(self, *pages: Any, kind: Any = Outcome) -> None:
        self.pages = pages
        self.kind = kind
        self.asked: list[str | None] = []

    async def read(self, word: str, *, cursor: str | None = None) -> Any:
        assert word == "tea"
        self.asked.append(cursor)
        number = int(cursor or 0)
        return self.kind(self.pages[number], str(number + 1) if number + 1 < len(self.pages) else None)


async def test_pages_are_asked_for_when_they_are_wanted() -> None:
    book = Book([1, 2], [], [3], kind=Page)
    items = paged(book.read, "tea")
    assert [await anext(items), await anext(items)] == [1, 2]
    assert book.asked == [None]
    assert [item async for item in items] == [3]
    assert book.asked == [None, "1", "2"]


MERGED: list[tuple[str, tuple[Any, ...], Any, int]] = [
    ("array", ([1], [2, 3]), [1, 2, 3], 2),
    ("array", ([],), [], 1),
    ("field:rows", ({"rows": [1], "of": 1}, {"rows": [2], "of": 2}), {"rows": [1, 2], "of": 2}, 2),
    ("first", ("anything", "more"), "anything", 1),
]


@pytest.mark.parametrize(("merge", "pages", "merged", "asked"), MERGED)
async def test_pages_become_one_value(merge: str, pages: tuple[Any, ...], merged: Any, asked: int) -> None:
    book = Book(*pages)
    assert await collect(book.read, "tea", merge=merge) == merged
    assert len(book.asked) == asked
    assert await collect(Book(*pages, kind=Page).read, "tea", merge=merge) == merged


@pytest.mark.parametrize(
    ("options", "pages", "error", "reason"),
    [
        ({}, ([1], {"a": 1}), FailedPrecondition, "merge"),
        ({"merge": "field:rows"}, ({"rows": 1},), FailedPrecondition, "merge"),
        ({"merge": "field:rows"}, ([1],), FailedPrecondition, "merge"),
        ({"max_pages": 2}, ([1], [2], [3]), ResourceExhausted, "max_pages"),
        ({"max_bytes": 9}, ([1], ["long" * 2], [3]), ResourceExhausted, "max_bytes"),
        ({"max_bytes": 9, "merge": "first"}, (["long" * 4],), ResourceExhausted, "max_bytes"),
        ({"merge": "all"}, ([1],), InvalidArgument, None),
        ({"merge": "field:"}, ([1],), InvalidArgument, None),
        ({"merge": "array:x"}, ([1],), InvalidArgument, None),
        ({"max_pages": 0}, ([1],), InvalidArgument, None),
    ],
)  # fmt: skip
async def test_what_cannot_be_collected(
    options: dict[str, Any], pages: tuple[Any, ...], error: type[CapnetError], reason: str | None
) -> None:
    with pytest.raises(error) as raised:
        await collect(Book(*pages).read, "tea", **options)
    assert raised.value.reason == reason


async def test_as_many_pages_as_are_allowed_are_no_error() -> None:
    assert await collect(Book([1], [2]).read, "tea", max_pages=2) == [1, 2]


async def test_a_page_that_leads_to_itself_ends_it() -> None:
    async def read(*, cursor: str | None = None) -> Page[int]:
        return Page([1], "same")

    with pytest.raises(FailedPrecondition) as raised:
        await collect(read)
    assert raised.value.reason == "cursor"


async def test_only_pages_have_items() -> None:
    with pytest.raises(InvalidArgument):
        [item async for item in paged(Book([1]).read, "tea")]
