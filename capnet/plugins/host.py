"""`PluginHost`: loads plugins, each in a process of its own, and looks after them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self, TypeAlias, TypeVar

from anyio import CancelScope

from capnet.connection.connection import Connection
from capnet.contract import Cap, ContractSpec, contract_spec
from capnet.errors import AlreadyExists, FailedPrecondition, NotFound
from capnet.host import Host
from capnet.limits import HostLimits, Limits
from capnet.observe import Event, Feed
from capnet.plugins.discovery import FoundPlugin, discover
from capnet.plugins.launching import Site
from capnet.plugins.plugin import Plugin
from capnet.plugins.spec import PluginSpec
from capnet.policy.policy import Admission, Policy
from capnet.serving.scope import Scope

__all__ = ["Expose", "PluginHost"]

C = TypeVar("C")
E = TypeVar("E", bound=Event)
Expose: TypeAlias = "Cap | Iterable[Cap] | Callable[[PluginSpec[Any]], Iterable[Cap]]"


class PluginHost:
    """Loads plugins, gives them what they may use, looks after their processes, and swaps them while they are in use.

        async with PluginHost(expose=HostApi()) as plugins:
            spell = await plugins.load(PluginSpec("spell", run="acme_spell:main", contract=Speller))
            print(await spell.slot.check("helo"))

    Args:
        expose: what plugins may bootstrap: an implementation, several, or a function that makes those of one plugin
            from its `PluginSpec`, for each of its processes anew. A plugin reaches nothing else of this program.
        name: what it calls itself to plugins.
        limits: bounds that hold for each plugin; the untrusted profile by default.
        host_limits: bounds for all of them together.
        policy: decides beside that which plugin may have which name; a plugin's `principal` is its name.

    Leaving the block stops all plugins, those that others require last.
    """

    def __init__(
        self,
        *,
        expose: Expose = (),
        name: str = "",
        limits: Limits | None = None,
        host_limits: HostLimits | None = None,
        policy: Policy | None = None,
    ) -> None:
        self._host = Host(name=name, limits=limits, host_limits=host_limits, policy=policy)
        self._plugins: dict[str, Plugin[Any]] = {}
        """In the order in which they were started."""
        self._exposed: dict[str, ContractSpec] = {}
        self._make: Callable[[PluginSpec[Any]], Iterable[Cap]] | None = None
        self._scope: Scope | None = None
        if isinstance(expose, Cap):
            self._expose([expose])
        elif callable(expose):
            self._make = expose
        else:
            self._expose(list(expose))

    async def __aenter__(self) -> Self:
        await self._host.__aenter__()
        self._scope = self._host.scope("plugins")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            with CancelScope(shield=True):
                await self._stop_all(0.0 if exc_info[0] is not None else None)
        finally:
            await self._host.__aexit__(*exc_info)

    @staticmethod
    def discover(*folders: str | os.PathLike[str]) -> list[FoundPlugin]:
        """All plugins that installed packages have, and those in folders; see `capnet.plugins.discover`."""
        return discover(*folders)

    @property
    def plugins(self) -> Mapping[str, Plugin[Any]]:
        """Those that are loaded, by name, in the order in which they were."""
        return MappingProxyType(self._plugins)

    async def load(self, spec: PluginSpec[C]) -> Plugin[C]:
        """Start a plugin, and wait until it is ready. From then on it is started again when it fails.

        Raises:
            AlreadyExists: one of that name is loaded.
            FailedPrecondition: `not_loaded`, it requires one that is not; `main_failed`, its main function raised;
                `unhealthy`, it says that it is not well.
            VersionMismatch: it does not give what is wanted, or needs what it is not given; a sentence for each.
            Unavailable: `not_started`, its program has ended, with its exit code and the last lines that it wrote;
                `start_timeout`, it was not ready in time. What `exec:` raises when the program is not there.
        """
        if spec.name in self._plugins:
            raise AlreadyExists(f"a plugin {spec.name} is loaded", reason="name_collision")
        self._required(spec)
        plugin = self._plugins[spec.name] = Plugin(self._site(), spec)
        try:
            await plugin.start()
        except BaseException:
            del self._plugins[spec.name]
            plugin.close()
            raise
        return plugin

    async def unload(self, name: str, *, grace: float | None = None) -> None:
        """Stop a plugin and forget it. Nothing that it obtained is left then.

        Args:
            name: of the plugin.
            grace: seconds for calls that run; those of its spec when None.

        Raises:
            NotFound: none of that name is loaded. FailedPrecondition: `required`, by one that is.
        """
        plugin = self._loaded(name)
        users = [other.name for other in self._plugins.values() if name in other.spec.requires]
        if users:
            raise FailedPrecondition(f"plugin {name} is required by {', '.join(users)}", reason="required")
        try:
            await plugin.stop("unloaded", grace=grace)
        finally:
            if self._plugins.get(name) is plugin:
                del self._plugins[name]
            plugin.close()

    async def stop(self, name: str, *, grace: float | None = None) -> None:
        """Stop a plugin that stays loaded.

        Raises:
            NotFound: none of that name is loaded.
        """
        await self._loaded(name).stop(grace=grace)

    async def start(self, name: str) -> None:
        """Start a plugin that was stopped, has ended, waits to be started again, or is in quarantine.

        Raises:
            NotFound: none of that name is loaded. FailedPrecondition: `running`. What `load` raises.
        """
        await self._loaded(name).start()

    async def restart(self, name: str, *, grace: float | None = None) -> None:
        """Stop a plugin and start it.

        Raises:
            NotFound: none of that name is loaded. What `load` raises.
        """
        plugin = self._loaded(name)
        await plugin.stop("restarted", grace=grace)
        await plugin.start()

    def on(self, kind: type[E], observe: Callable[[E], object]) -> Callable[[], None]:
        """Call a plain function with every event of a kind; see `Host.on`."""
        return self._host.on(kind, observe)

    def events(self, *kinds: type[E]) -> Feed[E]:
        """A feed of events, all kinds when none is given; see `Host.events`."""
        return self._host.events(*kinds)

    # What plugins are given

    def _expose(self, implementations: Sequence[Cap]) -> None:
        self._host.serve_all(*implementations)
        self._exposed |= _by_name(implementations)

    def _give(self, connection: Connection, spec: PluginSpec[Any]) -> Mapping[str, ContractSpec]:
        """See `Site`."""
        given = dict(self._exposed)
        if self._make is not None:
            made = list(self._make(spec))
            connection.serve_all(*made)
            given |= _by_name(made)
        required = {plugin.spec.spec.name: plugin for plugin in self._required(spec)}

        def provided(request: Admission) -> Any:
            plugin = required.get(request.name)
            return None if plugin is None else plugin.slot

        if required:
            connection.fallback(provided)
            given |= {name: plugin.spec.spec for name, plugin in required.items()}
        return given

    def _required(self, spec: PluginSpec[Any]) -> list[Plugin[Any]]:
        missing = [name for name in spec.requires if name not in self._plugins]
        if missing:
            raise FailedPrecondition(
                f"plugin {spec.name} requires {', '.join(missing)}", reason="not_loaded", hint="load that first"
            )
        return [self._plugins[name] for name in spec.requires]

    def _site(self) -> Site:
        if self._scope is None:
            raise FailedPrecondition(
                "the plugin host is not open", hint="use it inside `async with PluginHost() as …:`"
            )
        return Site(self._host, self._scope, self._give)

    def _loaded(self, name: str) -> Plugin[Any]:
        plugin = self._plugins.get(name)
        if plugin is None:
            raise NotFound(f"no plugin {name!r} is loaded")
        return plugin

    async def _stop_all(self, grace: float | None) -> None:
        """The last one that was started first."""
        for plugin in reversed(tuple(self._plugins.values())):
            await plugin.stop("the host is closing", grace=grace)
            plugin.close()
        self._plugins.clear()


def _by_name(implementations: Iterable[Cap]) -> dict[str, ContractSpec]:
    specs = (contract_spec(type(implementation)) for implementation in implementations)
    return {spec.name: spec for spec in specs}
