"""What a reference is worth: the rule of `docs/explanation/facets.md`, told for what a program holds.

A `Hold` is what one program has of one object, with the way on which it came: every contract of a place and every
restriction on that way is in it, so `methods`, what its holder can make run, is the meet of them all. `leave`, `arrive`
and `relay` say what becomes of a hold that is passed on. Nothing here knows how capnet does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from capnet import Cap

from .contracts import methods_of

__all__ = [
    "ANY",
    "End",
    "Front",
    "Hold",
    "Narrowed",
    "Own",
    "Program",
    "Refused",
    "Remote",
    "Thing",
    "arrive",
    "fits",
    "known_as",
    "leave",
]

ANY = Any


class Refused(Exception):
    """More is declared than is held."""


class Unclear(Exception):
    """What happens depends on whether a call is answered in time."""


class Program:
    """One program.

    Attributes:
        number: tells it from others.
        ends: its ends of links.
        hub: the object that takes and gives, behind each of these.
        inside: another one, in a membrane.
        door: what stands outside for that.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.ends: list[End] = []
        self.hub: Any = None
        self.inside: Any = None
        self.door: Any = None

    def __repr__(self) -> str:
        return f"P{self.number}"


class End:
    """One program's end of a link.

    Attributes:
        program: whose end it is.
        peer: the other end.
        connection: what sends and receives there.
        hub: the proxy of the other program's hub.
    """

    def __init__(self, link: int, program: Program, connection: Any) -> None:
        self.link = link
        self.program = program
        self.connection = connection
        self.peer: End = self
        self.hub: Any = None

    def __repr__(self) -> str:
        return f"{self.program}-{self.peer.program}#{self.link}"


@dataclass(eq=False)
class Thing:
    """An object; when another replaces it, that one.

    Attributes:
        contract: its own.
        value: the object itself.
    """

    contract: Any
    value: Any

    @property
    def methods(self) -> frozenset[str]:
        """Those that can be made to run by who has all of it."""
        return methods_of(self.contract)


@dataclass(eq=False)
class Front:
    """An object that stands in front of something else: a restriction, a membrane, what can be taken back.

    Attributes:
        behind: what it passes calls to.
        contract: under which it does that, and so its own.
        granted: the methods that it lets pass.
        across: whose membrane it has crossed, and in which direction.
    """

    behind: Hold
    contract: Any
    value: Any
    granted: frozenset[str]
    across: Across | None = None

    @property
    def methods(self) -> frozenset[str]:
        """See `Thing`."""
        return self.behind.methods & methods_of(self.contract) & self.granted


@dataclass(frozen=True, eq=False)
class Own:
    """What is of this program: an object, or a facet of it.

    Attributes:
        node: the object.
        under: the contract under which it is held.
        plain: it came where `Any` is declared, as a facet also when it is held as what it is.
    """

    node: Thing | Front
    under: Any
    plain: bool = False

    @property
    def methods(self) -> frozenset[str]:
        """Those that can be made to run."""
        return self.node.methods & methods_of(self.under)

    @property
    def whole(self) -> bool:
        """Whether it is held as what it is."""
        return self.under is self.node.contract

    def __repr__(self) -> str:
        what = "object" if self.whole and not self.plain else "facet"
        return f"{what} of {self.under.__name__}"


@dataclass(frozen=True, eq=False)
class Remote:
    """What another program has given.

    Attributes:
        end: where it came.
        of: what the giver holds.
        lent: the contract under which that was given.
        view: what it was taken as here; None where nobody has said.
        promised: it was used before it was there.
    """

    end: End
    of: Hold
    lent: Any
    view: Any = None
    promised: bool = False

    @property
    def methods(self) -> frozenset[str]:
        """Those that can be made to run, by calls that no proxy would make as well."""
        return self.of.methods & methods_of(self.lent)

    def __repr__(self) -> str:
        view = "" if self.view in (None, self.lent) else f" as {self.view.__name__}"
        return f"{self.lent.__name__}{view} from {self.end.peer.program}"


@dataclass(frozen=True, eq=False)
class Narrowed:
    """What this program was given by one peer, lent to another as less, and has back from that one.

    Attributes:
        of: what it has lent.
        view: under which contract it has come back, or was taken since.
    """

    of: Remote | Narrowed
    view: Any

    @property
    def methods(self) -> frozenset[str]:
        """Those that can be made to run."""
        return self.of.methods & methods_of(self.view)

    def __repr__(self) -> str:
        return f"{self.view.__name__} that came back, of {self.of!r}"


Hold: TypeAlias = Own | Remote | Narrowed
Direction: TypeAlias = Literal["in", "out"]
Across: TypeAlias = tuple[Program, Direction]


def known_as(hold: Hold) -> Any:
    """The contract under which a hold is passed on where none is declared."""
    if isinstance(hold, Own):
        return hold.under
    if isinstance(hold, Narrowed):
        return hold.view
    return hold.lent if hold.view is None else hold.view


def _most(hold: Hold) -> Any:
    """The most that it may be passed on or taken as: what was given, also where it was taken as less."""
    return hold.lent if isinstance(hold, Remote) else known_as(hold)


def fits(contract: Any, declared: Any) -> bool:
    """Whether what has a contract may stand where something is declared."""
    return declared is ANY or declared is Cap or issubclass(contract, declared)


def passed_as(hold: Hold, declared: Any) -> Any:
    """The contract under which it leaves, or is taken, where something is declared.

    Raises:
        Refused: it is held under less, or something else.
    """
    if not fits(_most(hold), declared):
        raise Refused(f"{declared.__name__} is declared, {hold!r} is held")
    return known_as(hold) if declared is ANY or declared is Cap else declared


def leave(hold: Hold, declared: Any, end: End) -> Hold:
    """What the other side of a link has, before it looks at what is declared there.

    Raises:
        Refused: see `passed_as`. Unclear: a promise goes to where it will be.
    """
    under = passed_as(hold, declared)
    if isinstance(hold, Remote) and hold.end is end:
        if hold.promised:
            raise Unclear
        return _home(hold)
    return Remote(end.peer, hold, under)


def _home(hold: Remote) -> Hold:
    """It goes back to who gave it, as what it was given as, whatever is declared on the way."""
    given = hold.of
    if isinstance(given, Own):
        return Own(given.node, hold.lent, plain=True)
    if isinstance(given, Remote) and given.lent is hold.lent:
        return Remote(given.end, given.of, given.lent, given.lent if given.promised else None, given.promised)
    return Narrowed(given, hold.lent)


def arrive(hold: Hold, declared: Any) -> Hold:
    """What a program has of what came, where something is declared.

    Raises:
        Refused: see `passed_as`.
    """
    if declared is ANY:
        return hold
    under = passed_as(hold, declared)
    if isinstance(hold, Own):
        return Own(hold.node, hold.under if hold.whole else under)
    if isinstance(hold, Narrowed):
        return Narrowed(hold.of, under)
    return hold if declared is Cap else Remote(hold.end, hold.of, hold.lent, under, hold.promised)


def cross(hold: Hold, declared: Any, program: Program, direction: Direction) -> Hold:
    """What is on the other side of a program's membrane; the value of a new `Front` is to be filled in.

    Raises:
        Refused: see `passed_as`; or nobody has said what it is.
    """
    if isinstance(hold, Remote) and hold.view is None and declared in (ANY, Cap):
        raise Refused(f"nobody has said what {hold!r} is")
    under = passed_as(hold, declared)
    across = hold.node.across if isinstance(hold, Own) and isinstance(hold.node, Front) else None
    if isinstance(hold, Own) and across is not None and across[0] is program:
        assert isinstance(hold.node, Front)
        if across[1] == direction:
            return Own(hold.node, under)
        return arrive(_held_as(hold.node.behind, hold.under), Cap if declared is ANY else declared)
    front = Front(_held_as(hold, under), under, None, methods_of(under), (program, direction))
    return Own(front, under)


def _held_as(hold: Hold, contract: Any) -> Hold:
    """A hold as no more than a contract that it has."""
    if isinstance(hold, Own):
        return Own(hold.node, contract)
    if isinstance(hold, Remote) and hold.lent is contract:
        return Remote(hold.end, hold.of, hold.lent, contract, hold.promised)
    return Narrowed(hold, contract)
