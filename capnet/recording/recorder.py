"""`Recorder`: writes what connections say into a file, up to a bound.

A recording never disturbs a connection. What cannot be read as frames is told as that; when the file cannot be written
any more, or is full, the recording ends and the connections go on.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import Any, Final

from capnet.errors import AlreadyExists, CapnetError, InvalidArgument, ProtocolViolation, Unavailable
from capnet.limits import Limits
from capnet.transport import Transport
from capnet.wire import frames
from capnet.wire.codec import Codec
from capnet.wire.framing import FrameReader

from .entries import entry, size_of, whole
from .tap import Tap

__all__ = ["DEFAULT_LIMIT", "MARK", "Recorder"]

DEFAULT_LIMIT: Final = 64 * 1024 * 1024
"""Bytes that a recording has at most, unless its program says another number."""
MARK: Final = "capnet recording"
"""With it, and the number of its form, a recording begins."""
_FORM: Final = 1
_LONGEST: Final = 2**32 - 1
_LAST: Final = 256
"""Bytes that are kept free for the entry that says that the bound was hit."""


class Recorder:
    """A recording. Belongs to one loop.

    Args:
        path: of the file, which only its owner may read. One that is there is replaced if it is a recording, or empty.
        values: record values as well; by default they are told by type and size.
        limit: bytes, after which nothing more is recorded.

    Attributes:
        complain: is told, once, when it cannot go on.

    Raises:
        AlreadyExists: the file is something else. InvalidArgument: `limit` is too small. Unavailable: the file cannot
        be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        values: bool = False,
        limit: int = DEFAULT_LIMIT,
    ) -> None:
        if limit < 4096:
            raise InvalidArgument(f"a recording of {limit} bytes: it has 4096 at least")
        self._show = whole if values else size_of
        self._left = limit - _LAST
        self.complain: Callable[[Exception], object] | None = None
        self._began = monotonic()
        self._connections = 0
        self._file: int | None = _open(Path(path))
        self._write({"recording": MARK, "form": _FORM, "began": time(), "values": values, "pid": os.getpid()})

    def tap(self, transport: Transport) -> Transport:
        """The same transport, for a connection that is recorded.

        Args:
            transport: not started.
        """
        return self._tap(transport, None)

    def _tap(self, transport: Transport, around: int | None) -> Transport:
        self._connections += 1
        line = _Line(self, self._connections, transport.attestation.transport, around, self._show)
        return Tap(transport, line, partial(self._tap, around=self._connections))

    @property
    def closed(self) -> bool:
        """Whether nothing is recorded any more."""
        return self._file is None

    def close(self) -> None:
        """Record no more. Closing twice does nothing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def write(self, connection: int, **fields: Any) -> None:
        """Add an entry."""
        self._write({"t": round(monotonic() - self._began, 6), "connection": connection, **fields})

    def fail(self, error: Exception) -> None:
        """It cannot go on."""
        self.close()
        if self.complain is not None:
            self.complain(error)

    def _write(self, fields: dict[str, Any]) -> None:
        if self._file is None:
            return
        line = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
        full = len(line) > self._left
        if full:
            line = json.dumps({"t": fields.get("t", 0), "full": True}).encode() + b"\n"
        self._left -= len(line)
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            self.fail(error)
            return
        if full:
            self.close()


class _Line:
    """What is said on one connection (see `Listening`)."""

    def __init__(
        self, recorder: Recorder, number: int, transport: str, around: int | None, show: Callable[[Any], Any]
    ) -> None:
        self._recorder = recorder
        self._number = number
        limits = Limits.trusted()
        self._codec = Codec(limits)
        self._show = show
        self._readers: dict[str, FrameReader | None] = {"out": FrameReader(_LONGEST), "in": FrameReader(_LONGEST)}
        recorder.write(number, opened=transport, **({} if around is None else {"inside": around}))

    def sent(self, chunks: Sequence[bytes]) -> None:
        for chunk in chunks:
            self._take("out", chunk)

    def received(self, data: bytes | bytearray | memoryview) -> None:
        self._take("in", data)

    def closed(self, error: Exception | None) -> None:
        self._recorder.write(self._number, closed=None if error is None else str(error))
        self._readers = dict.fromkeys(self._readers)

    def _take(self, direction: str, data: bytes | bytearray | memoryview) -> None:
        reader = self._readers[direction]
        if reader is None or self._recorder.closed:
            return
        size = 0
        try:
            for frame in reader.frames(data):
                size = len(frame)
                self._frame(direction, frame)
        except ProtocolViolation as error:  # with it the connection ends, so nothing is looked for behind it
            self._readers[direction] = None
            self._recorder.write(
                self._number,
                direction=direction,
                size=size,
                op="unreadable",
                clause=error.clause,
                message=error.message,
            )
        except Exception as error:  # whatever it is, the connection goes on
            self._recorder.fail(error)

    def _frame(self, direction: str, raw: bytes) -> None:
        frame, references = self._codec.decode(raw)
        frames.check(frame)
        told = entry(frame, references, self._show)
        self._recorder.write(self._number, direction=direction, size=len(raw), **told)


def _open(path: Path) -> int:
    """The file, empty and ours alone."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            _empty(path, file)
        except BaseException:
            os.close(file)
            raise
    except CapnetError:
        raise
    except OSError as error:
        raise Unavailable(f"{path}: this cannot be recorded to: {error.strerror}", reason="recording") from error
    return file


def _empty(path: Path, file: int) -> None:
    head = os.read(file, 64)
    if not stat.S_ISREG(os.fstat(file).st_mode) or (head and MARK.encode() not in head):
        raise AlreadyExists(
            f"{path}: what is there is no recording, so it is left alone", hint="choose another path, or remove it"
        )
    os.fchmod(file, 0o600)
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
