"""Routes: what a seed says that programs do with one object, and what each holder can make it do.

A route begins with an object and goes on in steps; every step takes something that a program has, and brings what the
same or another program has then. All of it is kept to the end. What is tried is every method of every contract: by
calls that no proxy would make where a number on the wire is held, by attributes and casts where it is something local.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import Random
from typing import Any, Final

from capnet import (
    Cap,
    CapnetError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Membrane,
    PermissionDenied,
    Revoked,
    Unimplemented,
    cast_cap,
    dup,
    pipe,
    restrict,
    revocable,
)
from capnet.calls.call import Late
from capnet.references.promise import Promise
from capnet.references.proxy import Proxy, reference_of
from capnet.registry import Facet

from .contracts import SPARE, Log, methods_of
from .doors import Door, Way
from .model import (
    ANY,
    End,
    Front,
    Hold,
    Narrowed,
    Own,
    Program,
    Refused,
    Remote,
    Thing,
    Unclear,
    arrive,
    cross,
    fits,
    known_as,
    leave,
)
from .world import World, opened

__all__ = ["CROSSING", "ROUTES_IN_ONE_WORLD", "Route", "Wrong", "play"]

ROUTES_IN_ONE_WORLD: Final = 175
MOST_STEPS: Final = 7
CROSSING: Final = True
"""Whether things cross a membrane that programs have inside."""
_tokens = count(1)


class Wrong(AssertionError):
    """A holder can do what it should not, or cannot do what it should; with the steps of the route."""


@dataclass(eq=False)
class Held:
    """What one program has.

    Attributes:
        value: as the program has it.
        hold: what it should be worth.
    """

    name: str
    program: Program
    value: Any
    hold: Hold

    def __repr__(self) -> str:
        return f"{self.name} ({self.program} has {self.hold!r})"


class Route:
    """One route.

    Args:
        seed: says how it goes.
        seen: what has happened on routes, counted.
    """

    def __init__(self, world: World, seed: int, seen: Counter[str]) -> None:
        self._world = world
        self._seed = seed
        self._seen = seen
        self._random = Random(f"route {seed}")
        self._log: Log = []
        self._held: list[Held] = []
        self._text: list[str] = []
        self._taken_back: list[tuple[Front, Callable[[], None]]] = []
        self._served: Any = None
        self._refused = False
        programs = self._random.randint(1, 4)
        self._programs = world.programs[:programs]

    def __str__(self) -> str:
        return "\n  ".join([f"route {self._seed} of family {self._world.family.seed}", *self._text])

    async def play(self) -> None:
        """Take every step, and try what everybody can do.

        Raises:
            Wrong: it is not what the rule says.
        """
        try:
            await self._begin()
            for _ in range(self._random.randint(1, MOST_STEPS)):
                await self._step()
                if self._random.random() < 0.15:
                    await self._try(self._random.choice(self._held))
                if self._refused:
                    break
            for held in self._held:
                await self._try(held)
            await self._take_back()
        except CapnetError as error:
            raise self._wrong(f"an error that nobody expected: {error!r}") from error
        finally:
            if self._served is not None:
                self._served.close()
        self._seen["routes"] += 1
        self._seen["routes without a refusal"] += not self._refused

    # Steps

    async def _begin(self) -> None:
        random, family = self._random, self._world.family
        contract = max(random.sample(family.contracts, 2), key=lambda one: len(family.within(one)))
        ends = [end for program in self._programs for end in self._ends(program)]
        if random.random() < 0.8:
            program = random.choice(self._programs)
            thing = Thing(contract, family.thing(contract, self._log))
            self._have(program, thing.value, Own(thing, contract), f"an object of {contract.__name__}")
            return
        await self._begin_served(random.choice(ends), contract)

    async def _begin_served(self, end: End, contract: Any) -> None:
        """What is served under a name, and perhaps replaced, before it is asked for or after."""
        random, family = self._random, self._world.family
        thing = Thing(contract, family.thing(contract, self._log))
        self._served = end.connection.serve(thing.value, name="thing")
        wider = family.beyond(contract)
        order = random.choice(("ask", "ask and replace", "replace and ask")) if wider else "ask"
        text = f"{order}: an object of {contract.__name__} that {end.program} serves"

        async def replace() -> None:
            thing.contract = random.choice(wider)
            thing.value = family.thing(thing.contract, self._log)
            await end.connection.replace(thing.value, name="thing")

        if order == "replace and ask":
            await replace()
        view = random.choice(family.within(contract))
        proxy = await end.peer.connection.bootstrap(view, name="thing")
        if order == "ask and replace":
            await replace()
        self._seen[order] += 1
        self._have(end.peer.program, proxy, Remote(end.peer, Own(thing, thing.contract), contract, view), text)

    async def _step(self) -> None:
        steps: list[tuple[Callable[[Held], Awaitable[None]], int]] = [
            (self._pass_on, 50),
            (self._lend_and_have_back, 12),
            (self._pass_promise, 8),
            (self._call_ahead, 4),
            (self._restrict, 8),
            (self._make_revocable, 5),
            (self._wrap, 5),
            (self._cross, 10 if CROSSING else 0),
            (self._cast, 6),
            (self._dup, 2),
        ]
        (chosen,) = self._random.choices([step for step, _ in steps], [weight for _, weight in steps])
        await chosen(self._source())

    def _source(self) -> Held:
        """What a step is about: mostly the last, often what somebody has as less than it is."""
        less = [held for held in self._held if _kind(held.hold) in ("facet", "narrowed")]
        if less and self._random.random() < 0.4:
            return self._random.choice(less)
        return self._held[-1] if self._random.random() < 0.6 else self._random.choice(self._held)

    async def _lend_and_have_back(self, held: Held) -> None:
        """What there is two of afterwards: what somebody has, and what it is worth to who had it back."""
        less = self._less(held.hold)
        if less:
            lent = len(self._held)
            await self._pass_on(held, self._path(held, most=1), self._random.choice(less))
            if len(self._held) > lent and isinstance(hold := self._held[lent].hold, Remote):
                await self._pass_on(self._held[lent], (hold.end,))

    async def _pass_on(self, held: Held, ends: tuple[End, ...] = (), declared: Any = None) -> None:
        """Pass it to another program, by whatever way, on the initiative of either."""
        ends = ends or self._path(held)
        way: Way = self._random.choice(("take", "give"))
        declared = declared or self._declared(held.hold)
        door = self._world.doors.choose(self._random, way, declared)
        loose = door.loosens and self._random.random() < 0.15

        def becomes() -> Hold:
            hold = held.hold
            for index, end in enumerate(ends):
                known = index == 0 and not (loose and way == "take")
                hold = leave(hold, declared if known else ANY, end)
                known = index == len(ends) - 1 and not (loose and way == "give")
                hold = arrive(hold, declared if known else ANY)
            return hold

        async def act() -> Any:
            if way == "take":
                proxy, hub = await self._world.road(ends), ends[-1].peer.program.hub
                return await door.take(proxy, hub, held.value, loose)
            proxy = await self._world.road(tuple(end.peer for end in reversed(ends)))
            return await door.give(proxy, held.program.hub, held.value, loose)

        try:
            becomes()
        except Refused:
            pass
        except Unclear:
            return
        across = " then ".join(map(repr, ends))
        text = f"{held.name} over {across}, {way} by {door}{' loosely' if loose else ''}"
        self._note_passing(door, ends, held, loose)
        await self._becomes(ends[-1].peer.program, becomes, act, text)

    async def _pass_promise(self, held: Held) -> None:
        """Pass on what a call will bring: back to who is called, or to somebody else."""
        first = self._path(held, most=1)[0]
        asker = first.peer
        given: Any = self._declared(held.hold)
        given = ANY if given is Cap else given
        second = (
            asker if given is ANY or self._random.random() < 0.5 else self._random.choice(self._ends(asker.program))
        )
        try:
            back = leave(held.hold, given, first)
        except Refused:
            return  # a promise that will not be kept
        usual = given is not ANY and self._random.random() < 0.9
        taken: Any = (
            self._random.choice((*self._world.family.within(given), Cap, ANY)) if usual else self._declared(back)
        )
        giving = self._world.doors.bare("give", given)
        taking = self._world.doors.choose(self._random, "take", taken, ("argument", "beside"))
        waits = False

        def becomes() -> Hold:
            hold = held.hold
            if given is not ANY and not fits(given, taken):
                raise Refused("the call will bring less")
            if second is not asker:
                return arrive(leave(Remote(asker, hold, given, given, promised=True), taken, second), taken)
            if waits or (isinstance(back, Remote) and back.of is hold):
                return arrive(leave(back, taken, asker), taken)
            # It is the asker's own, and does not leave whoever has it.
            assert isinstance(hold, Remote)
            return arrive(Remote(hold.end, hold.of, hold.lent), taken)

        async def act() -> Any:
            nonlocal waits
            held.program.hub.gift = held.value
            call = getattr(asker.hub, giving.name)()
            promise = pipe(call)
            reference = promise.__capnet_reference__ if isinstance(promise, Promise) else reference_of(promise)
            waits = isinstance(reference.imported, Late)  # it had left already
            try:
                return await taking.take(second.hub, second.peer.program.hub, promise)
            finally:
                await call
                held.program.hub.gift = None

        self._seen["promise"] += 1
        text = f"what {asker!r} will have of {held.name} as {_name(given)} over {second!r}, take by {taking}"
        await self._becomes(second.peer.program, becomes, act, text)

    async def _call_ahead(self, held: Held) -> None:
        """Make calls on what a call will bring."""
        first = self._path(held, most=1)[0]
        given = self._declared(held.hold)
        if given in (Cap, ANY) or first.peer.hub is None:
            return
        try:
            back = leave(held.hold, given, first)
        except Refused:
            return
        held.program.hub.gift = held.value
        giving = self._world.doors.bare("give", given)
        promise = pipe(getattr(first.peer.hub, giving.name)())
        ran = await self._tried_on_the_wire(promise, None)
        held.program.hub.gift = None
        self._seen["ahead"] += 1
        self._text.append(f"{first.peer!r} calls what it will have of {held.name} as {given.__name__}")
        self._judge(f"{first.peer!r}", ran, back.methods)

    async def _restrict(self, held: Held) -> None:
        """To some methods, or by a rule that lets all of them pass."""
        held = self._with_contract(held)
        contract = known_as(held.hold)
        granted = methods_of(contract)
        if self._random.random() < 0.6:
            granted = self._some_of(granted)
            value = restrict(held.value, methods=granted)
        else:
            value = restrict(held.value, uses=10**6)
        front = Front(held.hold, contract, value, granted)
        self._have(held.program, value, Own(front, contract), f"{held.name} restricted to {sorted(granted)}")

    async def _make_revocable(self, held: Held) -> None:
        held = self._with_contract(held)
        contract = known_as(held.hold)
        value, take_back = revocable(held.value)
        front = Front(held.hold, contract, value, methods_of(contract))
        self._taken_back.append((front, take_back))
        self._have(held.program, value, Own(front, contract), f"{held.name} to be taken back")

    async def _wrap(self, held: Held) -> None:
        """A membrane, with a policy or without."""
        held = self._with_contract(held)
        contract = known_as(held.hold)
        granted = methods_of(contract)
        if self._random.random() < 0.5:
            granted = self._some_of(granted)
            value = Membrane(lambda crossing: crossing.method in granted).wrap(held.value)
        else:
            value = Membrane().wrap(held.value)
        front = Front(held.hold, contract, value, granted)
        self._have(held.program, value, Own(front, contract), f"{held.name} in a membrane for {sorted(granted)}")

    async def _cross(self, held: Held) -> None:
        """From one side of the program's own membrane to the other."""
        way: Way = self._random.choice(("take", "give"))
        declared = self._declared(held.hold)
        door = self._world.doors.choose(self._random, way, declared)
        program = held.program
        value: Any = None

        def becomes() -> Hold:
            hold = cross(held.hold, declared, program, "in" if way == "take" else "out")
            if isinstance(hold, Own) and isinstance(hold.node, Front) and hold.node.value is None:
                hold.node.value = value
            return hold

        async def act() -> Any:
            nonlocal value
            value = await (door.take if way == "take" else door.give)(program.door, program.inside, held.value)
            return value

        self._seen[f"membrane, {way}"] += 1
        await self._becomes(program, becomes, act, f"{held.name} crosses a membrane, {way} by {door}")

    async def _cast(self, held: Held) -> None:
        declared = self._declared(held.hold)
        if declared in (Cap, ANY):
            return

        async def act() -> Any:
            return cast_cap(held.value, declared)

        text = f"{held.name} cast to {declared.__name__}"
        await self._becomes(held.program, lambda: arrive(held.hold, declared), act, text)

    async def _dup(self, held: Held) -> None:
        if isinstance(held.value, Proxy):
            self._have(held.program, dup(held.value), held.hold, f"{held.name} duplicated")

    async def _take_back(self) -> None:
        """Take back one thing that can be, and see who has lost what."""
        if not self._taken_back:
            return
        front, take_back = self._random.choice(self._taken_back)
        take_back()
        front.granted = frozenset()
        self._text.append("then what can be taken back is taken back")
        self._seen["taken back"] += 1
        for held in self._held:
            await self._try(held, gone=True)

    # What is tried

    async def _try(self, held: Held, gone: bool = False) -> None:
        """Every method, and whether exactly those run that may."""
        value, hold = held.value, held.hold
        if isinstance(value, Proxy) and not reference_of(value).narrowed and not _promised(hold):
            ran = await self._tried_on_the_wire(value, hold)
        else:
            ran = await self._tried_here(held)
        self._judge(repr(held), ran, hold.methods)
        self._seen["tries"] += 1
        self._seen[f"tries of {_kind(hold)}"] += 1
        if gone:
            return
        if isinstance(hold, Own):
            right = not isinstance(value, Proxy) and (
                isinstance(value, Facet) if hold.plain or not hold.whole else value is hold.node.value
            )
        else:
            right = isinstance(value, Proxy) and reference_of(value).narrowed == isinstance(hold, Narrowed)
        if not right:
            raise self._wrong(f"{held!r} is {value!r}")

    async def _tried_on_the_wire(self, proxy: Any, hold: Hold | None) -> frozenset[str]:
        """Call every method there is, whatever the proxy has."""
        token = next(_tokens)
        reference = reference_of(proxy)
        caller, target = reference.caller, reference.usable()
        probes = list(self._world.family.probes.items())
        self._random.shuffle(probes)
        if isinstance(hold, Remote) and isinstance(hold.of, Own) and self._random.random() < 0.2:
            for _, method in probes:
                if method.kind == "call":  # one way, in order with those below
                    with suppress(Revoked):
                        caller.notify(target, method, {"token": token})
        calls: list[tuple[str, Any]] = []
        for name, method in probes:
            try:
                call = caller.start(target, method, {"token": token})
            except Revoked:
                break  # so it is for all of them
            calls.append((name, caller.payloads.reader(call) if method.kind == "stream" else call))
        answered = {name for name, call in calls if await self._answers(partial(_itself, call), token)}
        return self._ran(token, answered)

    async def _tried_here(self, held: Held) -> frozenset[str]:
        """Look for every method, also after each cast that succeeds."""
        token = next(_tokens)
        value, hold = held.value, held.hold
        forms = [value]
        for contract in self._world.family.contracts:
            try:
                forms.append(cast_cap(value, contract))
            except InvalidArgument:
                continue
        # Who has the object itself has all that it is.
        itself = isinstance(hold, Own) and hold.whole
        names = [*self._world.family.names, *(() if itself else (SPARE,))]
        answered: set[str] = set()
        for form in {id(form): form for form in forms}.values():  # proxies of one reference are equal
            for name in names:
                method = getattr(form, name, None)
                if method is not None and name not in answered and await self._answers(partial(method, token), token):
                    answered.add(name)
        return self._ran(token, answered)

    async def _answers(self, start: Callable[[], Any], token: int) -> bool:
        """Whether a call brings what it should; else it is refused."""
        try:
            call = start()
            if hasattr(call, "__aiter__"):
                async with aclosing(call) as items:
                    return [item async for item in items] == [token]
            return bool(await call == token)
        except (Unimplemented, PermissionDenied, Revoked):
            return False

    def _ran(self, token: int, answered: set[str]) -> frozenset[str]:
        ran = frozenset(name for name, by in self._log if by == token)
        if ran.symmetric_difference(answered):
            raise self._wrong(f"{sorted(answered)} were answered, and {sorted(ran)} ran")
        return ran

    def _judge(self, who: str, ran: frozenset[str], may: frozenset[str]) -> None:
        if not ran <= may:
            raise self._wrong(f"{who} can make {sorted(ran - may)} run, which it may not; it may {sorted(may)}")
        if ran != may:
            raise self._wrong(f"{who} cannot make {sorted(may - ran)} run, which it may")

    # What steps share

    def _have(self, program: Program, value: Any, hold: Hold, text: str) -> Held:
        held = Held(f"h{len(self._held)}", program, value, hold)
        self._held.append(held)
        self._text.append(f"{held!r}: {text}")
        self._seen[_kind(hold)] += 1
        return held

    async def _becomes(
        self, program: Program, becomes: Callable[[], Hold], act: Callable[[], Awaitable[Any]], text: str
    ) -> None:
        """Do something, by which a program has what the rule says, or is refused it."""
        value, refusal = None, ""
        try:
            value = await act()
        except (InvalidArgument, FailedPrecondition, Internal) as error:  # the last for items: their producer knows why
            refusal = str(error)
        try:
            expected = becomes()
        except Refused as refused:
            if not refusal:
                self._text.append(f"not refused: {text}")
                raise self._wrong(f"{program} has {value!r}, but {refused}") from None
            self._text.append(f"refused: {text}")
            self._refused = True
            self._seen["refused"] += 1
            return
        if refusal:
            self._text.append(f"refused: {text}")
            raise self._wrong(f"it should bring {program} {expected!r}, but: {refusal}")
        self._have(program, value, expected, text)

    def _with_contract(self, held: Held) -> Held:
        """The same, with a contract, which what stands in front of it must have."""
        hold = held.hold
        if not isinstance(hold, Remote) or hold.view is not None:
            return held
        contract = hold.lent
        text = f"{held.name} cast to {contract.__name__}"
        return self._have(held.program, cast_cap(held.value, contract), arrive(hold, contract), text)

    def _some_of(self, names: frozenset[str]) -> frozenset[str]:
        return frozenset(self._random.sample(sorted(names), self._random.randint(1, len(names))))

    def _declared(self, hold: Hold) -> Any:
        """What is declared where it will stand: mostly what it can be passed as."""
        random = self._random
        if random.random() < 0.1:
            return random.choice(self._world.family.contracts)
        if random.random() < 0.3:
            return random.choice((Cap, ANY))
        less = self._less(hold)
        return random.choice(less) if less and random.random() < 0.5 else known_as(hold)

    def _less(self, hold: Hold) -> list[Any]:
        """What it can be passed on as that is less than what it is."""
        most = hold.lent if isinstance(hold, Remote) else known_as(hold)
        return [contract for contract in self._world.family.within(most) if contract is not most]

    def _ends(self, program: Program) -> list[End]:
        return [end for end in program.ends if end.peer.program in self._programs]

    def _path(self, held: Held, most: int = 3) -> tuple[End, ...]:
        """Over which links a value goes, often back where it came from; programs between them pass calls on."""
        program, path = held.program, list[End]()
        hold = held.hold
        promised = hold.end if isinstance(hold, Remote) and hold.promised else None
        if isinstance(hold, Remote) and not promised and self._random.random() < 0.4:
            path.append(hold.end)
        while len(path) < most and (not path or self._random.random() < 0.2):
            # What would come back on the same link is not on the wire at all: there the hub is the object itself.
            ends = [
                end
                for end in self._ends(path[-1].peer.program if path else program)
                if end is not (path[-1].peer if path else promised)
            ]
            if not ends:
                break
            path.append(self._random.choice(ends))
        return tuple(path)

    def _note_passing(self, door: Door, ends: tuple[End, ...], held: Held, loose: bool) -> None:
        seen = self._seen
        seen[door.kind] += 1
        seen[f"{len(ends)} links"] += 1
        seen[f"programs {len(self._programs)}"] += 1
        seen[f"shape {door.shape.text.split('[')[0]}" if "[" in door.shape.text else "bare"] += 1
        seen["loose"] += loose
        seen[f"declared {_name(door.declared) if door.declared in (Cap, ANY) else 'contract'}"] += 1
        hold = held.hold
        if isinstance(hold, Remote) and hold.end is ends[0]:
            seen["home, whole" if isinstance(hold.of, Own) and hold.lent is hold.of.node.contract else "home"] += 1

    def _wrong(self, what: str) -> Wrong:
        return Wrong(f"{what}\n{self}\n  (CAPNET_SEED={self._seed} begins with this route)")


def _kind(hold: Hold) -> str:
    if isinstance(hold, Own):
        return "object" if hold.whole else "facet"
    return "narrowed" if isinstance(hold, Narrowed) else "remote"


def _promised(hold: Hold) -> bool:
    return isinstance(hold, Remote) and hold.promised


def _name(declared: Any) -> str:
    return str(getattr(declared, "__name__", declared))


def _itself(value: Any) -> Any:
    return value


async def play(first: int, routes: int, seen: Counter[str] | None = None) -> Counter[str]:
    """Play routes, beginning with one; returns what has happened on them, counted.

    Raises:
        Wrong: a holder can do what it should not, or cannot do what it should. AssertionError: something is left.
    """
    seen = Counter() if seen is None else seen
    seed, end = first, first + routes
    while seed < end:
        family = seed // ROUTES_IN_ONE_WORLD
        async with opened(family) as world:
            while seed < end and seed // ROUTES_IN_ONE_WORLD == family:
                await Route(world, seed, seen).play()
                seed += 1
            await world.close()
    return seen
