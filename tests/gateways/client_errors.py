"""What a client says of an error, which may be anything: with the details that its host is told."""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = ["DETAILS"]

_DEEP: Final[Any] = json.loads("[" * 40 + "]" * 40)
DETAILS: Final[dict[str, tuple[Any, dict[str, Any]]]] = {
    "what is fine": ({"a": [1, 0.5, None, True, {"b": "x"}]}, {"a": [1, 0.5, None, True, {"b": "x"}]}),
    "words of an error": ({"reason": "mine", "retry": True, "a": 1}, {"a": 1}),
    "half a surrogate": ({"a": ["\ud800"], "b": {"\ud800": 1}, "\udfff": 2, "c": 3}, {"c": 3}),
    "a large number": ({"a": 10**30, "b": [-(10**30)], "c": 3}, {"c": 3}),
    "deep": ({"a": _DEEP, "b": 2}, {"b": 2}),
    "long": ({"a": "x" * 20_000, "b": 2}, {}),
    "long together": ({"a": "x" * 7000, "b": "é" * 7000}, {"a": "x" * 7000}),
    "no object": ([1], {}),
    "nothing": (None, {}),
}
"""Those that a client gives, and those that come."""
