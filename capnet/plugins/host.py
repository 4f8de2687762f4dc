"""`PluginHost`: loads plugins, each in a process of its own, and looks after them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

from anyio import CancelScope, create_task_group

from capnet.connection.connection import Connection
from capnet.contract import Cap, ContractSpec, contract_spec
from capnet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from capnet.host import Host
from capnet.limits import HostLimits, Limits
from capnet.observe import Event, Feed
from capnet.plugins.discovery import FoundPlugin, discover
from capnet.plugins.launching import Site
from capnet.plugins.life import Life
from capnet.plugins.order import in_layers
from capnet.plugins.plugin import Plugin
from capnet.plugins.remote import Controlling, PluginControl
from capnet.plugins.spec import PluginSpec
from capnet.plugins.swapping import PluginSwap, swap
from capnet.policy.policy import Admission, Policy
from capnet.serving.scope import Scope

__all__ = ["Expose", "PluginHost"]

C = TypeVar("C")
E = TypeVar("E", bound=Event)
Expose: TypeAlias = "Cap | Iterable[Cap] | Callable[[PluginSpec[Any]], Iterable[Cap]]"


class _Loaded(NamedTuple):
    plugin: Plugin[Any]
    life: Life[Any]


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
        development: help with finding mistakes, as for `capnet.connect`; plugins that say nothing themselves do it too.

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
        development: bool | None = None,
    ) -> None:
        self._host = Host(name=name, limits=limits, host_limits=host_limits, policy=policy, development=development)
        self._loaded: dict[str, _Loaded] = {}
        """In the order in which they were loaded."""
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
        return {name: loaded.plugin for name, loaded in self._loaded.items()}

    async def load(self, spec: PluginSpec[C]) -> Plugin[C]:
        """Start a plugin, and wait until it is ready. From then on it is started again when it fails.

        Raises:
            AlreadyExists: one of that name is loaded.
            FailedPrecondition: `not_loaded`, it requires one that is not; `main_failed`, its main function raised;
                `unhealthy`, it says that it is not well.
            VersionMismatch: it does not give what is wanted, or needs what it is not given; a sentence for each.
            Unavailable: `not_started`, its program has ended, with its exit code and the last lines that it wrote;
                `start_timeout`, it was not ready in time. What `exec:` raises when the program is not there.
            ResourceExhausted: `emfile`, no descriptors are left.
        """
        if spec.name in self._loaded:
            raise AlreadyExists(f"a plugin {spec.name} is loaded", reason="name_collision")
        self._required(spec)
        life = Life(self._site(), spec)
        plugin = Plugin(life)
        self._loaded[spec.name] = _Loaded(plugin, life)
        try:
            await life.start()
        except BaseException:
            await self._drop(life)
            raise
        return plugin

    async def load_all(self, *specs: PluginSpec[Any]) -> tuple[Plugin[Any], ...]:
        """Load several, those that others require before these, the rest at once; all of them or none.

        Returns them in the order of the arguments.

        Raises:
            InvalidArgument: they require each other in a circle, or two have one name. What `load` raises, for the
            first that fails; those that have started are unloaded then.
        """
        by_name = {spec.name: spec for spec in specs}
        if len(by_name) != len(specs):
            raise InvalidArgument("two of these plugins have one name")
        layers = list(in_layers({spec.name: spec.requires for spec in specs}))
        failures: list[Exception] = []

        async def one(name: str) -> None:
            try:
                await self.load(by_name[name])
                loaded.append(name)
            except Exception as error:
                failures.append(error)

        loaded: list[str] = []
        try:
            for layer in layers:
                async with create_task_group() as tasks:
                    for name in layer:
                        tasks.start_soon(one, name)
                if failures:
                    raise failures[0]
        except BaseException:
            with CancelScope(shield=True):
                for name in reversed(loaded):
                    await self.unload(name)
            raise
        finally:
            failures.clear()
        return tuple(self._loaded[spec.name].plugin for spec in specs)

    async def unload(self, name: str, *, grace: float | None = None) -> None:
        """Stop a plugin and forget it. Nothing that it obtained is left then.

        Args:
            name: of the plugin.
            grace: seconds for calls that run; those of its spec when None.

        Raises:
            NotFound: none of that name is loaded. FailedPrecondition: `required`, by one that is.
        """
        life = self._life(name)
        users = [other for other, loaded in self._loaded.items() if name in loaded.life.spec.requires]
        if users:
            raise FailedPrecondition(f"plugin {name} is required by {', '.join(users)}", reason="required")
        await self._forget(life, "it was unloaded", grace)

    async def stop(self, name: str, *, grace: float | None = None) -> None:
        """Stop a plugin that stays loaded. A start or swap of it that is under way is broken off.

        Raises:
            NotFound: none of that name is loaded.
        """
        await self._life(name).stop("it was stopped", grace=grace)

    async def start(self, name: str) -> None:
        """Start a plugin that was stopped, has ended, waits to be started again, or is in quarantine.

        Raises:
            NotFound: none of that name is loaded. FailedPrecondition: `running`. What `load` raises.
        """
        await self._life(name).start()

    async def restart(self, name: str, *, grace: float | None = None) -> None:
        """Stop a plugin and start it; calls on its slot wait meanwhile.

        Raises:
            NotFound: none of that name is loaded. What `load` raises.
        """
        life = self._life(name)
        await life.stop("it is being restarted", grace=grace, again=True)
        await life.start()

    async def swap(self, name: str, /, **changes: Any) -> PluginSwap:
        """Start a plugin anew beside the process that runs, and have it answer in that one's place, without a gap.

        Before it answers it is ready, as after `load`, and fits. If both have `export_state` and `import_state` the
        state is handed over, and calls wait meanwhile. Calls and streams that run on the old process have `grace`
        seconds to end. Whatever goes wrong before that, and an end in the first `probation` seconds, leaves the old
        process answering. Returns when the old process is gone.

        Args:
            name: of the plugin.
            changes: of its `PluginSpec`, such as `run="acme_spell_v2:main"`; without any it is the program as it is
                now.

        Raises:
            NotFound: none of that name is loaded. InvalidArgument: the changes make no sense, or are of its name or
                contract. FailedPrecondition: `not_ready`, it does not run; `busy`, calls do not end, so that the state
                cannot be handed over; `no_import_state`, it would be lost; `export_state_failed`,
                `import_state_failed`; `probation`, it has ended so soon that the old one is back.
            ResourceExhausted: `max_state`. DeadlineExceeded: `state_timeout`. Unavailable: `stopped` meanwhile. What
            `load` raises.
        """
        life = self._life(name)
        if changes.keys() & {"name", "contract", "isolation"}:
            raise InvalidArgument(
                "a swap changes neither name nor contract nor isolation", hint="unload it, and load the other"
            )
        try:
            spec = replace(life.spec, **changes)
        except TypeError as error:
            raise InvalidArgument(f"swap of plugin {name}: {error}") from error
        self._required(spec)
        list(in_layers({**self._requires(), name: spec.requires}))
        return await swap(life, spec)

    def control(self) -> PluginControl:
        """This host as a capability, for `capnet plugin` and for programs of your own: serve it by a name.

            host.serve(plugins.control(), name="plugins")

        Who has it can stop plugins, start them, and read what they write. Less of that is `restrict(…)`.
        """
        return Controlling(self)

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
        required = {life.spec.spec.name: life for life in self._required(spec)}

        def provided(request: Admission) -> Any:
            life = required.get(request.name)
            return None if life is None else life.slot.proxy

        if required:
            connection.fallback(provided)
            given |= {name: life.spec.spec for name, life in required.items()}
        return given

    def _required(self, spec: PluginSpec[Any]) -> list[Life[Any]]:
        missing = [name for name in spec.requires if name not in self._loaded]
        if missing:
            raise FailedPrecondition(
                f"plugin {spec.name} requires {', '.join(missing)}", reason="not_loaded", hint="load that first"
            )
        return [self._loaded[name].life for name in spec.requires]

    def _group_of(self, spec: PluginSpec[Any]) -> list[Life[Any]]:
        """See `Site`."""
        lives = [loaded.life for loaded in self._loaded.values()]
        return [life for life in lives if life.spec.group == spec.group is not None and life.spec.name != spec.name]

    def _site(self) -> Site:
        if self._scope is None:
            raise FailedPrecondition(
                "the plugin host is not open", hint="use it inside `async with PluginHost() as …:`"
            )
        return Site(self._host, self._scope, self._give, self._group_of)

    def _life(self, name: str) -> Life[Any]:
        loaded = self._loaded.get(name)
        if loaded is None:
            raise NotFound(f"no plugin {name!r} is loaded")
        return loaded.life

    async def _forget(self, life: Life[Any], reason: str, grace: float | None) -> None:
        try:
            await life.stop(reason, grace=grace)
        finally:
            await self._drop(life)

    async def _drop(self, life: Life[Any]) -> None:
        name = life.spec.name
        if name in self._loaded and self._loaded[name].life is life:
            del self._loaded[name]
        with CancelScope(shield=True):
            await life.close()

    async def _stop_all(self, grace: float | None) -> None:
        """Those that others require after these, the rest at once."""
        lives = {name: loaded.life for name, loaded in self._loaded.items()}
        for layer in reversed(list(in_layers(self._requires()))):
            async with create_task_group() as tasks:
                for name in layer:
                    tasks.start_soon(self._forget, lives[name], "the host is closing", grace)

    def _requires(self) -> dict[str, tuple[str, ...]]:
        return {name: loaded.life.spec.requires for name, loaded in self._loaded.items()}


def _by_name(implementations: Iterable[Cap]) -> dict[str, ContractSpec]:
    specs = (contract_spec(type(implementation)) for implementation in implementations)
    return {spec.name: spec for spec in specs}
