"""`map`: the client has sent what is to be done with each element, as expressions in which 0 is the element."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from capnet import CapnetError, InvalidArgument, ResourceExhausted

from .cells import Cell
from .expressions import Reader, Remap
from .messages import BadMessage
from .session import Session
from .values import UNDEFINED, count_of

__all__ = ["VALUES", "Mapped", "Within"]

DEPTH: Final = 2
"""Of maps in maps."""
SIZE: Final = 1024
"""Values in the instructions of one map."""
PAUSE: Final = 1024
"""Values that are looked at until others have their turn, and those of one element."""
AT_ONCE: Final = 16
"""Elements that are worked on at once; in a map in a map it is one."""
VALUES: Final = 4
"""How many times the values of a message the maps in it may lead to."""


@dataclass(frozen=True, slots=True)
class Within:
    """The maps that something is in.

    Attributes:
        depth: how many.
        left: a list with the number of values that may still be looked at, in all of them.
    """

    depth: int
    left: list[int]


class Instructions(Protocol):
    """Works out the instructions."""

    def instruction(self, reader: Reader, instruction: Any, within: Within) -> Cell:
        """The value of one.

        Args:
            reader: of it.
            instruction: its expression.
            within: the maps that it is in.
        """
        ...

    def later(self, step: Callable[[], None]) -> None:
        """Go on with a step when others had their turn."""
        ...


class Mapped:
    """One map over one value.

    Args:
        instructions: works them out.
        session: of the client.
        remap: what is to be done.
        within: the maps that it is in.

    Raises:
        ResourceExhausted, InvalidArgument: it has too many instructions, or none.
    """

    def __init__(self, instructions: Instructions, session: Session, remap: Remap, within: Within) -> None:
        bounds = session.bounds
        if within.depth >= DEPTH:
            raise ResourceExhausted(f"maps are in at most {DEPTH - 1} other", reason="max_map_depth")
        if len(remap.instructions) > bounds.max_instructions:
            raise ResourceExhausted(f"a map has at most {bounds.max_instructions} instructions", reason="max_map")
        count_of(remap.instructions, SIZE, bounds.max_depth)
        if not remap.instructions:
            raise InvalidArgument("a map has at least one instruction")
        self._instructions = instructions
        self._session = session
        self._remap = remap
        self._within = Within(within.depth + 1, within.left)
        self._left = within.left
        self._values: list[Any] = []
        self._results: list[Any] = []
        self._next = self._running = 0
        self._paused = self._left[0]
        self._pauses = False
        self._error: CapnetError | None = None

    def begin(self, value: Any, result: Cell) -> None:
        """Settle a cell with what becomes of a value: of each element of an array, or of itself.

        Raises:
            ResourceExhausted: it has too many elements.
        """
        if value is None or value is UNDEFINED:
            result.settle(value)
            return
        many = isinstance(value, list)
        self._values = value if many else [value]
        if len(self._values) > self._session.bounds.max_elements:
            most = self._session.bounds.max_elements
            raise ResourceExhausted(f"a map goes over at most {most} elements", reason="max_map")
        self._results = [None] * len(self._values)
        self._go_on(result, many)

    def _go_on(self, result: Cell, many: bool) -> None:
        at_once = AT_ONCE if self._within.depth == 1 else 1
        while not self._pauses and self._error is None and self._running < at_once and self._next < len(self._values):
            if self._left[0] < 0:
                self._error = ResourceExhausted("a map leads to too many values", reason="max_values")
            elif self._paused - self._left[0] > PAUSE:
                self._pause(result, many)
            else:
                self._element(self._next, result, many)
                self._next += 1
        if self._error is not None:
            result.fail(self._error)
        elif not self._running and self._next == len(self._values):
            made = self._results if many else self._results[0]
            try:
                self._session.counts.check(made)
                result.settle(made)
            except ResourceExhausted as error:
                result.fail(error)

    def _pause(self, result: Cell, many: bool) -> None:
        def go_on() -> None:
            self._paused, self._pauses = self._left[0], False
            self._go_on(result, many)

        self._pauses = True
        self._instructions.later(go_on)

    def _element(self, index: int, result: Cell, many: bool) -> None:
        element = Cell(self._session.turn)
        element.settle(self._values[index])
        variables = [element]
        numbers = _Variables(self._remap.captures, variables)
        counts = self._session.counts
        for instruction in self._remap.instructions:
            before = counts.work
            reader = Reader(numbers, self._session.bounds.max_depth)
            variables.append(self._instructions.instruction(reader, instruction, self._within))
            self._left[0] -= counts.work - before
        self._running += 1
        last = variables[-1]

        def there() -> None:
            self._running -= 1
            self._results[index] = last.value
            self._error = self._error or last.error
            self._go_on(result, many)

        last.when_done(there)


class _Variables:
    """What numbers stand for in instructions; see `Numbers`."""

    def __init__(self, captures: list[Cell], variables: list[Cell]) -> None:
        self._captures = captures
        self._variables = variables

    def ours(self, number: int) -> Cell:
        found = self._variables[number:] if number >= 0 else self._captures[-number - 1 :]
        if not found:
            raise BadMessage("nothing has this number here")
        return found[0]

    def theirs(self, kind: str, number: int) -> Any:
        raise BadMessage("nothing can be given here")

    def readable(self, number: int) -> Any:
        raise BadMessage("nothing can be read here")
