"""What an `OSError` becomes: the one table from the system's error numbers to `capnet.errors`."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Final

from capnet.errors import AlreadyExists, CapnetError, InvalidArgument, PermissionDenied, ResourceExhausted, Unavailable

__all__ = ["EXHAUSTED", "failure", "unreached"]

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Error numbers that say that the system has no room just now."""


def failure(error: OSError, subject: str) -> CapnetError:
    """`error` as one of ours, to be raised from it.

    Args:
        error: what the system said.
        subject: the address, path or command it is about; opens the text.

    Returns:
        an error whose text ends with the system's words and whose `reason` is the error's name in lower case, such as
        `econnrefused`. `Unavailable` where the table below knows nothing better.
    """
    number = error.errno or 0
    words = error.strerror or (os.strerror(number) if number else str(error) or type(error).__name__)
    reason = errno.errorcode[number].lower() if number in errno.errorcode else None
    return _BY_NUMBER.get(number, Unavailable)(f"{subject}: {words}", reason=reason)


def unreached(error: OSError, address: str) -> CapnetError:
    """The same for who wants to connect: where nobody listens, it asks the question that helps.

    Args:
        error: what the system said.
        address: complete, so that it tells where was looked.
    """
    failed = failure(error, address)
    if error.errno in _NOBODY:
        hint = f"start it first, or wait for it: connect({address!r}, wait=5)"
        return Unavailable(f"{failed.message}; is the server running?", reason=failed.reason, hint=hint)
    return failed


_NOBODY: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT})
"""Error numbers that say that nobody listens there."""
_BY_NUMBER: Final[Mapping[int, type[CapnetError]]] = {
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.EROFS: PermissionDenied,
    errno.EADDRINUSE: AlreadyExists,
    errno.EEXIST: AlreadyExists,
    errno.EINVAL: InvalidArgument,
    errno.ENAMETOOLONG: InvalidArgument,
    errno.ENOTDIR: InvalidArgument,
} | dict.fromkeys(EXHAUSTED, ResourceExhausted)
