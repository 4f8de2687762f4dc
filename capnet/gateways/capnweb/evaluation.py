"""What expressions stand for: trees of a `Reader` become values, by calls at the host and at the client.

A call leaves as soon as what it is made on and what it is made with are there; those that can leave do so in the order
in which they came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast
from weakref import WeakKeyDictionary

from anyio import move_on_after

from capnet import (
    Cap,
    CapnetError,
    ContractDescription,
    InvalidArgument,
    MethodDescription,
    NotFound,
    Sink,
    Unavailable,
    Unimplemented,
    Untyped,
    describe,
)

from .actions import MAIN, Stub
from .cells import Cell, all_of
from .expressions import Path, Reader, Remap, Unfit, Use
from .lending import FUNCTION, stub_of
from .mapping import VALUES, Mapped, Within
from .messages import BadMessage
from .moving import thrown
from .session import Session
from .shapes import Lender, arguments_of, mentions, outgoing
from .streams import Pipe
from .values import SCALARS, UNDEFINED

__all__ = ["Evaluation", "Work"]

PATIENCE: Final = 5.0
"""Seconds in which it is to be told what can be called on a capability; its issuer may be far away, and other calls
wait meanwhile."""


class Work(Lender, Protocol):
    """What is done in tasks, and what is served."""

    def served(self, name: str) -> Cell:
        """What the host serves under a name."""
        ...

    def run(self, work: Callable[[], Any], cell: Cell, *, forgettable: bool = True) -> None:
        """Settle a cell with what `work` gives when it is awaited."""
        ...

    def later(self, step: Callable[[], None]) -> None:
        """Go on with a step when others had their turn."""
        ...

    def write(self, sink: Any, method: str, arguments: list[Any], answer: Cell) -> None:
        """Write into something of the host's, after what was written before."""
        ...


class Evaluation:
    """Works out expressions of one session.

    Args:
        session: of the client.
        work: does what has to wait.
        main: the served name that the client has from the start; None when it has all of them, by name.
    """

    def __init__(self, session: Session, work: Work, main: str | None) -> None:
        self._session = session
        self._work = work
        self._main = main
        self._known: WeakKeyDictionary[Any, ContractDescription] = WeakKeyDictionary()
        self._asked: dict[Any, Cell] = {}
        self._line: deque[tuple[Untyped, str, list[Any], Cell]] = deque()
        """Calls that are to be made, in order."""

    def begin(self, cell: Cell, tree: Any) -> None:
        """Settle a cell with what a tree stands for."""
        cell.follow(self.value(tree, Within(0, [VALUES * self._session.bounds.max_values])))

    def value(self, tree: Any, within: Within) -> Cell:
        """What a tree stands for.

        Args:
            within: the maps that it is in.
        """
        if isinstance(tree, Use):
            return self._at(tree.source, tree.path) if tree.arguments is None else self._call(tree, within)
        if isinstance(tree, Remap):
            return self._map(tree, within)
        return self._gathered(tree, within)

    # --- trees of data ---

    def _gathered(self, tree: Any, within: Within) -> Cell:
        """The same data, with a value in the place of each node."""
        result = Cell(self._session.turn)
        found: dict[int, Cell] = {}
        error = self._find(tree, found, within)
        if error is not None:
            result.fail(error)
        elif not found:
            result.settle(tree)
        else:

            def go_on(failed: CapnetError | None) -> None:
                try:
                    if failed is not None:
                        raise failed.again()
                    filled = _filled(tree, found)
                    self._session.counts.check(filled)
                    result.settle(filled)
                except CapnetError as error:
                    result.fail(error)

            all_of(self._session.turn, list(found.values()), go_on)
        return result

    def _find(self, tree: Any, found: dict[int, Cell], within: Within) -> CapnetError | None:
        if isinstance(tree, list | dict):
            parts: Any = cast("dict[str, Any]", tree).values() if isinstance(tree, dict) else cast("Any", tree)
            for one in parts:
                if type(one) not in SCALARS and (error := self._find(one, found, within)) is not None:
                    return error
            return None
        if isinstance(tree, Unfit):
            return tree.error
        if isinstance(tree, Use | Remap):
            found[id(tree)] = self.value(tree, within)
        return None

    # --- properties ---

    def _at(self, source: Cell, path: Path) -> Cell:
        """What stands at a path in what a cell will hold."""
        result = Cell(self._session.turn)

        def go_on() -> None:
            if source.error is not None:
                result.fail(source.error)
                return
            try:
                self._step(source.value, path, result)
            except CapnetError as error:
                result.fail(error)

        source.when_done(go_on)
        return result

    def _step(self, value: Any, path: Path, result: Cell) -> None:
        for done, step in enumerate(path):
            if isinstance(value, dict):
                value = cast("dict[str, Any]", value).get(str(step), UNDEFINED)
            elif isinstance(value, list | tuple):
                value = _element(cast("Sequence[Any]", value), step)
            elif value is MAIN:
                result.follow(self._at(*self._in_main(path[done:])))
                return
            elif value is None or value is UNDEFINED:
                raise InvalidArgument(f"there is nothing that could have a property {str(step)[:100]!r}")
            elif isinstance(value, Cap | Stub | Sink | Pipe):
                raise Unimplemented(f"a capability has methods, and no property {str(step)[:100]!r}")
            else:
                value = UNDEFINED
        if value is MAIN:
            result.follow(self._at(*self._in_main(())))
        else:
            result.settle(value)

    def _in_main(self, path: Path) -> tuple[Cell, Path]:
        if self._main is not None:
            return self._work.served(self._main), path
        if not path or not isinstance(path[0], str):
            raise NotFound("name what is served here: api['name']", reason="main")
        return self._work.served(path[0]), path[1:]

    # --- calls ---

    def _call(self, use: Use, within: Within) -> Cell:
        result = Cell(self._session.turn)
        given = self._gathered(use.arguments, within)
        source, path = use.source, use.path
        if source.done and source.value is MAIN:
            try:
                source, path = self._in_main(path)
            except CapnetError as error:
                result.fail(error)
                return result
        target = self._at(source, path[:-1])

        def go_on(failed: CapnetError | None) -> None:
            if failed is not None:
                result.fail(failed)
            if result.done:  # it may have been given up
                return
            try:
                self._called(target.value, path[-1:], given.value, result)
            except CapnetError as error:
                result.fail(error)

        all_of(self._session.turn, (target, given), go_on)
        return result

    def _called(self, target: Any, last: Path, given: list[Any], result: Cell) -> None:
        stub = stub_of(target)
        name = str(last[0]) if last else ""
        if stub is not None:
            result.follow(self._session.ask(stub.number, last, given))
        elif isinstance(target, Pipe):
            _write(target, name, given, result)
        elif isinstance(target, Sink):
            self._work.write(target, name, given, result)
        elif not isinstance(target, Untyped):
            raise Unimplemented(f"this has no method {name[:100]!r}")
        elif not last and target.contract_name != FUNCTION:
            raise Unimplemented("this is an object, and no function")
        else:
            self._at_host(target, name or "call", given, result)

    def _at_host(self, target: Untyped, name: str, given: list[Any], result: Cell) -> None:
        self._line.append((target, name, given, result))
        if len(self._line) == 1:
            self._go_on()

    def _go_on(self) -> None:
        """Make the calls whose turn it is. What can be called on a capability may have to be asked for; then those
        behind wait as well, for no call overtakes another."""
        while self._line:
            target, name, given, result = self._line[0]
            told = self._description(target)
            if not told.done:
                told.when_done(self._go_on)
                return
            self._line.popleft()
            try:
                if told.error is not None:
                    raise told.error.again()
                if not result.done:  # it may have been given up
                    self._start(target, told.value.methods.get(name), name, given, result)
            except CapnetError as error:
                result.fail(error)

    def _start(
        self, target: Untyped, method: MethodDescription | None, name: str, given: list[Any], result: Cell
    ) -> None:
        if method is None:
            raise Unimplemented(f"{target.contract_name} has no method {name[:100]!r}")
        shape = method.result if mentions(method.result) else None
        begun = target.call(name, **arguments_of(method, given, self._work))

        async def answered() -> Any:
            value = await begun
            return value if shape is None else outgoing(value, shape, {})

        self._work.run(answered, result)

    def _description(self, target: Untyped) -> Cell:
        """What can be called on a capability; asked for once, for that stays when what is behind it is replaced."""
        known = self._known.get(target)
        cell = Cell(self._session.turn)
        if known is not None:
            cell.settle(known)
            return cell
        if target in self._asked:
            return self._asked[target]
        self._asked[target] = cell

        async def ask() -> ContractDescription:
            try:
                with move_on_after(PATIENCE):
                    self._known[target] = await describe(target)
            finally:
                del self._asked[target]
            if target not in self._known:
                raise Unavailable(f"nobody has told in {PATIENCE:g} s what can be called on this", reason="timeout")
            return self._known[target]

        self._work.run(ask, cell, forgettable=False)
        return cell

    # --- map ---

    def _map(self, remap: Remap, within: Within) -> Cell:
        source = self._at(remap.source, remap.path)
        result = Cell(self._session.turn)

        def go_on() -> None:
            if source.error is not None:
                result.fail(source.error)
                return
            try:
                Mapped(self, self._session, remap, within).begin(source.value, result)
            except CapnetError as error:
                result.fail(error)

        source.when_done(go_on)
        return result

    def instruction(self, reader: Reader, instruction: Any, within: Within) -> Cell:
        """See `Instructions`."""
        cell = Cell(self._session.turn)
        try:
            tree = reader.read(instruction)
        except BadMessage as error:
            cell.fail(InvalidArgument(f"an instruction of a map: {error}"))
            return cell
        self._session.counts.work += reader.count
        return self.value(tree, within)

    def later(self, step: Callable[[], None]) -> None:
        """See `Instructions`."""
        self._work.later(step)


def _filled(tree: Any, found: dict[int, Cell]) -> Any:
    if isinstance(tree, dict):
        filled = {key: _filled(one, found) for key, one in cast("dict[str, Any]", tree).items()}
        return {key: one for key, one in filled.items() if one is not UNDEFINED}
    if isinstance(tree, list):
        return [_filled(one, found) for one in cast("Any", tree)]
    cell = found.get(id(tree))
    return tree if cell is None else cell.value


def _element(values: Sequence[Any], step: str | int) -> Any:
    """What stands at an index, which a client may write as text."""
    if step == "length":
        return len(values)
    text = str(step)
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < len(values)):
        return UNDEFINED
    return values[int(text)]


def _write(pipe: Pipe, method: str, given: list[Any], result: Cell) -> None:
    match method, given:
        case "write", [item]:
            pipe.write(item, result)
        case "close", []:
            pipe.close(result)
        case "abort", _ if len(given) <= 1:
            pipe.abort(thrown(given[0] if given else UNDEFINED))
            result.settle(None)
        case _:
            raise Unimplemented(f"a stream has no method {method[:100]!r}")
