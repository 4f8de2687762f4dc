"""What an evaluation works with where there is no host: everything is there at once, or is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from capnet import NotFound, Unimplemented
from capnet.gateways.capnweb.cells import Cell
from capnet.gateways.capnweb.session import Session


class Echo:
    """Serves a value with something of each kind in it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def served(self, name: str) -> Cell:
        cell = Cell(self._session.turn)
        if name == "main":
            cell.settle({"a": [1, {"a": [[2]]}, None], "": "text"})
        else:
            cell.fail(NotFound("nothing has this name"))
        return cell

    def run(self, work: Callable[[], Any], cell: Cell, *, forgettable: bool = True) -> None:
        raise AssertionError("there is no host to call")

    def later(self, step: Callable[[], None]) -> None:
        step()

    def write(self, sink: Any, method: str, arguments: list[Any], answer: Cell) -> None:
        raise AssertionError("there is nothing to write into")

    def lend(self, stub: Any, shape: Any) -> Any:
        raise Unimplemented("nothing is lent")

    def reader(self, end: Any, item: Any, scope: Mapping[str, Any]) -> Any:
        raise Unimplemented("nothing is read")

    def sink(self, stub: Any, item: Any, scope: Mapping[str, Any]) -> Any:
        raise Unimplemented("nothing is written")
