"""The way to a unix socket: what lets another user put a socket of their own in its place is refused, on both sides."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from capnet.errors import CapnetError, PermissionDenied
from capnet_transports import unix
from tests.transports.test_unix import refuse

US, THEM, GROUP = 12_345, 12_346, 12_347
"""Two users, neither of them root, and a group of which nobody knows who is in it."""
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users, and become one")


@pytest.fixture
def ground() -> Iterator[Path]:
    """A directory of ours that every user can go through, in `/tmp`."""
    path = Path(tempfile.mkdtemp(prefix="way", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextmanager
def acting_as(user: int, group: int | None = None) -> Generator[None]:
    """Inside the block we are another user."""
    group = user if group is None else group
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def folder(path: Path, owner: int = US, mode: int = 0o700, group: int | None = None) -> Path:
    path.mkdir()
    os.chown(path, owner, owner if group is None else group)
    path.chmod(mode)
    return path


def link(path: Path, to: Path | str, owner: int = US) -> Path:
    path.symlink_to(to)
    os.lchown(path, owner, owner)
    return path


def listening(path: Path, user: int = US) -> socket.socket:
    """A listener of a user, that anybody may connect to."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    os.chown(path, user, user)
    path.chmod(0o666)
    os.seteuid(user)
    try:
        sock.listen()
    finally:
        os.seteuid(0)
    return sock


def contents(ground: Path) -> list[Path]:
    return sorted(ground.rglob("*"))


@contextmanager
def listening_in(ground: Path, directory: Path) -> Generator[socket.socket]:
    """A listener of ours in a directory, however bad that is."""
    with listening(ground / "s") as sock:
        directory = directory.resolve()
        directory.mkdir(exist_ok=True)
        (ground / "s").rename(directory / "s")
        sock.setblocking(False)
        yield sock


async def said_no(ground: Path, directory: Path) -> tuple[CapnetError | None, CapnetError | None]:
    """What a listener and what a caller is told; a place that is refused stays as it is."""
    refused: list[CapnetError | None] = [None, None]
    before = contents(ground)
    with acting_as(US):
        try:
            await (await unix.listen(str(directory / "s"), refuse)).aclose()
        except CapnetError as error:
            refused[0] = error
    assert refused[0] is None or contents(ground) == before
    with listening_in(ground, directory) as sock:
        with acting_as(US):
            try:
                (await unix.connect(str(directory / "s"))).abort()
            except CapnetError as error:
                refused[1] = error
        if refused[1] is not None:
            with pytest.raises(BlockingIOError):
                sock.accept()
    return refused[0], refused[1]


def ours_in_theirs(ground: Path, mode: int) -> Path:
    return folder(folder(ground / "theirs", THEM, mode) / "ours")


def a_group_may_write(ground: Path) -> Path:
    return folder(folder(ground / "shared", 0, 0o775, GROUP) / "ours")


def a_link_out(ground: Path) -> Path:
    """A link of ours that leads through what is open to others."""
    return link(ground / "link", folder(folder(ground / "open", mode=0o777) / "ours"))


def a_link_of_others_behind_ours(ground: Path) -> Path:
    sticky, good = folder(ground / "sticky", 0, 0o1777), folder(ground / "good")
    return link(ground / "link", link(sticky / "theirs", good, THEM))


def an_acl_for_another(ground: Path) -> Path:
    """The bits of the group are the bound of what others are given by name."""
    directory = folder(ground / "acl", mode=0o700)
    entries = [(1, 7, 2**32 - 1), (2, 7, THEM), (4, 0, 2**32 - 1), (16, 7, 2**32 - 1), (32, 0, 2**32 - 1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(directory, "system.posix_acl_access", acl)
    except (OSError, AttributeError):
        pytest.skip("no access control lists here")
    return directory


UNSAFE: dict[str, Callable[[Path], Path]] = {
    "open to all": lambda ground: folder(ground / "open", mode=0o777),
    "open to a group": lambda ground: folder(ground / "group", mode=0o770, group=GROUP),
    "open to a group, and all may look": lambda ground: folder(ground / "group", mode=0o775, group=GROUP),
    "an access control list": an_acl_for_another,
    "in one that is open to all": lambda ground: folder(folder(ground / "open", 0, 0o777) / "ours"),
    "far below one that is": lambda ground: folder(folder(folder(ground / "open", 0, 0o777) / "ours") / "deep"),
    "in one that is open to a group": a_group_may_write,
    "another user's": lambda ground: folder(ground / "theirs", THEM, 0o755),
    "in another user's": lambda ground: ours_in_theirs(ground, 0o755),
    "in another user's that is sticky": lambda ground: ours_in_theirs(ground, 0o1777),
    "another user's in a sticky one": lambda ground: folder(folder(ground / "tmp", 0, 0o1777) / "theirs", THEM, 0o755),
    "another user's link": lambda ground: link(ground / "link", folder(ground / "good"), THEM),
    "another user's link in a sticky one": lambda ground: link(
        folder(ground / "tmp", 0, 0o1777) / "link", folder(ground / "good"), THEM
    ),
    "a link into what is open": a_link_out,
    "another user's link behind ours": a_link_of_others_behind_ours,
    "to be made in one that is open": lambda ground: folder(ground / "open", mode=0o777) / "new",
}


@ROOT_ONLY
@pytest.mark.parametrize("place", UNSAFE.values(), ids=UNSAFE)
async def test_where_others_could_put_their_socket_is_refused(ground: Path, place: Callable[[Path], Path]) -> None:
    for refused in await said_no(ground, place(ground)):
        assert isinstance(refused, PermissionDenied)
        assert refused.reason == "unsafe_directory" and refused.__notes__, "it says what to do"


SAFE: dict[str, Callable[[Path], Path]] = {
    "for nobody else": lambda ground: folder(ground / "ours"),
    "all may look": lambda ground: folder(ground / "ours", mode=0o755),
    "a new one": lambda ground: folder(ground / "ours") / "new",
    "like /tmp": lambda ground: folder(ground / "tmp", 0, 0o1777),
    "in one like /tmp": lambda ground: folder(folder(ground / "tmp", 0, 0o1777) / "ours"),
    "a new one in one like /tmp": lambda ground: folder(ground / "tmp", 0, 0o1777) / "new",
    "sticky, for a group": lambda ground: folder(ground / "tmp", 0, 0o1777, GROUP),
    "by a link of ours": lambda ground: link(ground / "link", folder(ground / "ours")),
    "by a link of root's, from where it is": lambda ground: link(
        ground / "link", f"../{folder(ground / 'ours').parent.name}/ours", 0
    ),
    "up and down": lambda ground: folder(folder(ground / "ours") / "deep") / ".." / "." / "deep",
}


@ROOT_ONLY
@pytest.mark.parametrize("place", SAFE.values(), ids=SAFE)
async def test_ordinary_places_will_do(ground: Path, place: Callable[[Path], Path]) -> None:
    assert await said_no(ground, place(ground)) == (None, None)


@ROOT_ONLY
async def test_a_group_that_nobody_else_is_in_will_do(ground: Path) -> None:
    """As many systems have it: a group for each user, and directories that are open to it."""
    everybody = pwd.getpwall()
    alone = (
        user
        for user in everybody
        if user.pw_uid and [other.pw_uid for other in everybody if other.pw_gid == user.pw_gid] == [user.pw_uid]
    )
    user = next((user for user in alone if not set(grp.getgrgid(user.pw_gid).gr_mem) - {user.pw_name}), None)
    if user is None:
        pytest.skip("no user here has a group of their own")
    ours = folder(ground / "ours", user.pw_uid, 0o770, user.pw_gid)
    with acting_as(user.pw_uid, user.pw_gid):
        await (await unix.listen(str(ours / "s"), refuse)).aclose()
    os.chown(ours, US, user.pw_gid)
    with acting_as(US), pytest.raises(PermissionDenied):
        await unix.listen(str(ours / "s"), refuse)


@ROOT_ONLY
@pytest.mark.parametrize("named", [False, True], ids=["not named", "named"])
@pytest.mark.parametrize("owner", [US, THEM], ids=["our file", "their file"])
async def test_another_users_listener_is_met_only_when_it_is_named(ground: Path, owner: int, named: bool) -> None:
    """As in `/tmp`, where anybody can be the first to take a name."""
    path = folder(ground / "tmp", 0, 0o1777) / "s"
    with listening(path, THEM):
        os.chown(path, owner, owner)
        with acting_as(US):
            if named:
                (await unix.connect(str(path), allow_uids={THEM})).abort()
                return
            with pytest.raises(PermissionDenied) as caught:
                await unix.connect(str(path))
    assert caught.value.reason == ("unsafe_directory" if owner == THEM else "other_user")


@ROOT_ONLY
async def test_root_meets_a_users_listener_only_when_it_is_named(ground: Path) -> None:
    """Whoever owns a directory can lead root anywhere."""
    path = folder(ground / "ours") / "s"
    with listening(path):
        with pytest.raises(PermissionDenied):
            await unix.connect(str(path))
        (await unix.connect(str(path), allow_uids={US})).abort()


@ROOT_ONLY
@pytest.mark.parametrize("kind", ["file", "link", "fifo"])
async def test_a_lock_that_is_not_ours_is_refused(ground: Path, kind: str) -> None:
    """One that was put there before us by somebody who means to hold it."""
    directory = folder(ground / "tmp", 0, 0o1777)
    lock = directory / ".s.capnet-lock"
    match kind:
        case "file":
            lock.touch()
        case "link":
            lock.symlink_to(ground / "precious")
        case _:
            os.mkfifo(lock)
    os.lchown(lock, THEM, THEM)
    if kind != "link":
        lock.chmod(0o666)
    with acting_as(US), pytest.raises(CapnetError):
        await unix.listen(str(directory / "s"), refuse)
    assert os.listdir(directory) == [lock.name] and not (ground / "precious").exists()


async def test_links_in_a_circle_lead_nowhere(ground: Path) -> None:
    (ground / "one").symlink_to(ground / "two")
    (ground / "two").symlink_to(ground / "one")
    for opening in (unix.listen(str(ground / "one" / "s"), refuse), unix.connect(str(ground / "one" / "s"))):
        with pytest.raises(CapnetError) as caught:
            await opening
        assert caught.value.reason == "eloop"
