"""One session in front of one connection: what the client asks for is done at the host, and what comes is told.

The connection is the session's own. What its peer allows it is what the client may do, and nothing is decided here.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Self, cast

from anyio import CancelScope, create_task_group
from anyio.lowlevel import checkpoint

from capnet import (
    CallCancelled,
    CapnetError,
    Connection,
    ContractDescription,
    Internal,
    MethodDescription,
    Sink,
    Untyped,
    on_broken,
)

from .actions import Action, Answer, Close, Evaluate, Forget, Give, Question, Send, Stub
from .cells import Cell
from .evaluation import Evaluation
from .lending import Lent, lend
from .moving import ClientSink, Inflow, PipeReader, done, pump
from .session import Session
from .shapes import Declared, incoming, outgoing
from .streams import Readable
from .values import UNDEFINED

__all__ = ["Bridge"]

_log: Final = logging.getLogger("capnet.gateways.capnweb")


class Bridge:
    """Works for a session, which ends with the block.

        async with Bridge(connection, Session(), send, close) as bridge:
            bridge.feed(text)

    Args:
        connection: of this session alone.
        session: what the client says goes through it.
        send: takes a message for the client; it may not wait.
        close: the session has ended, for a reason; called once, after the last message.
        main: the served name that the client has from the start; None when it has all of them, by name.
        kinds: contracts that the client may fill in; see `lent_kinds`.
    """

    def __init__(
        self,
        connection: Connection,
        session: Session,
        send: Callable[[str], object],
        close: Callable[[str], object],
        *,
        main: str | None = None,
        kinds: Mapping[str, tuple[type[Lent], ContractDescription]] | None = None,
    ) -> None:
        self._connection = connection
        self._session = session
        self._tasks = create_task_group()
        self._send = send
        self._close = close
        self._kinds = kinds or {}
        self._evaluation = Evaluation(session, self, main)
        self._actions: deque[Action] = deque()
        self._acts = False
        self._running: dict[Cell, CancelScope] = {}
        self._served: dict[str, Cell] = {}
        self._inflows: dict[int, Inflow] = {}

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> bool | None:
        self._session.close()
        self.act()
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(*cast("Any", exc_info))

    def feed(self, text: str) -> None:
        """Do what a message of the client's asks for; calls go on after this."""
        self._actions.extend(self._session.feed(text))
        self.act()

    def act(self) -> None:
        """Do what the session says."""
        if self._acts:
            return  # it is being done
        self._acts = True
        try:
            self._actions.extend(self._session.take())
            while self._actions:
                self._do(self._actions.popleft())
                self._actions.extend(self._session.take())
        finally:
            self._acts = False

    def _do(self, action: Action) -> None:
        match action:
            case Send(text):
                self._send(text)
            case Evaluate(cell, tree):
                self._evaluation.begin(cell, tree)
            case Forget(answer):
                self._forget(answer)
            case Give():
                self._give(action)
            case Close(reason):
                self._close(reason)

    def _forget(self, answer: Answer) -> None:
        """Cancel what only this answer was for. What was never waited for was called for what it does."""
        cell: Cell | None = answer
        if not answer.pulled or answer.waiting > 1:
            return
        while cell is not None and not cell.done:
            following = cell.followed
            if isinstance(cell, Question):
                self._session.forget(cell)
            scope = self._running.pop(cell, None)
            if scope is not None:
                scope.cancel()
            elif following is None:
                cell.fail(CallCancelled("the client does not wait any more"))
            cell = following

    def _give(self, given: Give) -> None:
        end = given.end
        if not isinstance(end, Sink):
            self._tasks.start_soon(pump, aiter(given.end), self._session, given.number, self.act)
        elif given.over:
            self._inflows.pop(given.number).break_off()
        else:
            inflow = self._inflows[given.number] = Inflow(given.end, self._session, self.act)
            self._tasks.start_soon(inflow.run)

    # --- what has to wait: see `Work` ---

    def served(self, name: str) -> Cell:
        """See `Work`."""
        known = self._served.get(name)
        if known is not None:
            return known
        cell = self._served[name] = Cell(self._session.turn)

        async def ask() -> Untyped:
            try:
                found = await self._connection.bootstrap_untyped(name)
            except BaseException:
                del self._served[name]
                raise
            on_broken(found, lambda _: self._ended(name, cell))
            return found

        self.run(ask, cell, forgettable=False)
        return cell

    def _ended(self, name: str, cell: Cell) -> None:
        """What was served answers no more; something else may be served under the name, later."""
        if self._served.get(name) is cell:
            del self._served[name]

    def run(self, work: Callable[[], Any], cell: Cell, *, forgettable: bool = True) -> None:
        """See `Work`."""
        scope = CancelScope()
        if forgettable:
            self._running[cell] = scope
        self._tasks.start_soon(self._run, work, cell, scope)

    async def _run(self, work: Callable[[], Any], cell: Cell, scope: CancelScope) -> None:
        error: CapnetError = CallCancelled("the client does not wait any more")
        try:
            with scope:
                try:
                    cell.settle(await work())
                except CapnetError as failed:
                    error = failed
                except Exception:
                    _log.exception("a call of a client could not be worked on")
                    error = Internal("this could not be worked on")
            cell.fail(error)
        finally:
            self._running.pop(cell, None)
        self.act()

    def later(self, step: Callable[[], None]) -> None:
        """See `Work`."""
        self._tasks.start_soon(self._later, step)

    async def _later(self, step: Callable[[], None]) -> None:
        await checkpoint()
        self._session.turn.then(step)
        self.act()

    def write(self, sink: Any, method: str, arguments: list[Any], answer: Cell) -> None:
        """See `Work`."""
        declared = sink if isinstance(sink, Declared) else Declared(sink, "any", {})
        if method != "abort":
            arguments = [incoming(one, declared.item, declared.scope, self) for one in arguments]
        next(one for one in self._inflows.values() if one.sink is sink).put(method, arguments, answer)

    # --- what is the client's: see `Lender` ---

    def lend(self, stub: Stub, shape: Any) -> Any:
        """See `Lender`."""
        return lend(stub, shape, self._kinds, self._ask, self.act)

    def reader(self, end: Readable, item: Any, scope: Mapping[str, Any]) -> AsyncIterator[Any]:
        """See `Lender`."""
        return PipeReader(end, lambda value: incoming(value, item, scope, self), self.act)

    def sink(self, stub: Stub, item: Any, scope: Mapping[str, Any]) -> Sink[Any]:
        """See `Lender`."""
        return ClientSink(stub, self._session, lambda value: outgoing(value, item, scope), self.act)

    async def _ask(self, stub: Stub, path: tuple[str, ...], method: MethodDescription, given: Mapping[str, Any]) -> Any:
        """See `Ask`."""
        plain: list[Any] = []
        named: dict[str, Any] = {}
        for one in method.parameters.values():
            value = outgoing(given[one.name], one.type, {}) if one.name in given else UNDEFINED
            if not one.keyword_only:
                plain.append(value)
            elif value is not UNDEFINED:
                named[one.name] = value
        while plain and plain[-1] is UNDEFINED and not named:
            del plain[-1]
        question = self._session.ask(stub.number, path, [*plain, named] if named else plain)
        self.act()
        try:
            return incoming(await done(question), method.result, {}, self)
        finally:
            self._session.forget(question)
            self.act()
