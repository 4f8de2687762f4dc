"""Toolboxes that a host serves: each of their tools is one here, under its own name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

from capnet import Connection, InvalidArgument, NotFound, PermissionDenied, on_broken
from capnet.gateways.schemas import from_schema
from capnet.gateways.values import Handles
from capnet.toolbox import Toolbox, ToolDescription, paged

from .news import Box, News
from .tools import is_name, output_schema

__all__ = ["Boxes", "taken"]

_OWN: Final[Mapping[str, dict[str, Any]]] = {
    "dry_run": {"type": "boolean", "default": False, "description": "Only say what it would do."},
    "cursor": {"type": "string", "description": "`next` of the page before."},
}
"""What a tool takes beside its arguments, when it can."""


class Boxes:
    """Those that one client may have.

    Args:
        connection: of this client alone.
        news: hears of changes.
    """

    def __init__(self, connection: Connection, news: News) -> None:
        self._connection = connection
        self._news = news
        self._boxes: dict[Box, Toolbox] = {}

    async def serve(self, served: frozenset[Box]) -> None:
        """These are toolboxes now."""
        for one in self._boxes.keys() - served:
            self._gone(one, self._boxes[one])
        for one in sorted(served - self._boxes.keys()):
            with suppress(NotFound, PermissionDenied):  # it went meanwhile
                box = await self._connection.bootstrap(Toolbox, name=one[0])
                if one not in self._boxes:  # another request was faster
                    self._boxes[one] = box
                    self._news.add(one, box.changes)
                    on_broken(box, partial(self._gone, one, box))

    def _gone(self, one: Box, box: Toolbox, _: object = None) -> None:
        if self._boxes.get(one) is box:
            del self._boxes[one]
            self._news.discard(one)

    async def names(self) -> dict[str, Toolbox]:
        """All their tools by name, and where each is."""
        found: dict[str, Toolbox] = {}
        for box in tuple(self._boxes.values()):
            async for one in paged(box.discover):
                if is_name(one.name):
                    found.setdefault(one.name, box)
        return found

    async def data(self) -> list[dict[str, Any]]:
        """The same, as `tools/list` has them."""
        found: list[dict[str, Any]] = []
        for name, box in (await self.names()).items():
            with suppress(NotFound, PermissionDenied):
                found.append(_data(await box.describe(name)))
        return found

    async def find(self, name: str) -> tuple[Toolbox, ToolDescription] | None:
        """The tool of that name, and where it is.

        Raises:
            PermissionDenied: it is not for this client.
        """
        denied: PermissionDenied | None = None
        for box in tuple(self._boxes.values()):
            try:
                return box, await box.describe(name)
            except NotFound:
                continue
            except PermissionDenied as error:
                denied = error
        if denied is not None:
            raise denied
        return None


def taken(told: ToolDescription, given: Mapping[str, Any], handles: Handles) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of a tool, and what it takes beside them.

    Raises:
        InvalidArgument: one is of another form.
    """
    arguments = dict(given)
    beside = {name: arguments.pop(name) for name in _own(told) if name in arguments}
    if type(beside.get("dry_run", False)) is not bool or not isinstance(beside.get("cursor", ""), str):
        raise InvalidArgument("dry_run is true or false, and cursor is a text")
    properties = cast("dict[str, Any]", told.parameters.get("properties", {}))
    definitions = cast("dict[str, Any]", told.parameters.get("$defs", {}))
    return {
        name: from_schema(value, properties.get(name, {}), definitions, handles) for name, value in arguments.items()
    }, beside


def _own(told: ToolDescription) -> list[str]:
    able = {"dry_run": told.dry_run, "cursor": told.pages}
    return [name for name, can in able.items() if can and name not in told.parameters.get("properties", {})]


def _data(told: ToolDescription) -> dict[str, Any]:
    properties = {**told.parameters.get("properties", {}), **{name: _OWN[name] for name in _own(told)}}
    data: dict[str, Any] = {"name": told.name, "inputSchema": {**told.parameters, "properties": properties}}
    if told.result is not None:
        data["outputSchema"] = output_schema(_items(told), streams=told.streams, pages=told.pages)
    if told.doc:
        data["description"] = told.doc
    hints = {
        "readOnlyHint": told.read_only,
        "destructiveHint": told.destructive,
        "idempotentHint": told.idempotent or None,
    }
    hints = {name: hint for name, hint in hints.items() if hint is not None}
    return {**data, "annotations": hints} if hints else data


def _items(told: ToolDescription) -> dict[str, Any]:
    """The schema of what it gives; of one that pages, of the items alone."""
    result = dict(told.result or {})
    if not told.pages:
        return result
    page: Any = result.get("$defs", {}).get(str(result.pop("$ref", "")).rpartition("/")[2], {})
    return {**result, **page.get("properties", {}).get("items", {})}
