"""Where one message ends and the next begins, in bytes that come in any pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

__all__ = ["Broken", "Framing", "Headers", "Lines"]

MAX_HEAD: Final = 4096
"""Bytes of all headers of one message."""


class Broken(ValueError):
    """Bytes that no message can begin with; where the next one would, nobody knows."""


class Framing(Protocol):
    """Cuts what one client sends, and frames what it is sent."""

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The messages that are whole now; None for one that was too long to be kept.

        Raises:
            Broken: there will be no more.
        """
        ...

    def end(self) -> Iterator[bytes | None]:
        """What there is at the end of the input."""
        ...

    def framed(self, text: str) -> bytes:
        """A message as it is sent. In ASCII: half a surrogate, which JSON can hold, is an escape there."""
        ...


class Lines:
    """A message is a line. Blank ones are passed over, and the last one needs no end.

    Args:
        most: bytes of the longest message that is kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = bytearray()
        self._skips = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """See `Framing`."""
        *whole, last = data.split(b"\n")
        for part in whole:
            self._add(part)
            yield from self.end()
        self._add(last)

    def end(self) -> Iterator[bytes | None]:
        """See `Framing`."""
        line, skips = bytes(self._rest), self._skips
        self._rest, self._skips = bytearray(), False
        if skips:
            yield None
        elif line.strip():
            yield line

    def framed(self, text: str) -> bytes:
        """See `Framing`."""
        return text.encode() + b"\n"

    def _add(self, part: bytes) -> None:
        if self._skips or len(self._rest) + len(part) > self._most:
            self._rest, self._skips = bytearray(), True
        else:
            self._rest += part


class Headers:
    """A message has headers before it, of which `Content-Length` says how many bytes it has.

    Args:
        most: bytes of the longest message that is kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = bytearray()
        self._length: int | None = None
        """Bytes that are still to come of the message whose headers have come."""
        self._skips = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """See `Framing`."""
        view = memoryview(data)
        while True:
            if self._length is None:
                view = self._head(view)
                if self._length is None:
                    return
            part = view[: self._length]
            view = view[len(part) :]
            self._length -= len(part)
            if not self._skips:
                self._rest += part
            if self._length:
                return
            yield None if self._skips else bytes(self._rest)
            self._rest, self._length, self._skips = bytearray(), None, False

    def end(self) -> Iterator[bytes | None]:
        """See `Framing`. What is not whole is no message."""
        return iter(())

    def framed(self, text: str) -> bytes:
        """See `Framing`."""
        data = text.encode()
        return b"Content-Length: %d\r\n\r\n%s" % (len(data), data)

    def _head(self, view: memoryview) -> memoryview:
        """Take what belongs to the headers; gives what follows them."""
        known = len(self._rest)
        self._rest += view[: MAX_HEAD + 4 - known]
        end = self._rest.find(b"\r\n\r\n", max(0, known - 3))
        if end < 0:
            if len(self._rest) > MAX_HEAD:
                raise Broken(f"the headers of a message have at most {MAX_HEAD} bytes")
            return view[:0]
        self._length = _length(bytes(self._rest[:end]))
        self._skips = self._length > self._most
        self._rest = bytearray()
        return view[end + 4 - known :]


def _length(head: bytes) -> int:
    lengths: set[bytes] = set()
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon:
            raise Broken("a header is no header")
        if name.strip().lower() == b"content-length":
            lengths.add(value.strip())
    if len(lengths) != 1:
        raise Broken("the headers of a message say once how long it is, in Content-Length")
    (length,) = lengths
    if not length.isdigit() or len(length) > 15:
        raise Broken("Content-Length is no number")
    return int(length)
