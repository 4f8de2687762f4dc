"""Doors: the methods of a hub, by each of which something can be given to its program or had from it.

For every contract of a family, for `Cap` and for `Any`, there is one of each kind, and where in its values the thing
stands is chance.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Collection
from contextlib import aclosing
from random import Random
from types import new_class
from typing import Any, Final, Literal

from capnet import Broadcast, Cap, Sink, Stream, call, cast_cap, channel, stream
from capnet.references.proxy import reference_of
from capnet.references.untyped import UntypedMethod
from capnet.wire.references import kind_of

from .contracts import Family
from .shapes import Shape, bare, nested, of

__all__ = ["Door", "Doors", "Way"]

Way = Literal["take", "give"]
"""What the hub does that is called."""
KINDS: Final[dict[Way, tuple[str, ...]]] = {
    "take": ("argument", "beside", "stream argument", "sink in result", "callback's result"),
    "give": ("result", "stream", "broadcast", "stream in result", "sink argument", "callback's argument"),
}
MIXED: Final = {"argument", "result"}
"""Kinds of which there is one more, without anything around the thing."""


class Door:
    """One method of a hub.

    Args:
        declared: what is declared where the thing stands.
        shape: of the value around it.
        beside: another contract that the method mentions.
    """

    def __init__(self, name: str, way: Way, kind: str, declared: Any, shape: Shape, beside: Any) -> None:
        self.name = name
        self.way: Way = way
        self.kind = kind
        self.declared = declared
        self.shape = shape
        self.beside = beside

    def __str__(self) -> str:
        return f"{self.kind} {self.shape.text}"

    @property
    def loosens(self) -> bool:
        """Whether who calls need not know the contract."""
        # Keys that are no text become text only where that is declared.
        return self.kind in ("argument", "beside", "result", "stream argument") and "Mapping" not in self.shape.text

    def stub(self) -> Any:
        """The method as the contract of hubs declares it."""
        hint = self.shape.hint
        annotations: dict[str, dict[str, Any]] = {
            "argument": {"what": hint, "return": None},
            "beside": {"beside": self.beside | None, "what": hint, "return": None},
            "stream argument": {"what": of(AsyncIterable, hint), "return": None},
            "sink in result": {"return": of(Sink, hint)},
            "callback's result": {"what": of(Callable, [], of(Awaitable, hint)), "return": None},
            "result": {"return": hint},
            "stream": {"return": of(Stream, hint)},
            "broadcast": {"return": of(Stream, hint)},
            "stream in result": {"return": of(list, of(AsyncIterable, hint))},
            "sink argument": {"what": of(Sink, hint), "return": None},
            "callback's argument": {"what": of(Callable, [hint], of(Awaitable, None)), "return": None},
        }
        here = annotations[self.kind]
        function: Any
        if self.kind in ("stream", "broadcast"):

            def opened(self: Any) -> Any: ...

            function = opened
        elif "beside" in here:

            async def two(self: Any, beside: Any, what: Any) -> None: ...

            function = two
        elif "what" in here:

            async def one(self: Any, what: Any) -> None: ...

            function = one
        else:

            async def none(self: Any) -> Any: ...

            function = none
        function.__name__ = function.__qualname__ = self.name
        function.__annotations__ = here
        return (stream if self.kind in ("stream", "broadcast") else call)(function)

    # What the hub does

    def handler(self) -> Any:
        """The method of the object: what comes is in `slot` afterwards, what goes is in `gift` before."""
        pack, unpack, hint = self.shape.pack, self.shape.unpack, self.shape.hint

        async def argument(hub: Any, what: Any) -> None:
            hub.slot = unpack(what)

        async def beside(hub: Any, beside: Any, what: Any) -> None:
            hub.slot = unpack(what)

        async def stream_argument(hub: Any, what: Any) -> None:
            async with aclosing(what) as items:
                hub.slot = unpack(await _only(items))

        async def sink_in_result(hub: Any) -> Any:
            sink, hub.coming = channel(hint)
            return sink

        async def callbacks_result(hub: Any, what: Any) -> None:
            hub.slot = unpack(await what())

        async def result(hub: Any) -> Any:
            return pack(hub.gift)

        def opened(hub: Any) -> Any:
            return _once(pack(hub.gift))

        def broadcast(hub: Any) -> Any:
            said: Broadcast[Any] = Broadcast()
            heard = said.subscribe()
            said.send_nowait(pack(hub.gift))
            said.close()
            return heard

        async def stream_in_result(hub: Any) -> Any:
            return [_once(pack(hub.gift))]

        async def sink_argument(hub: Any, what: Any) -> None:
            async with what:
                await what.send(pack(hub.gift))

        async def callbacks_argument(hub: Any, what: Any) -> None:
            await what(pack(hub.gift))

        handlers: dict[str, Any] = {
            "argument": argument,
            "beside": beside,
            "stream argument": stream_argument,
            "sink in result": sink_in_result,
            "callback's result": callbacks_result,
            "result": result,
            "stream": opened,
            "broadcast": broadcast,
            "stream in result": stream_in_result,
            "sink argument": sink_argument,
            "callback's argument": callbacks_argument,
        }
        return handlers[self.kind]

    # What its caller does

    async def take(self, proxy: Any, hub: Any, what: Any, loose: bool = False) -> Any:
        """Give something to a hub; returns what its program has then.

        Args:
            proxy: of the hub, at whoever gives.
            hub: the hub itself.
            loose: call as one who does not know what is declared.
        """
        packed = self.shape.pack(what)
        method: Any = _loosely(proxy, self.name) if loose else getattr(proxy, self.name)
        try:
            if self.kind == "sink in result":
                async with await method() as sink:
                    await sink.send(packed)
                async with aclosing(hub.coming) as items:
                    hub.slot = self.shape.unpack(await _only(items))
            elif self.kind == "callback's result":

                async def ask() -> Any:
                    return packed

                await method(ask)
            elif self.kind == "beside":
                await method(beside=None, what=packed)
            else:
                await method(what=_once(packed) if self.kind == "stream argument" else packed)
            return hub.slot
        finally:
            hub.slot = hub.coming = None

    async def give(self, proxy: Any, hub: Any, what: Any, loose: bool = False) -> Any:
        """Have something from a hub; returns what its caller has then. See `take`."""
        hub.gift = what
        unpack = self.shape.unpack
        try:
            if loose:
                return _found(await _loosely(proxy, self.name)())
            method: Any = getattr(proxy, self.name)
            if self.kind == "result":
                return unpack(await method())
            if self.kind in ("stream", "broadcast", "stream in result"):
                async with aclosing((await method())[0] if self.kind == "stream in result" else method()) as items:
                    return unpack(await _only(items))
            if self.kind == "sink argument":
                sink, items = channel(self.shape.hint)
                await method(sink)
                async with aclosing(items):
                    return unpack(await _only(items))
            told: list[Any] = []

            async def tell(item: Any) -> None:
                told.append(unpack(item))

            await method(tell)
            return told[0]
        finally:
            hub.gift = None


class Doors:
    """All doors of the hubs of a family, with the contract and the class of hubs.

    Attributes:
        contract: what hubs are.
        hub: makes one.
    """

    def __init__(self, family: Family) -> None:
        random = Random(f"doors {family.seed}")
        self._by_way: dict[tuple[Way, Any], list[Door]] = {}
        doors: list[Door] = []

        def beside() -> Any:
            return random.choice(family.contracts)

        for declared in (*family.contracts, Cap, Any):
            for way, kinds in KINDS.items():
                for kind in (*kinds, *MIXED.intersection(kinds)):
                    again = any(door.kind == kind and door.declared is declared for door in doors)
                    shape = bare(declared) if again else nested(random, declared, beside)
                    most = max(family.contracts, key=lambda one: len(family.within(one)))
                    doors.append(Door(f"door{len(doors)}", way, kind, declared, shape, most))
                    self._by_way.setdefault((way, declared), []).append(doors[-1])
        self.doors = doors
        self._family = family
        self.contract: Any = self._contract()
        self.hub: Any = self._hub()

    def choose(self, random: Random, way: Way, declared: Any, kinds: Collection[str] = ()) -> Door:
        """One where that is declared, of some kinds or of any."""
        return random.choice([door for door in self._by_way[way, declared] if not kinds or door.kind in kinds])

    def bare(self, way: Way, declared: Any) -> Door:
        """The one that has nothing around the thing."""
        return next(door for door in self._by_way[way, declared] if door.kind in MIXED and door.shape.hint is declared)

    def _contract(self) -> Any:
        async def road(self: Any, key: int) -> Cap:
            raise NotImplementedError

        body: dict[str, Any] = {door.name: door.stub() for door in self.doors}
        body["road"] = call(road)
        name = f"routes.{self._family.seed}.Hub"
        return new_class("Hub", (Cap,), {"name": name}, lambda space: space.update(body))

    def _hub(self) -> Any:
        def __init__(self: Any) -> None:
            self.slot = self.gift = self.coming = None
            self.roads = {}

        async def road(self: Any, key: int) -> Cap:
            found: Cap = self.roads[key]
            return found

        body: dict[str, Any] = {door.name: door.handler() for door in self.doors}
        body |= {"__init__": __init__, "road": road}
        return new_class("ProgramHub", (self.contract,), {}, lambda space: space.update(body))

    async def lead_on(self, proxy: Any, key: int) -> Any:
        """The hub that another one has a road to."""
        return cast_cap(await proxy.road(key), self.contract)


async def _once(item: Any) -> Stream[Any]:
    yield item


async def _only(items: Any) -> Any:
    """The one item of a stream, when that has ended."""
    (item,) = [item async for item in items]
    return item


def _loosely(proxy: Any, method: str) -> Callable[..., Any]:
    """A method of a proxy, as a caller has it who declares nothing."""

    async def start(**arguments: Any) -> Any:
        reference = reference_of(proxy)
        return await reference.caller.start(reference.usable(), UntypedMethod("Hub", method, False), arguments)

    return start


def _found(value: Any) -> Any:
    """The one capability in plain data."""
    if isinstance(value, Cap):
        return value
    kind = kind_of(value)
    for item in value.values() if kind is dict else value if kind is list else ():
        found = _found(item)
        if found is not None:
            return found
    return None
