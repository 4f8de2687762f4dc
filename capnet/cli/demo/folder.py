"""`DirectoryFolder`: a directory of this machine as a `Folder`, and nothing beside it.

A path is never handed to the system as a whole: each of its parts is opened below the one before, and none may be a
symbolic link. So there is no moment between a check and its use in which somebody could put a link in the way, and
what has been opened stays what it was, even if it is renamed meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final
from weakref import finalize

from capnet import CapnetError, Internal, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, in_thread
from capnet.cli.demo.contract import File, Folder, Listing

__all__ = ["MAX_DEPTH", "MAX_FILES", "MAX_FILE_BYTES", "MAX_PATH_BYTES", "DirectoryFolder"]

MAX_FILE_BYTES: Final = 1024 * 1024
"""A larger file is not read."""
MAX_FILES: Final = 1000
"""Files in one listing."""
MAX_DEPTH: Final = 16
"""Parts of a path."""
MAX_PATH_BYTES: Final = 1024
_MAX_ENTRIES: Final = 10_000
"""Entries of one directory that are looked at."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Opening a pipe must not wait for its writer, and a terminal must not become ours.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class DirectoryFolder(Folder):
    """The regular files below a directory that are not hidden, to read.

    Args:
        path: the directory; it may itself be a symbolic link, and is followed once, now.
        below: an open directory that `path` starts from.

    Attributes:
        files_read, bytes_read: what has been given out.

    Raises:
        OSError: it cannot be opened, or is no directory.
    """

    def __init__(self, path: str | os.PathLike[str], *, below: int | None = None) -> None:
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=below)
        self._close = finalize(self, os.close, self._root)  # also when nobody ever got it, such as a call cut short
        self.files_read = 0
        self.bytes_read = 0

    async def files(self) -> Listing:
        """See `Folder`; at most `MAX_FILES`."""
        return await self._listing()

    async def read(self, path: str) -> bytes:
        """See `Folder`; at most `MAX_FILE_BYTES`.

        Raises:
            PermissionDenied: `outside_folder` (it is absolute or has `..` in it), `symlink`, `hidden`, `not_a_file`,
            `unreadable`. InvalidArgument: `path`, no file can have that name. NotFound. ResourceExhausted:
            `file_too_large`.
        """
        content = await self._content(path)
        self.files_read += 1
        self.bytes_read += len(content)
        return content

    async def open(self, path: str) -> Folder:
        """See `Folder`; it counts what it gives out for itself.

        Raises:
            PermissionDenied: `outside_folder`, `symlink`, `hidden`, `unreadable`. InvalidArgument: `path`. NotFound.
        """
        return await self._below(path)

    async def aclose(self) -> None:
        """Close the directory. capnet calls it once, when no call runs any more and nobody holds the folder."""
        self._close()

    @in_thread
    def _listing(self) -> Listing:
        files: list[File] = []
        skipped = 0
        for found in _walk(self._root, "", 1):
            if found is None:
                skipped += 1
            elif len(files) == MAX_FILES:
                return Listing(files, skipped, complete=False)
            else:
                files.append(found)
        return Listing(files, skipped, complete=True)

    @in_thread
    def _content(self, path: str) -> bytes:
        *directories, name = _parts(path)
        with _opened(self._root, directories) as directory:
            file = _open(name, _FILE, directory)
            try:
                return _read(file)
            finally:
                os.close(file)

    @in_thread
    def _below(self, path: str) -> DirectoryFolder:
        with _opened(self._root, _parts(path)) as directory:
            return DirectoryFolder(".", below=directory)


def _parts(path: str) -> list[str]:
    """The parts of a path that stays inside, as far as its text can tell."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts:
        raise PermissionDenied("a path begins in the folder and stays in it", reason="outside_folder")
    if not path or "\0" in path or len(path.encode()) > MAX_PATH_BYTES or len(parts) > MAX_DEPTH:
        raise InvalidArgument("no file can have that path", reason="path")
    if "" in parts or "." in parts:
        raise InvalidArgument("a path is written without empty parts and without `.`", reason="path")
    if any(part.startswith(".") for part in parts):
        raise PermissionDenied("hidden files stay hidden", reason="hidden")
    return parts


@contextmanager
def _opened(root: int, parts: Sequence[str]) -> Generator[int]:
    """The directory that is reached by these parts, each opened below the one before."""
    directory = root
    try:
        for part in parts:
            inner = _open(part, _DIRECTORY, directory)
            if directory != root:
                os.close(directory)
            directory = inner
        yield directory
    finally:
        if directory != root:
            os.close(directory)


def _open(name: str, flags: int, directory: int) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError as error:
        raise _refusal(error, name, directory) from None


def _refusal(error: OSError, name: str, directory: int) -> CapnetError:
    """What the peer is told: nothing of where the folder is."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(name, directory):
        return PermissionDenied("symbolic links are not followed", reason="symlink")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound("nothing of that name is there")
    if error.errno in (errno.EACCES, errno.EPERM):
        return PermissionDenied("the host may not read it either", reason="unreadable")
    if error.errno == errno.ENXIO:  # a socket
        return PermissionDenied("only regular files are read", reason="not_a_file")
    if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
        return InvalidArgument("no file can have that path", reason="path")
    return Internal(os.strerror(error.errno or 0), reason="io")


def _is_link(name: str, directory: int) -> bool:
    with suppress(OSError):
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    return False


def _read(file: int) -> bytes:
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise PermissionDenied("only regular files are read", reason="not_a_file")
    with open(file, "rb", closefd=False) as stream:
        content = stream.read(MAX_FILE_BYTES + 1)  # what is read counts, not what the size was a moment ago
    if len(content) > MAX_FILE_BYTES:
        raise ResourceExhausted(f"files of more than {MAX_FILE_BYTES} bytes are not read", reason="file_too_large")
    return content


def _walk(directory: int, prefix: str, depth: int) -> Iterator[File | None]:
    """Each regular file below a directory; None for what is left out. Hidden entries are not mentioned at all."""
    with os.scandir(directory) as entries:
        visible = [entry for entry in islice(entries, _MAX_ENTRIES) if not entry.name.startswith(".")]
    for entry in sorted(visible, key=lambda entry: entry.name):
        path = prefix + entry.name
        if depth > MAX_DEPTH or not _fits(path):
            yield None
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk_into(entry.name, directory, path, depth)
        elif entry.is_file(follow_symlinks=False):
            yield _file(entry, path)
        else:
            yield None


def _walk_into(name: str, parent: int, path: str, depth: int) -> Iterator[File | None]:
    try:
        directory = os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError:  # unreadable, gone, or no directory any more
        yield None
        return
    try:
        yield from _walk(directory, f"{path}/", depth + 1)
    finally:
        os.close(directory)


def _file(entry: os.DirEntry[str], path: str) -> File | None:
    try:
        return File(path, entry.stat(follow_symlinks=False).st_size)
    except OSError:  # gone
        return None


def _fits(path: str) -> bool:
    """Whether a path can travel: it is Unicode, and not too long."""
    try:
        return len(path.encode()) <= MAX_PATH_BYTES
    except UnicodeEncodeError:
        return False
