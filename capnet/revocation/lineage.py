"""Lineage: what was handed out on whose calls, so that revoking takes all that came of it (P-CAP-6).

Each export is a `Granted`. Its parents are the exports on whose calls it was handed out, on this connection or another;
one that was bootstrapped, or exported by a program on its own, stands alone. It falls when all its parents have: what a
peer has by another way as well, it keeps. One that was given back stays as a parent while something that came of it is
held, and can be named by its object.

Only children hold their parents; the other way round all is weak. So what matters to nobody is gone without anybody
looking for it. Parents are never younger branches of their own children: there are no circles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import ContextVar
from typing import Final
from weakref import WeakSet, ref

from capnet.engine.exports import Export
from capnet.errors import CapnetError, Revoked
from capnet.registry import Grants, Hosted
from capnet.session.session import Session
from capnet.wire.references import CapRef
from capnet.wire.references import Reference as WireReference

__all__ = [
    "Above",
    "Granted",
    "Lineage",
    "Opened",
    "check_loops",
    "handling",
    "take_back",
    "tell_replaced",
    "with_descendants",
]

handling: Final[ContextVar[Granted | None]] = ContextVar("capnet.handling", default=None)
"""What the running handler was called on: exports that it makes came of that."""
MAX_WAYS: Final = 64
"""Parents that are remembered of one export; of more the newest. It can only fall sooner by that."""
MAX_LOOK: Final = 256
"""Ancestors that are looked at before a parent is taken for a branch of its own child."""
TOLD_PER_TURN: Final = 20
"""Connections that are told what was revoked before the loop has its turn; it answers nothing already."""


class Granted:
    """One export, and where it came from.

    Attributes:
        session_ref: of its connection, which it does not keep.
        number: that of its connection, by which it is known when that is gone.
        grants_ref: all exports of the same capability, which are kept with that.
        interface: the contract that it was exported under.
        hosted: what answers behind it, while the peer holds it or a call on it runs.
        alone: it came of nothing that could be revoked.
        born: the generation of the name that it came of, where that is of something elsewhere; else 0.
        fallen: why it was taken back, or None.
        parents: what it came of.
    """

    __slots__ = (
        "__weakref__",
        "_children",
        "_export",
        "alone",
        "born",
        "fallen",
        "grants_ref",
        "hosted",
        "interface",
        "number",
        "parents",
        "session_ref",
    )

    def __init__(self, session: Session, export: Export, hosted: Hosted) -> None:
        self.session_ref = ref(session)
        self.number = session.number
        self.interface = export.interface
        self.hosted: Hosted | None = hosted
        self.alone = False
        self.born = 0
        self.fallen: str | None = None
        self.parents: dict[Granted, None] = {}
        self._export: Export | None = export
        self.grants_ref: ref[Grants] = ref(hosted.granted)
        self._children: WeakSet[Granted | Opened] | None = None
        hosted.granted.add(self)

    @property
    def live(self) -> bool:
        """Whether there is something to revoke: the peer holds it, or calls or streams of it go on."""
        return self.hosted is not None

    @property
    def export(self) -> Export:
        """The export; only while it is `live`."""
        assert self._export is not None
        return self._export

    @property
    def stays(self) -> bool:
        """Whether it is held by a name, so that it does not end with what is behind that."""
        return self.hosted is not None and self.interface in self.hosted.names

    @property
    def bears(self) -> int:
        """See `born`: that of what comes of it now."""
        return (0 if self.hosted is None else self.hosted.origin) or self.born

    @property
    def children(self) -> Collection[Granted | Opened]:
        """What came of it, as far as that matters still."""
        return self._children or ()

    @property
    def orphaned(self) -> bool:
        """Whether all that it came of has fallen, and it has not."""
        return not self.alone and self.fallen is None and all(parent.fallen is not None for parent in self.parents)

    def came_of(self, parent: Granted | None, above: Above | None = None) -> None:
        """It was handed out on a call on `parent`, or on nobody's.

        Args:
            above: what the parent came of, when others are asked the same.
        """
        if parent is None:
            self.detach()
        elif not (self.alone or parent in self.parents or parent.fallen is not None or self._leads_to(parent, above)):
            parent.bear(self)
            self.born = self.born or parent.bears
            self.parents[parent] = None
            if len(self.parents) > MAX_WAYS:
                self.forget(next(iter(self.parents)))

    def bear(self, child: Granted | Opened) -> None:
        """Something came of it."""
        if self._children is None:
            self._children = WeakSet()
        self._children.add(child)

    def lose(self, child: Granted) -> None:
        """That came of something else, or of nothing."""
        if self._children is not None:
            self._children.discard(child)

    def forget(self, parent: Granted) -> None:
        """It did not come of that."""
        del self.parents[parent]
        parent.lose(self)

    def detach(self) -> None:
        """It stands alone from now on."""
        self.alone = True
        for parent in tuple(self.parents):
            self.forget(parent)

    def move(self, hosted: Hosted) -> None:
        """Another implementation answers behind it; what came of it before is that one's as well."""
        grants = self.grants_ref()
        if grants is not None:
            grants.discard(self)
        self.grants_ref = ref(hosted.granted)
        hosted.granted.add(self)
        if self.hosted is not None:
            self.hosted = hosted

    def ended(self) -> None:
        """The peer holds it no longer, and no call or stream of it goes on. It may be a parent still."""
        self.hosted = self._export = None
        if self.fallen is not None:
            return
        for parent in tuple(self.parents):
            if not parent.live and parent.grants_ref() is None:
                parent.leave_out()
        if self._children and self._repeats():
            self.leave_out()

    def leave_out(self) -> None:
        """Nobody can take it by itself: what it came of takes its place, so that chains do not grow without end."""
        children = [child for child in self.children if isinstance(child, Granted)]
        for child in children:
            child.forget(self)
        for parent in (None,) if self.alone else self.parents:
            above = None if parent is None else Above(parent)
            for child in children:
                child.came_of(parent, above)

    def _leads_to(self, parent: Granted, above: Above | None) -> bool:
        """Whether `parent` is itself or came of it, or of too much to tell; then it adds nothing."""
        if self is parent or not self._children:
            return self is parent
        return self in (above or Above(parent))

    def _repeats(self) -> bool:
        """Whether all ways to it lead by way of an older export of the same object: who takes that, takes this."""
        grants, above = self.grants_ref(), self
        for _ in range(MAX_LOOK):
            if len(above.parents) != 1:
                return False
            (above,) = above.parents
            if above.grants_ref() is grants:
                return True
        return False


class Above:
    """What one export came of, looked for once, by whoever asks first."""

    __slots__ = ("_found", "_of")

    def __init__(self, of: Granted) -> None:
        self._of = of
        self._found: set[Granted] | None = None

    def __contains__(self, granted: Granted) -> bool:
        """Whether it came of that, or of too much to tell."""
        if self._found is None:
            self._found = {self._of}
            waiting = [self._of]
            while waiting and len(self._found) <= MAX_LOOK:
                new = [parent for parent in waiting.pop().parents if parent not in self._found]
                self._found.update(new)
                waiting += new
        return granted in self._found or len(self._found) > MAX_LOOK


class Opened:
    """A stream that was opened at a peer by a call made while handling another; it ends with what that was made on.

    Args:
        end: ends it with an error.
        parent: what it came of.
    """

    __slots__ = ("__weakref__", "born", "end", "fallen", "parents")
    children: Final = ()
    stays: Final = False

    def __init__(self, end: Callable[[CapnetError], object], parent: Granted) -> None:
        self.end = end
        self.born = parent.bears
        self.fallen: str | None = None
        self.parents = {parent: None}
        parent.bear(self)


class Lineage:
    """What one peer was handed out, by export id: while it is here its object stays open."""

    __slots__ = ("_session", "granted")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.granted: dict[int, Granted] = {}

    def queued(self, references: Sequence[WireReference], parent: Granted | None) -> list[Export]:
        """A frame with these references is on its way: their subjects stay open as long as they are exported.

        Args:
            parent: what they came of.

        Returns the exports that are new.
        """
        new: list[Export] = []
        above = None if parent is None or len(references) == 1 else Above(parent)
        for reference in references:
            if type(reference) is CapRef and reference.id > 0:
                granted = self.granted.get(reference.id)
                if granted is None:
                    export = self._session.engine.exports.by_id.get(reference.id)
                    if export is None:
                        continue  # the frame was the last of a connection that has closed with it
                    hosted: Hosted = reference.subject
                    hosted.hold()
                    granted = self.granted[reference.id] = Granted(self._session, export, hosted)
                    new.append(export)
                if parent is not None:
                    granted.came_of(parent, above)
                elif not granted.alone:
                    granted.detach()
        return new

    def fall_at_birth(self, references: Sequence[WireReference], reason: str) -> None:
        """What was handed out on a call on something that had fallen falls too, unless the peer has it already."""
        ids = [reference.id for reference in references if type(reference) is CapRef]
        orphaned = [self.granted[id] for id in ids if id in self.granted and self.granted[id].orphaned]
        if orphaned:
            take_back(with_descendants(orphaned), reason)

    def replaced(self, exports: Iterable[Export], hosted: Hosted) -> None:
        """Another implementation answers for these exports now."""
        for export in exports:
            granted = self.granted.get(export.id)
            if granted is not None:  # one that was given back is kept by its running calls only
                old = granted.hosted
                assert old is not None, "what is in the table is live"
                hosted.hold()
                granted.move(hosted)
                old.release(self._session.close_hosted)

    def ended(self, export: Export) -> None:
        """An export is gone: it keeps its subject open no longer."""
        granted = self.granted.pop(export.id, None)
        if granted is not None:
            hosted = granted.hosted
            granted.ended()
            if hosted is not None:
                hosted.release(self._session.close_hosted)


def with_descendants(roots: Iterable[Granted]) -> list[Granted | Opened]:
    """These exports and all that fall with them."""
    fallen: dict[Granted | Opened, None] = dict.fromkeys(one for one in roots if one.fallen is None)
    standing: dict[Granted | Opened, int] = {}
    waiting = list(fallen)
    while waiting:
        for child in waiting.pop().children:
            if child.fallen is not None or child in fallen:
                continue
            if len(child.parents) > 1:
                before = standing.get(child)
                if before is None:
                    before = sum(parent.fallen is None for parent in child.parents)
                standing[child] = before - 1
                if before > 1:
                    continue
            fallen[child] = None
            waiting.append(child)
    return list(fallen)


def take_back(fallen: Iterable[Granted | Opened], reason: str) -> None:
    """Revoke these exports, each at its connection, and end these streams.

    First all of them are refused and their callers answered; clearing away what was behind them gives way to others.
    """
    by_session: dict[Session, list[Export]] = {}
    for one in fallen:
        one.fallen = reason
        if isinstance(one, Opened):
            one.end(Revoked(reason))
            continue
        one.parents.clear()
        session = one.session_ref()
        if one.hosted is not None and session is not None:
            by_session.setdefault(session, []).append(one.export)
    for session, exports in by_session.items():
        with session.must_succeed:
            session.engine.exporting.revoke(exports, reason)
    _Telling(by_session).turn()


def tell_replaced(granted: Iterable[Granted], generation: int) -> int:
    """Tell those who hold these exports that something else answers behind them. Returns how many were told of."""
    told: dict[Session, list[Export]] = {}
    for one in granted:
        session = one.session_ref()
        if one.live and session is not None:
            told.setdefault(session, []).append(one.export)
    for session, exports in told.items():
        session.engine.exporting.tell_replaced(exports, generation)
        session.driver.flush_soon()
    return sum(map(len, told.values()))


def check_loops(granted: Iterable[Granted]) -> None:
    """Nothing, where these exports may be taken back: in the loop of their connections.

    Raises:
        FailedPrecondition: `another_loop`.
    """
    for session in {one.session_ref() for one in granted if one.live}:
        if session is not None:
            session.loop.check()


class _Telling:
    """Sends the news: of very many connections some in each turn of the loop.

    Args:
        sessions: of the connections that have something to tell.
    """

    def __init__(self, sessions: Iterable[Session]) -> None:
        self._left = deque(sessions)

    def turn(self) -> None:
        """Do as much as may be done at once; the rest follows soon."""
        for _ in range(min(TOLD_PER_TURN, len(self._left))):
            self._left.popleft().driver.drain()
        if self._left:
            self._left[0].loop.call_soon(self.turn)
