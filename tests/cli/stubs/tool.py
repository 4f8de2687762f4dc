"""Contracts as 'unix:x' tells of them. Made by `capnet describe --stub`."""

from __future__ import annotations

import builtins
import datetime
from typing import Any

import capnet
from capnet import Cap, Stream
from msgspec import Struct, UNSET, UnsetType


OWN_DEFAULT: Any = ...
"""Where the other side has a default of its own."""


class Inside(Struct, kw_only=True, rename={"class_": "class", "id_x": "id-x"}):
    bytes: builtins.int
    date: datetime.date
    str: builtins.int | None | UnsetType = UNSET
    class_: builtins.str
    id_x: builtins.int | UnsetType = UNSET


class Nested(Cap, name="source:Tool.Nested", version=4):
    """Its methods have the names of what declares them.

    \"Quotes\" and \\ backslashes.
    """

    @capnet.options(since=3, timeout=1.5, idempotent=True)
    @capnet.call
    async def call(
        self,
        name: builtins.str,
        inside: Inside,
        of: builtins.str = "a",
        *,
        none: builtins.int | None = None,
        many: Any = OWN_DEFAULT,
    ) -> builtins.bytes:
        """Ends with a quote: \"\"\"

        Args:
            name: whose \"name\"
        """
        ...

    @capnet.call
    async def options(self, first: dict[builtins.str, Inside] | None = None) -> dict[builtins.str, Any]: ...

    @capnet.stream
    def stream(self) -> Stream[Inside]: ...

    @capnet.call
    async def int(self, x: bool = True, y: float = 1.0) -> None: ...
