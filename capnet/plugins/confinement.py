"""What confines a plugin's process beside what it is given: limits of the system, a user, a command in front of it.

What cannot be done is said before anything is started. capnet keeps a plugin away from the host's objects; files and
the network are kept from it by what the system has, and that stands in front of the program (`prefix`).
"""

from __future__ import annotations

import os
import pwd
import resource
import sys
from collections.abc import Mapping
from typing import Any, Final

from capnet.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unavailable
from capnet.plugins.spec import PluginSpec, Word

__all__ = ["check_pins", "confined"]

_LAUNCHER: Final = """
import os, resource, sys
limits, user, group, groups, *argv = sys.argv[1:]
for name, value in (one.split("=") for one in limits.split(",") if one):
    resource.setrlimit(int(name), (int(value), int(value)))
if user:
    os.setgroups([int(one) for one in groups.split(",")])
    os.setgid(int(group))
    os.setuid(int(user))
os.execvp(argv[0], argv)
"""
"""What a process does before it becomes the plugin: nothing else runs as who it is not to be."""


def confined(spec: PluginSpec[Any]) -> list[Word]:
    """The command that starts a plugin, with what confines it in front.

    Raises:
        InvalidArgument: there is no such limit or user. PermissionDenied: we may not set that limit, or become that
        user. Unavailable: `enoent`, the command in front is not there.
    """
    command = spec.command()
    if spec.prefix:
        first = os.fsdecode(spec.prefix[0])
        from shutil import which  # takes its time to import

        if which(first, path=_path(spec.env)) is None:
            raise Unavailable(f"plugin {spec.name}: its prefix {first!r} is not there", reason="enoent", retry="never")
        command = [*spec.prefix, *command]
    limits, user = _limits(spec), _user(spec)
    if not limits and user is None:
        return command
    who = ("", "", "") if user is None else user
    given = ",".join(f"{number}={value}" for number, value in limits.items())
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, given, *who, *command]


def check_pins(spec: PluginSpec[Any]) -> None:
    """Compare files with what they are known to be; blocks while it reads them.

    Raises:
        FailedPrecondition: `checksum`, one is another. Unavailable, PermissionDenied: one cannot be read.
    """
    if not spec.sha256:
        return
    from hashlib import file_digest  # takes its time to import

    for path, wanted in spec.sha256.items():
        where = os.path.join(os.fspath(spec.cwd or ""), os.fspath(path))
        try:
            with open(where, "rb") as file:
                found = file_digest(file, "sha256").hexdigest()
        except PermissionError as error:
            raise PermissionDenied(f"plugin {spec.name}: {where}: {error.strerror}", reason="eacces") from error
        except OSError as error:
            raise Unavailable(
                f"plugin {spec.name}: {where}: {error.strerror}", reason="unreadable", retry="never"
            ) from error
        if found != wanted.lower():
            raise FailedPrecondition(
                f"plugin {spec.name}: {where} is not what it is pinned to: its SHA-256 is {found}", reason="checksum"
            )


def _limits(spec: PluginSpec[Any]) -> dict[int, int]:
    found: dict[int, int] = {}
    for name, value in spec.rlimits.items():
        number: int | None = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None or type(value) is not int or value < 0:
            known = ", ".join(sorted(one[7:].lower() for one in dir(resource) if one.startswith("RLIMIT_")))
            raise InvalidArgument(f"plugin {spec.name}: rlimits: {name}={value!r}", hint=f"known: {known}")
        hard = resource.getrlimit(number)[1]
        if hard != resource.RLIM_INFINITY and value > hard and os.geteuid() != 0:
            raise PermissionDenied(
                f"plugin {spec.name}: rlimits: {name} cannot be more than {hard} here", reason="rlimit"
            )
        found[number] = value
    return found


def _user(spec: PluginSpec[Any]) -> tuple[str, str, str] | None:
    """The numbers of the user, of its group, and of all its groups."""
    if spec.user is None:
        return None
    try:
        entry = pwd.getpwuid(spec.user) if isinstance(spec.user, int) else pwd.getpwnam(spec.user)
    except (KeyError, OverflowError, ValueError) as error:
        raise InvalidArgument(f"plugin {spec.name}: there is no user {spec.user!r}") from error
    if os.geteuid() != 0:
        if entry.pw_uid == os.geteuid():
            return None
        raise PermissionDenied(f"plugin {spec.name}: only root can start a program as {entry.pw_name}", reason="user")
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return str(entry.pw_uid), str(entry.pw_gid), ",".join(map(str, groups))


def _path(env: Mapping[str, Word]) -> str | None:
    path = env.get("PATH")
    return None if path is None else os.fsdecode(path)
