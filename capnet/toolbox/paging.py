"""Pages: many items by calls that each give some, with bounds for who asks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final, TypeVar, cast

import msgspec

from capnet.errors import FailedPrecondition, InvalidArgument, ResourceExhausted

from .contract import Outcome, Page

__all__ = ["collect", "paged"]

T = TypeVar("T")
MAX_PAGES: Final = 1000
MAX_BYTES: Final = 16 * 1024 * 1024


async def paged(
    method: Callable[..., Awaitable[Page[T]]],
    /,
    *arguments: Any,
    max_pages: int = MAX_PAGES,
    max_bytes: int = MAX_BYTES,
    **named: Any,
) -> AsyncGenerator[T]:
    """The items of all pages, one by one; a page is asked for when its first item is wanted.

        async for summary in paged(box.discover, "mail", limit=50):
            print(summary.name)

    Args:
        method: gives a `Page`, and takes the cursor of the next one as `cursor`.
        arguments: for it, the same each time.
        max_pages: pages that are asked for.
        max_bytes: what all pages together may take up, as JSON.
        named: more arguments.

    Raises:
        ResourceExhausted: `max_pages` or `max_bytes`: there is more than that. FailedPrecondition: `cursor`, a page
        leads back to itself. And what the method raises.
    """
    async for page in _pages(lambda more: method(*arguments, **named, **more), max_pages, max_bytes):
        if not isinstance(page, Page):
            raise InvalidArgument(f"a `Page` is what has items, and this has given a `{type(page).__name__}`")
        for item in cast("Page[T]", page).items:
            yield item


async def collect(
    method: Callable[..., Awaitable[Page[Any] | Outcome]],
    /,
    *arguments: Any,
    merge: str = "array",
    max_pages: int = MAX_PAGES,
    max_bytes: int = MAX_BYTES,
    **named: Any,
) -> Any:
    """What all pages have, as one value.

        rows = await collect(box.call, "db.rows", {"table": "tea"})
        found = await collect(box.call, "db.find", {"word": "tea"}, merge="field:rows")

    Args:
        method: gives a `Page`, or an `Outcome` of a tool, and takes the cursor of the next one as `cursor`.
        arguments: for it, the same each time.
        merge: `array`: each page is a list, and they follow each other. `field:NAME`: each is a map, whose lists
            under NAME follow each other; of all else in it the last page counts. `first`: the first page alone.
        max_pages: pages that are asked for.
        max_bytes: what all pages together may take up, as JSON.
        named: more arguments.

    Raises:
        FailedPrecondition: `merge`, a page is not of that form. Otherwise as `paged`.
    """
    form, _, name = merge.partition(":")
    if form not in ("array", "field", "first") or bool(name) is not (form == "field"):
        raise InvalidArgument(f"merge is 'array', 'field:NAME' or 'first', not {merge!r}"[:300])
    whole: dict[str, Any] = {}
    items: list[Any] = []
    async for page in _pages(lambda more: method(*arguments, **named, **more), max_pages, max_bytes):
        value = page.items if isinstance(page, Page) else page.value
        if form == "first":
            return value
        found = value if form == "array" else cast("dict[str, Any]", value).get(name) if type(value) is dict else None
        if type(found) is not list:
            expected = "list" if form == "array" else f"map with a list under {name!r}"
            raise FailedPrecondition(f"a page is no {expected}"[:300], reason="merge")
        items += found
        whole = cast("dict[str, Any]", value)
    return items if form == "array" else {**whole, name: items}


async def _pages(
    ask: Callable[[dict[str, str]], Awaitable[Any]], max_pages: int, max_bytes: int
) -> AsyncGenerator[Page[Any] | Outcome]:
    """The pages, as far as the bounds go."""
    if max_pages < 1 or max_bytes < 1:
        raise InvalidArgument("max_pages and max_bytes are whole numbers from 1")
    cursor: str | None = None
    pages = size = 0
    while True:
        page: Page[Any] | Outcome = await ask({} if cursor is None else {"cursor": cursor})
        pages += 1
        size += _size(page.items if isinstance(page, Page) else page.value)
        if size > max_bytes:
            raise _too_much("max_bytes", pages, size)
        yield page
        if page.next is None:
            return
        if page.next == cursor:
            raise FailedPrecondition("this page is its own next one", reason="cursor", details={"pages": pages})
        if pages >= max_pages:
            raise _too_much("max_pages", pages, size)
        cursor = page.next


def _size(value: Any) -> int:
    """Bytes of a value as JSON; what JSON does not have counts as nothing."""
    return len(msgspec.json.encode(value, enc_hook=lambda _: None))


def _too_much(reason: str, pages: int, size: int) -> ResourceExhausted:
    return ResourceExhausted(
        f"there is more than {reason} allows",
        reason=reason,
        details={"pages": pages, "bytes": size},
        retry="never",
    )
