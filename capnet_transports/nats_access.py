"""Who may say what at a NATS server: the subjects of sessions, and a configuration that holds users to theirs.

    capnet.SERVICE.dial.USER         USER asks for a session with one of the hosts that serve SERVICE
    capnet.SERVICE.up.USER.ID        what USER says in it
    capnet.SERVICE.down.USER.ID      what the host says in it
    $SRV.INFO.SERVICE                asks all hosts what they are
    _INBOX.USER.…                    where they answer that

Every subject has the user in it, so that a list of what each user may publish and subscribe to, which the server goes
by, proves to a host who is there. Needs no package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from types import EllipsisType
from typing import Final, TypeAlias

from capnet.errors import InvalidArgument

__all__ = ["NOBODY", "Subjects", "User", "UserName", "inbox", "is_user", "named", "server_config"]

UserName: TypeAlias = "str | EllipsisType | None"
"""Who we are at a server; None where nobody is asked; `...` where nobody has said it."""

NOBODY: Final = "-"
"""Stands for the user at a server that knows none."""
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_SAFE: Final = re.compile(r"[!-~]{1,256}")


def named(what: str, name: str) -> str:
    """A name that can be a part of a subject.

    Raises:
        InvalidArgument: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"nats: a {what} has 1 to 64 letters, digits, _ and -, and is not {name[:100]!r}")
    return name


def is_user(name: str) -> bool:
    """Whether somebody may dial under that name."""
    return name == NOBODY or _NAME.fullmatch(name) is not None


def inbox(user: str) -> str:
    """The prefix of subjects at which a user is answered."""
    return f"_INBOX.{user}"


@dataclass(frozen=True, slots=True)
class Subjects:
    """Those of one service. In the place of a user or an id `*` stands for all."""

    service: str

    def dial(self, user: str) -> str:
        """Asks for a session."""
        return f"capnet.{self.service}.dial.{user}"

    def up(self, user: str, session: str) -> str:
        """From who has dialled."""
        return f"capnet.{self.service}.up.{user}.{session}"

    def down(self, user: str, session: str) -> str:
        """To who has dialled."""
        return f"capnet.{self.service}.down.{user}.{session}"

    @property
    def presence(self) -> str:
        """Asks all hosts what they are, as NATS's own protocol for services has it."""
        return f"$SRV.INFO.{self.service}"


@dataclass(frozen=True, slots=True)
class User:
    """A user of a NATS server.

    Args:
        name: 1 to 64 letters, digits, `_` and `-`.
        password: as the server is to know it; a bcrypt hash will do, which begins with `$2a$`.
        serves: services of which it may be a host.
        dials: services that it may connect to.
    """

    name: str
    password: str
    serves: Collection[str] = ()
    dials: Collection[str] = ()


def server_config(users: Iterable[User], *, listen: str = "127.0.0.1:4222") -> str:
    """A configuration for `nats-server --config FILE`; it has passwords in it, so the file is for that program only.

    Args:
        users: all that the server is to know. Each may say what its services need, and nothing else.
        listen: where the server listens.

    Raises:
        InvalidArgument: a name, a password or an address that cannot be written there; two users with one name.
    """
    known = list(users)
    names = [named("user", user.name) for user in known]
    if len(set(names)) < len(names):
        raise InvalidArgument("nats: two users have the same name")
    if not _SAFE.fullmatch(listen):
        raise InvalidArgument(f"nats: an address is HOST:PORT, and not {listen[:100]!r}")
    lines = [
        "# Who may serve and who may dial which service of capnet. For nats-server only: it has passwords in it.",
        f"listen: {json.dumps(listen)}",
        "authorization: {",
        "  timeout: 5",
        "  users: [",
        *(line for user in known for line in _lines(user)),
        "  ]",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _lines(user: User) -> list[str]:
    if not _SAFE.fullmatch(user.password):
        raise InvalidArgument(f"nats: the password of {user.name} has 1 to 256 letters of ASCII, and no spaces")
    publish: list[str] = []
    subscribe: list[str] = []
    for service in user.serves:
        subjects = Subjects(named("service", service))
        publish += [subjects.down("*", "*")]
        subscribe += [subjects.dial("*"), subjects.up("*", "*"), f"$SRV.*.{service}", f"$SRV.*.{service}.*", "$SRV.*"]
    for service in user.dials:
        subjects = Subjects(named("service", service))
        publish += [subjects.dial(user.name), subjects.up(user.name, "*"), subjects.presence]
        subscribe += [subjects.down(user.name, "*")]
    if user.dials:
        subscribe.append(f"{inbox(user.name)}.>")
    if user.serves:
        publish.append("_INBOX.>")
    return [
        f"    {{ user: {json.dumps(user.name)}, password: {json.dumps(user.password)}, permissions: {{",
        f"        publish: {_rule(publish)}",
        f"        subscribe: {_rule(subscribe)}",
        "    } }",
    ]


def _rule(subjects: Collection[str]) -> str:
    if not subjects:
        return '{ deny: ">" }'
    return f"{{ allow: {json.dumps(sorted(set(subjects)))} }}"
