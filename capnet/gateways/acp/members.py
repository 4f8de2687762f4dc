"""Objects of the protocol: their members, those included that are not known here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from capnet import InvalidArgument

__all__ = ["object_of", "without"]


def object_of(value: object, what: str) -> dict[str, Any]:
    """An object that has come; None is an empty one.

    Raises:
        InvalidArgument: it is something else.
    """
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"{what} is no object")
    return cast("dict[str, Any]", value)


def without(members: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """All members but these."""
    return {name: value for name, value in members.items() if name not in names}
