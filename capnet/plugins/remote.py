"""A running plugin host as a capability: what a command or a page needs to look after it from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from capnet.contract import Cap, Stream, call, options, stream
from capnet.errors import CapnetError, NotFound
from capnet.plugins.output import Line
from capnet.plugins.plugin import Plugin
from capnet.plugins.swapping import PluginSwap

__all__ = ["Controlling", "PluginControl", "PluginInfo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """One plugin.

    Attributes:
        name: what its host calls it.
        state: as `Plugin.state`.
        contract: the name of what it gives.
        version: of that, as the plugin has it; None while none of its processes is ready.
        command: how it is started.
        generation: how many processes it has had.
        restarts: how often it was started again.
        pid: its process, if it has one of its own.
        uptime: seconds since that was started.
        memory: bytes that it has resident, where the system tells.
        failure: what was said when it ended, or could not start, the last time.
    """

    name: str
    state: str
    contract: str
    version: int | None
    command: str
    generation: int
    restarts: int
    pid: int | None
    uptime: float | None
    memory: int | None
    failure: str | None


class PluginControl(Cap, name="capnet.Plugins"):
    """Looks after the plugins of a running host. Who has it can stop them and read what they write."""

    @options(idempotent=True)
    @call
    async def plugins(self) -> list[PluginInfo]:
        """Those that are loaded, in the order in which they were."""
        ...

    @call
    async def start(self, name: str) -> None:
        """See `PluginHost.start`."""
        ...

    @call
    async def stop(self, name: str) -> None:
        """See `PluginHost.stop`."""
        ...

    @call
    async def restart(self, name: str) -> None:
        """See `PluginHost.restart`."""
        ...

    @call
    async def swap(self, name: str) -> PluginSwap:
        """Start the program of a plugin anew, as it is now, and have it take the old one's place without a gap."""
        ...

    @options(idempotent=True)
    @call
    async def check(self, name: str) -> str | None:
        """What is wrong with a plugin; None when it is well."""
        ...

    @stream
    def output(self, name: str, *, last: int = 50, follow: bool = False) -> Stream[Line]:
        """What a plugin writes.

        Args:
            name: of the plugin.
            last: so many of the last lines first.
            follow: and then all that come, until it is unloaded.
        """
        ...


class PluginHostLike(Protocol):
    """What it needs of a `PluginHost`."""

    @property
    def plugins(self) -> Mapping[str, Plugin[Any]]: ...
    async def start(self, name: str) -> None: ...
    async def stop(self, name: str) -> None: ...
    async def restart(self, name: str) -> None: ...
    async def swap(self, name: str, /) -> PluginSwap: ...


class Controlling(PluginControl):
    """The control of one host."""

    def __init__(self, host: PluginHostLike) -> None:
        self._host = host

    async def plugins(self) -> list[PluginInfo]:
        """See `PluginControl`."""
        return [_info(plugin) for plugin in self._host.plugins.values()]

    async def start(self, name: str) -> None:
        """See `PluginControl`."""
        await self._host.start(name)

    async def stop(self, name: str) -> None:
        """See `PluginControl`."""
        await self._host.stop(name)

    async def restart(self, name: str) -> None:
        """See `PluginControl`."""
        await self._host.restart(name)

    async def swap(self, name: str) -> PluginSwap:
        """See `PluginControl`."""
        return await self._host.swap(name)

    async def check(self, name: str) -> str | None:
        """See `PluginControl`."""
        try:
            await self._plugin(name).check()
        except NotFound:
            raise
        except CapnetError as error:
            return error.message
        return None

    async def output(self, name: str, *, last: int = 50, follow: bool = False) -> Stream[Line]:
        """See `PluginControl`."""
        plugin = self._plugin(name)
        lines = plugin.follow()
        async with aclosing(lines):
            for line in plugin.output[-last:] if last > 0 else ():
                yield line
            if follow:
                async for line in lines:
                    yield line

    def _plugin(self, name: str) -> Plugin[Any]:
        plugin = self._host.plugins.get(name)
        if plugin is None:
            raise NotFound(f"no plugin {name!r} is loaded")
        return plugin


def _info(plugin: Plugin[Any]) -> PluginInfo:
    return PluginInfo(
        name=plugin.name,
        state=plugin.state,
        contract=plugin.spec.spec.name,
        version=plugin.manifest.provides.version if plugin.uptime is not None else None,
        command=plugin.spec.shown(),
        generation=plugin.generation,
        restarts=plugin.restarts,
        pid=plugin.pid,
        uptime=plugin.uptime,
        memory=plugin.memory,
        failure=None if plugin.failure is None else plugin.failure.message,
    )
