"""The frame of a call: what stands in it beside the arguments, and how it is changed after it was encoded (P-CALL)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, Final

from capnet.errors import InvalidArgument
from capnet.limits import BYTES_PER_VALUE
from capnet.wire.charge import charge_of_references, measured
from capnet.wire.frames import is_context
from capnet.wire.references import Reference

from .timers import LONGEST

__all__ = ["LONGEST_ID", "charge_of", "meta_of", "with_id", "with_keep"]

LONGEST_ID: Final = 9
_ID_AT: Final = 2
"""Where the id of a call stands in its frame; that of a one-way call is one byte long."""
_CALL_WITHOUT_META: Final = 0x85
_CALL_WITH_META: Final = b"\x86"
_AROUND: Final = 64
"""Values in the frame of a call beside its arguments, at most."""
_Encode = Callable[[Any], bytes]


def meta_of(timeout: float | None, context: Mapping[str, str] | None) -> dict[str, Any]:
    """What a call says beside its arguments.

    Args:
        timeout: seconds until the callee gives up.
        context: text that goes along.

    Raises:
        InvalidArgument: the context is out of the bounds of P-CALL-4.
    """
    meta: dict[str, Any] = {}
    if timeout is not None:
        # Rounded up: where caller and callee both keep the time, the caller's own scope is the first to notice.
        meta["deadline"] = ceil(min(max(timeout, 0.0), LONGEST) * 1000)
    if context:
        meta["context"] = context = dict(context)
        if not is_context(context):
            raise InvalidArgument("the call's context has too many keys, or too long ones", reason="max_context")
    return meta


def charge_of(size: int, arguments: dict[str, Any], references: Sequence[Reference]) -> int:
    """What a call with these arguments, in a frame of so many bytes, takes up at the peer, at most."""
    return size + BYTES_PER_VALUE * _AROUND + measured(arguments)[2] + charge_of_references(references)


def with_id(payload: bytes, before: int, id: int, encode: _Encode) -> bytes:
    """The frame of a call with another id."""
    return payload[:_ID_AT] + encode(id) + payload[_ID_AT + len(encode(before)) :]


def with_keep(payload: bytes, meta: dict[str, Any] | None, encode: _Encode) -> bytes:
    """The frame of a call with `keep` in its meta, which stands last in it."""
    if meta is None:
        assert payload[0] == _CALL_WITHOUT_META
        return _CALL_WITH_META + payload[1:] + encode({"keep": True})
    return payload[: -len(encode(meta))] + encode({**meta, "keep": True})
