"""The path of a socket: who may rename a directory on it, or lay a link, can put a socket of their own in its place.

So each directory and each link, from the root on, must be owned by somebody who is trusted, and no directory may be
open to others, unless it is sticky as `/tmp` is: there nobody renames what another owns.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import sys
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from capnet.errors import PermissionDenied

__all__ = ["check_path"]

_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_MAX_LINKS: Final = 40
"""Links that are followed at most, as the system does."""


def check_path(path: str, owners: Collection[int], *, make: bool = False) -> None:
    """Check each step of a path, and the owner of what stands there.

    What is checked stays as it is: only who is trusted could change it.

    Args:
        path: absolute, or from the working directory.
        owners: users who may own what is on it.
        make: make what is missing, as directories with mode 0700.

    Raises:
        PermissionDenied: something on it is another user's, or open to others (`unsafe_directory`). OSError: it leads
        nowhere.
    """
    way, ahead, links = _start(path), _steps(path), 0
    status = os.stat(way or "/")
    while True:
        _check(way or "/", status, owners)
        if not ahead:
            return
        following = f"{way}/{ahead.pop()}"
        try:
            status = os.lstat(following)
        except FileNotFoundError:
            if not make:
                raise
            with suppress(FileExistsError):
                os.mkdir(following, 0o700)
            status = os.lstat(following)
        if stat.S_ISLNK(status.st_mode):
            _check(following, status, owners)
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(following)
            ahead += _steps(target)
            way = _start(target, way)
            status = os.stat(way or "/")
        else:
            way = following


def _start(path: str, here: str = os.curdir) -> str:
    """Where a path begins; the root is empty, so that a name can follow."""
    return "" if path.startswith("/") else here


def _steps(path: str) -> list[str]:
    """The names in a path, the first one last."""
    return [step for step in reversed(path.split("/")) if step not in ("", os.curdir)]


def _check(path: str, status: os.stat_result, owners: Collection[int]) -> None:
    if status.st_uid not in owners:
        what = "directory" if stat.S_ISDIR(status.st_mode) else "link" if stat.S_ISLNK(status.st_mode) else "file"
        raise PermissionDenied(
            f"{path}: this {what} is owned by another user, {status.st_uid}",
            reason="unsafe_directory",
            hint="use a path of your own, or to connect there all the same name that user in allow_uids",
        )
    mode = status.st_mode
    if not mode & _OTHERS_MAY_WRITE or mode & stat.S_ISVTX or not stat.S_ISDIR(mode):
        return
    if mode & stat.S_IWOTH:
        raise _open_to("every user", "o-w", path)
    if mode & stat.S_IWGRP and _is_shared(path, status.st_gid, owners):
        raise _open_to(f"the users of group {status.st_gid}", "g-w", path)


def _open_to(whom: str, mode: str, path: str) -> PermissionDenied:
    return PermissionDenied(
        f"{path}: this directory is open to {whom}, who may put another socket in the place of yours",
        reason="unsafe_directory",
        hint=f"chmod {mode} {path}, or use a directory of your own such as $XDG_RUNTIME_DIR",
    )


def _is_shared(path: str, group: int, owners: Collection[int]) -> bool:
    """Whether a group that may write to a directory has others in it. Of one that nobody is known to be in we know
    nothing; a group for each user, with nobody else in it, is what many systems have."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.getxattr(path, "system.posix_acl_access")
            return True  # then these bits of the mode speak for all who are named there
    members = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == group}
    try:
        members |= {pwd.getpwnam(name).pw_uid for name in grp.getgrgid(group).gr_mem}
    except KeyError:
        return True  # no such group or user
    return not members or not members <= set(owners)
