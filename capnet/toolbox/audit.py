"""What a toolbox tells of its calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeAlias, cast

from capnet.errors import cut_text
from capnet.observe import Event

__all__ = ["Redact", "ToolCalled", "shown"]

Redact: TypeAlias = "Callable[[str, Mapping[str, Any]], Mapping[str, Any]]"
MAX_SHOWN: Final = 64
"""Values that are shown of one list or map."""
MAX_DEPTH: Final = 6
"""Levels of them that are shown."""
MAX_TEXT: Final = 1000
"""Bytes of all that is shown of a call."""
HIDDEN: Final = "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled(Event):
    """A call of a tool has ended, or was refused.

    `arguments` is JSON, cut off where it is long, and without what is not to be written anywhere. `result` is `ok` or
    an error code, with its `reason`; `seconds` counts the wait for an approval as well, and `approved` says whether
    there was one. A tool that gives a stream to its caller has ended, here, when it begins to.
    """

    tool: str
    arguments: str
    dry_run: bool
    approved: bool
    result: str
    reason: str | None
    seconds: float


def shown(tool: str, arguments: Mapping[str, Any], secret: Collection[str], redact: Redact | None) -> str:
    """Arguments as the audit log has them."""
    if redact is not None:
        try:
            arguments = redact(tool, arguments)
        except Exception:  # what it would have hidden is not known
            return HIDDEN
    return cut_text(json.dumps(_plain(dict(arguments), secret, MAX_DEPTH), ensure_ascii=False), MAX_TEXT)


def _plain(value: Any, secret: Collection[str], depth: int) -> Any:
    """A value as far as JSON has it; of all else what it is. What has the name of a secret is hidden at any depth."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, list | tuple | dict) and not depth:
        return "…"
    if isinstance(value, list | tuple):
        return [_plain(item, secret, depth - 1) for item in cast("list[Any]", value)[:MAX_SHOWN]]
    if isinstance(value, dict):
        items = islice(cast("Mapping[str, Any]", value).items(), MAX_SHOWN)
        return {key[:MAX_TEXT]: HIDDEN if key in secret else _plain(item, secret, depth - 1) for key, item in items}
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else f"<{type(value).__name__}>"
