"""What a plugin does for its host: it says what it is, runs its main function, is checked, and hands its state over."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from inspect import getattr_static
from typing import Any

from capnet.connection.connection import Connection
from capnet.contract import Cap, ContractSpec, Stream, contract_spec
from capnet.errors import (
    CapnetError,
    ContractError,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Unimplemented,
)
from capnet.plugin.control import CONTROL, Control, Interface, Manifest, Welcome
from capnet.plugin.manifest import Context, Declared, Main, declared
from capnet.version import __version__

__all__ = ["Service", "serve"]


class Service(Control):
    """Of one plugin and one connection.

    Args:
        main: its main function.
        connection: to the host.
    """

    def __init__(self, main: Main, connection: Connection) -> None:
        self._main = main
        self._declared: Declared = declared(main)
        self._connection = connection
        self._welcome: Welcome | None = None
        self._implementation: Cap | None = None
        self.failure: Exception | None = None
        """Why the main function has not come to its end."""

    async def welcome(self, welcome: Welcome) -> Manifest:
        """See `Control`."""
        self._welcome = welcome
        return Manifest(
            capnet=__version__,
            python=platform.python_version(),
            pid=os.getpid(),
            import_seconds=_age(),
            needs=[Interface.of(need.spec, optional=need.optional) for need in self._declared.needs],
            provides=Interface.of(self._declared.provides),
        )

    async def start(self) -> None:
        """See `Control`.

        Raises:
            FailedPrecondition: `not_welcome`, out of turn; `main_failed`, the main function raised, and its traceback
                is in the log, or what it gave is of another contract.
        """
        if self._welcome is None or self._implementation is not None:
            raise FailedPrecondition("`welcome` comes first, `start` once", reason="not_welcome")
        try:
            given = await self._main(**await self._arguments(self._welcome))
            self._implementation = _checked(given, self._declared.provides)
            self._connection.serve(self._implementation, name=self._declared.provides.name)
        except Exception as error:
            self.failure = error
            raise self._failed("main", error) from error

    async def check(self) -> str | None:
        """See `Control`."""
        check = self._own("check")
        if check is None:
            return None
        try:
            said = await check()
        except Exception as error:
            return self._failed("check", error).message
        return None if said is None or said is True else str(said)

    async def hands_over(self) -> tuple[bool, bool]:
        """See `Control`."""
        return self._own("export_state") is not None, self._own("import_state") is not None

    async def export_state(self) -> Stream[bytes]:
        """See `Control`.

        Raises:
            Unimplemented: it has no such method. FailedPrecondition: `export_state_failed`.
        """
        export = self._own("export_state")
        if export is None:
            raise Unimplemented("the plugin has no `export_state`")
        try:
            chunks: AsyncGenerator[bytes] = export()
            if not hasattr(chunks, "__aiter__"):
                raise ContractError("export_state is an async generator of bytes", hint="`yield` them")
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
        except Exception as error:
            raise self._failed("export_state", error) from error

    async def import_state(self, state: Stream[bytes]) -> None:
        """See `Control`.

        Raises:
            Unimplemented: it has no such method. FailedPrecondition: `import_state_failed`. What the stream raises.
        """
        take_over = self._own("import_state")
        if take_over is None:
            raise Unimplemented("the plugin has no `import_state`")
        try:
            await take_over(state)
        except CapnetError:
            raise
        except Exception as error:
            raise self._failed("import_state", error) from error

    async def _arguments(self, welcome: Welcome) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for need in self._declared.needs:
            try:
                found[need.parameter] = await self._connection.bootstrap(need.contract, name=need.spec.name)
            except (NotFound, PermissionDenied):
                if not need.optional:
                    raise
                found[need.parameter] = None
        if self._declared.context is not None:
            found[self._declared.context] = Context(
                plugin=welcome.plugin,
                generation=welcome.generation,
                settings=welcome.settings,
                secrets=welcome.secrets,
                log_level=welcome.log_level,
                host_version=welcome.capnet,
            )
        return found

    def _failed(self, what: str, error: Exception) -> CapnetError:
        """What the host is told of it; the host has started this program, and may know. The log has the traceback."""
        self._connection._session.faults.unexpected(f"{what} of the plugin", error)  # noqa: SLF001
        words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return FailedPrecondition(f"{what} of the plugin has failed: {words}"[:2000], reason=f"{what}_failed")

    def _own(self, name: str) -> Any:
        """A method that the implementation has for us; one of its contract's is for the peers."""
        implementation = self._implementation
        if implementation is None or name in self._declared.provides.methods:
            return None
        if getattr_static(implementation, name, None) is None:
            return None
        return getattr(implementation, name)


async def serve(main: Main, connection: Connection) -> Service:
    """Be that plugin on a connection to its host, until it ends.

    Raises:
        ContractError: the main function is declared wrongly.
    """
    service = Service(main, connection)
    connection.serve(service, name=CONTROL)
    await connection.wait_closed()
    return service


def _checked(given: Any, provides: ContractSpec) -> Cap:
    if not isinstance(given, Cap):
        raise ContractError(f"the main function gave {type(given).__name__}, and says that it gives {provides.name}")
    spec = contract_spec(type(given))
    if provides.name not in spec.names:
        raise ContractError(f"the main function gave {spec.name}, and says that it gives {provides.name}")
    return given


def _age() -> float:
    """Seconds since this process began, where the system tells."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0
