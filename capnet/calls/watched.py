"""Calls in development mode: one that has failed, and that nobody has awaited, is told of when it is let go."""

from __future__ import annotations

import sys
import warnings
from typing import Final, TypeVar

from capnet.contract import MethodSpec
from capnet.errors import CallCancelled, CapnetError, Unavailable
from capnet.observe.failure import OWN

from .call import Call, Caller

__all__ = ["WatchedCall"]

T = TypeVar("T")
_ENDED: Final = (CallCancelled, Unavailable)
"""What calls end with when somebody has given them up, or their connection; that is told otherwise."""


class WatchedCall(Call[T]):
    """As `Call`; the others do not pay for it."""

    __slots__ = ("_heard", "_made_at")

    def __init__(self, caller: Caller, method: MethodSpec) -> None:
        super().__init__(caller, method)
        self._heard = False
        frame = sys._getframe(1)  # noqa: SLF001 - documented
        while frame.f_back is not None and frame.f_code.co_filename.startswith(OWN):
            frame = frame.f_back
        self._made_at = frame.f_code.co_filename, frame.f_lineno

    @property
    def error(self) -> CapnetError | None:
        """See `Call`."""
        self._heard = True
        return self._error

    def outcome(self) -> T:
        """See `Call`."""
        self._heard = True
        return super().outcome()

    def piped(self) -> None:
        """See `Call`."""
        self._heard = True

    def __del__(self) -> None:
        error = self._error
        if error is None or self._heard or isinstance(error, _ENDED):
            return
        text = f"nobody has awaited {self.method.contract}.{self.method.name}, which has failed: {error}"
        warnings.warn_explicit(text, RuntimeWarning, *self._made_at)
