"""How a plugin is started: its process, its output, the first words with it, and whether it is ready."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import anyio
from anyio import CancelScope, current_time, move_on_after

from capnet.connection.connection import Connection
from capnet.contract import ContractSpec
from capnet.errors import CapnetError, Unavailable, VersionMismatch
from capnet.host import Host
from capnet.plugin.control import CONTROL, Control, Welcome
from capnet.plugins.instance import Instance
from capnet.plugins.output import Output
from capnet.plugins.process import begun
from capnet.plugins.spec import PluginSpec
from capnet.plugins.verdict import check_manifest
from capnet.serving.scope import Scope
from capnet.version import __version__

__all__ = ["Member", "Site", "launch"]

C = TypeVar("C")
LAST_WORDS: Final = 1.0
"""Seconds that the end of its output may come after the end of a process: what it has started may hold it."""


class Member(Protocol):
    """Another plugin of a group."""

    async def begin_again(self, reason: str) -> None:
        """Stop it, and start it in a moment, if it runs."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where plugins run.

    Attributes:
        host: has their connections, and serves what each may bootstrap.
        scope: has what runs beside them, until the host closes.
        give: serves on a new connection what that one plugin may bootstrap beside; returns all contracts by name.
        group_of: the others that are started again with it.
    """

    host: Host
    scope: Scope
    give: Callable[[Connection, PluginSpec[Any]], Mapping[str, ContractSpec]]
    group_of: Callable[[PluginSpec[Any]], Sequence[Member]]


async def launch(site: Site, spec: PluginSpec[C], generation: int, output: Output) -> Instance[C]:
    """Start a plugin, and wait until it is ready.

    Raises:
        Unavailable: `not_started`, its program ended first; `start_timeout`, it was not ready in time. The text has the
            last lines that it wrote, and what became of its process.
        VersionMismatch: the two do not fit.
        FailedPrecondition: `main_failed`, its main function has raised; `unhealthy`.
        InvalidArgument, PermissionDenied, ResourceExhausted, Unavailable: the program cannot be started at all.
    """
    since = current_time()
    instance: Instance[C] | None = None
    try:
        with anyio.fail_after(spec.start_timeout):
            instance = await begun(site.host, site.scope.start, spec, generation, output)
            await _made_ready(site, instance)
    except BaseException as error:
        if instance is None:
            if isinstance(error, TimeoutError) and not isinstance(error, CapnetError):
                raise Unavailable(_late(spec), reason="start_timeout") from error
            raise
        with CancelScope(shield=True):
            if isinstance(error, TimeoutError) and instance.connection.process is not None:
                instance.connection.process.send_signal(signal.SIGKILL)
            await instance.stop("not started", grace=0)
            with move_on_after(LAST_WORDS):
                await instance.written.wait()
        if not isinstance(error, CapnetError | TimeoutError):
            raise
        explained = _explained(instance, error, current_time() - since, output)
        if explained is error:
            raise
        raise explained from error
    return instance


async def _made_ready(site: Site, instance: Instance[C]) -> None:
    spec, connection = instance.spec, instance.connection
    given = site.give(connection, spec)
    instance.control = await connection.bootstrap(Control, name=CONTROL, wait=spec.start_timeout)
    instance.manifest = await instance.control.welcome(
        Welcome(
            capnet=__version__,
            plugin=spec.name,
            generation=instance.generation,
            settings=dict(spec.settings),
            secrets=dict(spec.secrets),
            log_level=spec.log_level,
        )
    )
    check_manifest(spec.name, instance.manifest, spec.spec, given)
    await instance.control.start()
    instance.proxy = await connection.bootstrap(spec.contract)
    await instance.check()


def _explained(instance: Instance[C], error: Exception, seconds: float, output: Output) -> CapnetError:
    """Why it is not there: what is known of its process, and what it wrote last."""
    spec = instance.spec
    said = output.last(instance.generation)
    if isinstance(error, TimeoutError):
        return Unavailable(f"{_late(spec)}{said}", reason="start_timeout")
    assert isinstance(error, CapnetError)
    if not isinstance(error, Unavailable):
        error.message += "" if isinstance(error, VersionMismatch) else said
        return error
    text = f"plugin {spec.name} did not start: {spec.shown()} {instance.outcome()} after {seconds:.1f} s{said}"
    hint = "does it call capnet.plugin.run?" if instance.returncode == 0 else None
    return Unavailable(text, reason="not_started", hint=hint)


def _late(spec: PluginSpec[C]) -> str:
    return f"plugin {spec.name} was not ready in {spec.start_timeout:g} s: {spec.shown()}"
