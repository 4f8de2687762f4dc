"""`PluginSpec`: what a host knows of a plugin before it runs."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, cast

from typing_extensions import TypeForm

from capnet.contract import ContractSpec, contract_spec
from capnet.errors import InvalidArgument
from capnet.plugin.manifest import Main

__all__ = ["ENTRY_POINTS", "PluginSpec", "Restart", "Word"]

C = TypeVar("C")
Word: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"
Restart: TypeAlias = Literal["always", "on-failure", "never"]

ENTRY_POINTS: Final = "capnet.plugins"
"""The group of entry points by which packages say which plugins they have."""
_MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class PluginSpec(Generic[C]):
    """What a plugin is called, how it is started, what it gives, and what becomes of it when it fails.

        PluginSpec("spell", run="acme_spell:main", contract=Speller)

    Times are seconds.

    Attributes:
        name: what the host calls it: letters, digits, `-`, `_` and `.`.
        contract: what the host wants of it.
        run: `package.module:function`, the main function of the plugin; `package.module`, a module that calls
            `capnet.plugin.run` itself; or `folder/file.py`, such a program. With `isolation="inprocess"` also the
            function itself.
        argv: the program and its arguments, in place of `run`; it calls `capnet.plugin.run`.
        isolation: `process`, or `inprocess` for tests and for what is trusted like the host's own code: the same
            protocol, and no process.
        env: variables added to a short list of the host's, such as PATH and HOME.
        cwd: where it runs, and where Python looks for its modules first.
        settings: plain data for it, which it finds in its `Context`.
        secrets: the same, by name; they stand in no argument, no variable and no text.
        log_level: the least level of what it is to log.
        prefix: a command that is put in front of the program, such as `("unshare", "--net")`; it must hand on the
            socket that is open under the number in `CAPNET_FD`.
        rlimits: limits of the system by name, such as `{"as": 1 << 30, "nofile": 64, "cpu": 60}`; see `resource`.
        user: name or number of the user that it runs as, with that user's groups.
        sha256: files, and the hexadecimal SHA-256 that each must have when the plugin is started.
        requires: names of plugins that start before this one and stop after it. What they give can be bootstrapped by
            this one, beside what the host exposes.
        group: plugins of one group are started again together when one of them fails.
        restart: `always`; `on-failure`, unless it exits with code 0; or `never`.
        max_restarts: so many in `restart_period`; one more, and it is put into quarantine.
        restart_period: see `max_restarts`.
        backoff: before the first start again; twice as long before each other, until it has run for `restart_period`.
        max_backoff: never longer than that.
        start_timeout: from the start of its process until it is ready.
        check_timeout: for one answer to whether it is well.
        heartbeat: between two signs of life of its loop; None asks for none.
        hang_timeout: its loop may not answer for so long; then it is killed, which counts as a failure.
        wait: for calls that come while none is ready, until they fail.
        grace: for calls and streams that run when it is stopped or swapped, and again for its process to exit.
        probation: after a swap, in which a failure brings the one before it back.
        max_state: bytes of state that are handed over in a swap.
        max_output: bytes of its output that are read in a second; what it writes faster than that holds it up.

    Raises:
        InvalidArgument: something of this makes no sense.
    """

    name: str
    _: KW_ONLY
    contract: TypeForm[C]
    run: str | Main | None = None
    argv: Sequence[Word] | None = None
    isolation: Literal["process", "inprocess"] = "process"
    env: Mapping[str, Word] = field(default_factory=dict[str, Word], repr=False)
    cwd: str | os.PathLike[str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    log_level: str = "info"
    prefix: Sequence[Word] = ()
    rlimits: Mapping[str, int] = field(default_factory=dict[str, int])
    user: str | int | None = None
    sha256: Mapping[str | os.PathLike[str], str] = field(default_factory=dict[str | os.PathLike[str], str])
    requires: tuple[str, ...] = ()
    group: str | None = None
    restart: Restart = "on-failure"
    max_restarts: int = 5
    restart_period: float = 60.0
    backoff: float = 0.1
    max_backoff: float = 30.0
    start_timeout: float = 60.0
    check_timeout: float = 10.0
    heartbeat: float | None = 5.0
    hang_timeout: float = 30.0
    wait: float = 10.0
    grace: float = 5.0
    probation: float = 2.0
    max_state: int = 64 * 1024 * 1024
    max_output: int = 1024 * 1024

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(cast("object", name), str) or not 0 < len(name) <= _MAX_NAME or not _is_plain(name):
            raise InvalidArgument(f"a plugin is called by letters, digits, `-`, `_` and `.`, not {name!r}"[:300])
        if (self.run is None) == (self.argv is None):
            raise InvalidArgument(f"plugin {name}: either `run` or `argv` says how it is started")
        if self.isolation not in ("process", "inprocess"):
            raise InvalidArgument(f"plugin {name}: isolation is 'process' or 'inprocess', not {self.isolation!r}")
        if self.isolation == "inprocess":
            if self.run is None or (isinstance(self.run, str) and self.run.endswith(".py")):
                raise InvalidArgument(f"plugin {name}: what runs in this process is a function: use `run`")
            given = [option for option in _OF_PROCESSES if getattr(self, option)]
            if given:
                raise InvalidArgument(f"plugin {name}: {', '.join(given)} is for a process of its own")
        if isinstance(cast("object", self.prefix), str | bytes):
            raise InvalidArgument(f"plugin {name}: prefix is a list of words, not {self.prefix!r}"[:300])
        if self.isolation == "process" and self.run is not None and not isinstance(self.run, str):
            raise InvalidArgument(
                f"plugin {name}: a function cannot be sent to another process", hint='write run="module:function"'
            )
        if self.restart not in ("always", "on-failure", "never"):
            raise InvalidArgument(f"plugin {name}: restart is 'always', 'on-failure' or 'never', not {self.restart!r}")
        for one in _POSITIVE:
            value = getattr(self, one)
            if not isinstance(value, int | float) or not value > 0:
                raise InvalidArgument(f"plugin {name}: {one} is a number above 0, not {value!r}"[:300])
        for one in ("max_restarts", "probation", "wait"):
            if not getattr(self, one) >= 0:
                raise InvalidArgument(f"plugin {name}: {one} is 0 or more")
        if self.heartbeat is not None and not self.heartbeat > 0:
            raise InvalidArgument(f"plugin {name}: heartbeat is a number above 0, or None")
        contract_spec(self.contract)

    @property
    def spec(self) -> ContractSpec:
        """The contract, read."""
        return contract_spec(self.contract)

    def command(self) -> list[Word]:
        """The program and its arguments."""
        if self.argv is not None:
            return list(self.argv)
        assert isinstance(self.run, str)
        if self.run.endswith(".py"):
            return [sys.executable, self.run]
        if ":" in self.run:
            return [sys.executable, "-m", "capnet.plugin", self.run]
        return [sys.executable, "-m", self.run]

    def shown(self) -> str:
        """The same for people, cut."""
        if self.isolation == "inprocess":
            return f"{self.run if isinstance(self.run, str) else getattr(self.run, '__qualname__', 'main')} in process"
        line = shlex.join(os.fsdecode(word) for word in self.command())
        return line if len(line) <= 200 else f"{line[:200]}…"


_OF_PROCESSES: Final = ("env", "cwd", "prefix", "rlimits", "user", "sha256")
_POSITIVE: Final = (
    *("restart_period", "backoff", "max_backoff", "start_timeout", "check_timeout", "hang_timeout", "grace"),
    *("max_state", "max_output"),
)


def _is_plain(name: str) -> bool:
    return name.isascii() and all(char.isalnum() or char in "-_." for char in name)
