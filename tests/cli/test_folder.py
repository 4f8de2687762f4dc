"""`DirectoryFolder` gives out what is in its directory, and nothing else."""

from __future__ import annotations

import errno
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from capnet import CapnetError
from capnet.cli.demo import folder as folder_module
from capnet.cli.demo.contract import File
from capnet.cli.demo.folder import MAX_DEPTH, MAX_FILE_BYTES, MAX_PATH_BYTES, DirectoryFolder

SECRET = b"not for the plugin"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file in a directory, and a secret beside it."""
    (tmp_path / "secret.txt").write_bytes(SECRET)
    root = tmp_path / "folder"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "secret.txt").write_bytes(b"no secret")
    (root / "file.txt").write_bytes(b"hello")
    return root


@pytest.fixture
async def folder(root: Path) -> AsyncIterator[DirectoryFolder]:
    folder = DirectoryFolder(root)
    yield folder
    await folder.aclose()


async def refused(folder: DirectoryFolder, path: str) -> str:
    """Code and reason of the refusal."""
    with pytest.raises(CapnetError) as caught:
        await folder.read(path)
    assert SECRET.decode() not in str(caught.value)
    return f"{caught.value.code}/{caught.value.reason}"


async def test_reads_what_is_there(folder: DirectoryFolder) -> None:
    assert await folder.read("file.txt") == b"hello"
    assert await folder.read("sub/secret.txt") == b"no secret"
    assert (folder.files_read, folder.bytes_read) == (2, 14)


async def test_lists_what_is_there(folder: DirectoryFolder, root: Path) -> None:
    (root / ".hidden").touch()
    (root / "link").symlink_to("file.txt")
    os.mkfifo(root / "pipe")
    listing = await folder.files()
    assert listing.files == [File("file.txt", 5), File("sub/secret.txt", 9)]
    assert (listing.skipped, listing.complete) == (2, True)


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "sub/../../secret.txt",
        "..",
        "sub/..",
        "/etc/passwd",
        "/",
        "//etc/passwd",
        "../../../../etc/passwd",
    ],
)
async def test_paths_that_lead_out(folder: DirectoryFolder, path: str) -> None:
    assert await refused(folder, path) == "permission_denied/outside_folder"
    assert folder.files_read == 0


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a\0b",
        "file.txt\0",
        "sub//secret.txt",
        "./file.txt",
        "sub/",
        "x" * (MAX_PATH_BYTES + 1),
        "x/" * MAX_DEPTH + "x",
    ],
    ids=lambda path: repr(path[:10]),
)
async def test_paths_that_no_file_has(folder: DirectoryFolder, path: str) -> None:
    assert await refused(folder, path) == "invalid_argument/path"


async def test_a_name_too_long_for_the_system(folder: DirectoryFolder) -> None:
    assert await refused(folder, "x" * 300) == "invalid_argument/path"


async def test_links_to_files_and_directories(folder: DirectoryFolder, root: Path) -> None:
    (root / "absolute").symlink_to(root.parent / "secret.txt")
    (root / "relative").symlink_to("../secret.txt")
    (root / "door").symlink_to("..")
    (root / "inner").symlink_to("file.txt")
    (root / "dangling").symlink_to("nowhere")
    for path in ("absolute", "relative", "door/secret.txt", "door/folder/file.txt", "door", "inner", "dangling"):
        assert await refused(folder, path) == "permission_denied/symlink", path


async def test_what_is_no_file(folder: DirectoryFolder, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "pipe")
    monkeypatch.chdir(root)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock")
        for path in ("pipe", "sock", "sub"):
            assert await refused(folder, path) == "permission_denied/not_a_file", path


async def test_what_is_not_there(folder: DirectoryFolder) -> None:
    for path in ("nowhere", "nowhere/file.txt", "file.txt/file.txt"):
        assert (await refused(folder, path)).startswith("not_found/"), path


async def test_hidden_files(folder: DirectoryFolder, root: Path) -> None:
    (root / ".git").mkdir()
    (root / ".git" / "config").write_bytes(SECRET)
    assert await refused(folder, ".git/config") == "permission_denied/hidden"


@pytest.mark.parametrize(
    ("number", "answer"),
    [
        (errno.EACCES, "permission_denied/unreadable"),
        (errno.EPERM, "permission_denied/unreadable"),
        (errno.EIO, "internal/io"),
    ],
)
async def test_what_the_system_refuses(
    folder: DirectoryFolder, monkeypatch: pytest.MonkeyPatch, number: int, answer: str
) -> None:
    """The system is stood in for: nothing is refused to the superuser, who may run this."""

    def refusing_open(name: str, flags: int, dir_fd: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refusing_open)
    assert await refused(folder, "file.txt") == answer
    listing = await folder.files()
    assert ([file.path for file in listing.files], listing.skipped) == (["file.txt"], 1)


async def test_size_is_bounded(folder: DirectoryFolder, root: Path) -> None:
    for size, name in ((MAX_FILE_BYTES, "largest"), (MAX_FILE_BYTES + 1, "larger")):
        with (root / name).open("wb") as stream:
            stream.truncate(size)
    assert len(await folder.read("largest")) == MAX_FILE_BYTES
    assert await refused(folder, "larger") == "resource_exhausted/file_too_large"


async def test_listing_is_bounded(folder: DirectoryFolder, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "MAX_FILES", 1)
    monkeypatch.setattr(folder_module, "MAX_DEPTH", 1)
    listing = await folder.files()
    assert (len(listing.files), listing.skipped, listing.complete) == (1, 1, True)
    (root / "more.txt").touch()
    assert not (await folder.files()).complete


async def test_names_that_cannot_travel_are_skipped(folder: DirectoryFolder, root: Path) -> None:
    try:
        (root / os.fsdecode(b"\xff.txt")).touch()
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    listing = await folder.files()
    assert (len(listing.files), listing.skipped) == (2, 1)


async def test_nothing_stays_open(folder: DirectoryFolder) -> None:
    await folder.files()
    before = os.listdir("/dev/fd")
    await folder.read("sub/secret.txt")
    await folder.files()
    for path in ("sub/nowhere", "sub/secret.txt/x", "sub"):
        await refused(folder, path)
    assert os.listdir("/dev/fd") == before
    inner = await folder.open("sub")
    with pytest.raises(CapnetError):
        await folder.open("sub/secret.txt")
    assert len(os.listdir("/dev/fd")) == len(before) + 1
    await inner.aclose()
    assert os.listdir("/dev/fd") == before


async def test_a_folder_that_nobody_got_is_closed(folder: DirectoryFolder) -> None:
    """Such as the result of a call that was cancelled meanwhile."""
    await folder.files()
    before = os.listdir("/dev/fd")
    await folder.open("sub")
    await folder.files()  # a worker thread keeps what it gave last
    gc.collect()
    assert os.listdir("/dev/fd") == before


async def test_a_folder_in_the_folder(folder: DirectoryFolder, root: Path) -> None:
    (root / "sub" / "deep").mkdir()
    (root / "sub" / "deep" / "file.txt").write_bytes(b"deep")
    for path, file in (("sub", "deep/file.txt"), ("sub/deep", "file.txt")):
        inner = await folder.open(path)
        assert await inner.read(file) == b"deep"
        assert file in [found.path for found in (await inner.files()).files]
        await inner.aclose()
    assert await folder.read("file.txt") == b"hello"


async def test_nobody_gets_out_of_a_folder_in_the_folder(folder: DirectoryFolder, root: Path) -> None:
    inner = await folder.open("sub")
    assert isinstance(inner, DirectoryFolder)
    (root / "sub").rename(root / "moved")  # what was opened stays what it was
    for path in ("../file.txt", "../../secret.txt", "/etc/passwd"):
        assert await refused(inner, path) == "permission_denied/outside_folder"
    assert await inner.read("secret.txt") == b"no secret"
    await inner.aclose()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("..", "permission_denied/outside_folder"),
        ("/", "permission_denied/outside_folder"),
        ("door", "permission_denied/symlink"),
        ("door/folder", "permission_denied/symlink"),
        (".git", "permission_denied/hidden"),
        ("", "invalid_argument/path"),
        (".", "invalid_argument/path"),
        ("file.txt", "not_found/None"),
        ("nowhere", "not_found/None"),
    ],
)
async def test_folders_that_are_not_opened(folder: DirectoryFolder, root: Path, path: str, answer: str) -> None:
    (root / "door").symlink_to("..")
    (root / ".git").mkdir()
    with pytest.raises(CapnetError) as caught:
        await folder.open(path)
    assert f"{caught.value.code}/{caught.value.reason}" == answer


def swap(root: Path) -> None:
    """Put a link to the outside where the directory `sub` is."""
    (root / "sub").rename(root / "moved")
    (root / "sub").symlink_to("..")


@pytest.mark.parametrize(
    ("moment", "outcome"), [("sub", "permission_denied/symlink"), ("secret.txt", "read")], ids=["before", "after"]
)
async def test_directory_swapped_for_a_link(
    folder: DirectoryFolder, root: Path, monkeypatch: pytest.MonkeyPatch, moment: str, outcome: str
) -> None:
    """Before it is opened the link is refused; afterwards what was opened is what is read."""
    really_open: Callable[[str, int, int], int] = folder_module._open

    def racing_open(name: str, flags: int, directory: int) -> int:
        if name == moment:
            swap(root)
        return really_open(name, flags, directory)

    monkeypatch.setattr(folder_module, "_open", racing_open)
    if outcome == "read":
        assert await folder.read("sub/secret.txt") == b"no secret"
    else:
        assert await refused(folder, "sub/secret.txt") == outcome


async def test_directory_swapped_all_the_time(folder: DirectoryFolder, root: Path) -> None:
    """Whatever the moment, the secret does not come out."""
    over = Event()

    def keep_swapping() -> None:
        while not over.is_set():
            swap(root)
            (root / "sub").unlink()
            (root / "moved").rename(root / "sub")

    thread = Thread(target=keep_swapping)
    thread.start()
    try:
        for _ in range(300):
            with suppress(CapnetError):  # the link, or nothing at that moment
                assert await folder.read("sub/secret.txt") == b"no secret"
            listing = await folder.files()
            assert {file.path for file in listing.files} <= {"file.txt", "sub/secret.txt", "moved/secret.txt"}
    finally:
        over.set()
        thread.join()


async def test_file_swapped_for_a_link_while_listed(
    folder: DirectoryFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was a directory when it was listed, and a link when it is opened, is left out."""
    really_into = folder_module._walk_into

    def racing_into(name: str, parent: int, path: str, depth: int) -> object:
        swap(root)
        return really_into(name, parent, path, depth)

    monkeypatch.setattr(folder_module, "_walk_into", racing_into)
    listing = await folder.files()
    assert ([file.path for file in listing.files], listing.skipped) == (["file.txt"], 1)


def test_what_is_no_directory(root: Path) -> None:
    with pytest.raises(NotADirectoryError):
        DirectoryFolder(root / "file.txt")
    with pytest.raises(FileNotFoundError):
        DirectoryFolder(root / "nowhere")
