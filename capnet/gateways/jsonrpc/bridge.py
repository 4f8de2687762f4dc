"""One session in front of one connection: what the client asks for is called, and what is asked of it is served.

The connection is the session's own. What its peer allows it is what the client may do, and nothing is decided here.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from anyio import BrokenResourceError, CancelScope, ClosedResourceError, EndOfStream, Event, Lock, move_on_after
from anyio.abc import TaskGroup

from capnet import CapnetError, Connection, Internal
from capnet.gateways.tasks import tasks_of_block
from capnet.gateways.values import Handles, check_travels

from .calling import Begins, Begun, Calling, Method
from .remotes import Foreign, Remote, remote
from .session import Action, Answered, Asked, Begin, Cancel, Close, Dropped, Request, Send, Session

__all__ = ["GONE", "Bridge", "Profile"]

GONE: Final = (EndOfStream, BrokenResourceError, ClosedResourceError, OSError)
"""What is raised by streams that have come to their end."""
_log: Final = logging.getLogger("capnet.gateways.jsonrpc")

Profile: TypeAlias = "Callable[[Connection, Bridge], Begins]"
"""Makes, for one client, what begins the calls that it asks for."""
_Write: TypeAlias = "Callable[[str], Awaitable[None]]"


class Bridge:
    """Works for a session.

        async with Bridge(connection, session, write).running() as bridge:
            bridge.feed(text)

    Args:
        connection: of this session alone.
        session: what the client says goes through it.
        write: sends a message to the client; it may wait until there is room.
        methods: what the client may call, by the names it uses; None for `NAME.method` and `NAME/method` of whatever
            is served.
        remotes: contracts that the client implements, which are served to the other side of the connection.
        profile: makes what decides in place of `methods` what is called, and serves what it wants.
    """

    def __init__(
        self,
        connection: Connection,
        session: Session,
        write: _Write,
        *,
        methods: Mapping[str, Method] | None = None,
        remotes: Collection[Remote] = (),
        profile: Profile | None = None,
    ) -> None:
        self._connection = connection
        self._session = session
        self._write = write
        self._handles = Handles(session.bounds.max_handles, self._function)
        self._running: dict[Request, CancelScope] = {}
        self._waiting: dict[Request, None] = {}
        """Requests that have not begun, in their order."""
        self._answers: dict[Asked, _Answer] = {}
        self._texts: deque[str] = deque()
        self._work = Event()
        """There is something to begin."""
        self._output = Event()
        """There is something to send."""
        self._room = Event()
        """The client has taken something, or something was done."""
        self._telling = Lock()
        """What is told in an order is sent in it, also when there is no room for a while."""
        self._scope = CancelScope()
        """All of it, while it runs."""
        self._calling: Begins
        if profile is not None:
            self._calling = profile(connection, self)
        else:
            self._calling = Calling(connection, self._handles, session.bounds.max_handles, methods)
            connection.serve(_Foreign(self))
            for one in remotes:
                connection.serve(remote(one, self.ask))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Bridge]:
        """Work until the end of the block, then give up what is left."""
        async with tasks_of_block() as tasks:
            self._scope = tasks.cancel_scope
            tasks.start_soon(self._begin_all, tasks)
            tasks.start_soon(self._send_all)
            tasks.start_soon(self._watch)
            try:
                yield self
            finally:
                self._act(self._session.end())
                self._news()

    def feed(self, text: str | bytes | None) -> None:
        """Do what a message of the client's asks for; calls go on after this.

        Args:
            text: None for one that was too long to be kept.
        """
        self._act(self._session.too_long() if text is None else self._session.feed(text))

    async def room(self) -> None:
        """Wait until more may be read from the client."""
        while self._session.crowded:
            await self._room.wait()

    async def finish(self) -> None:
        """Wait until all that the client has asked for is answered, and was sent."""
        while self._running or self._texts:
            await self._room.wait()

    async def ask(self, method: str, params: Any = None, *, behind_news: bool = False) -> Any:
        """Call a method of the client's, when it takes what it is sent.

        Args:
            method: as the client has it.
            params: a dict or a list, or None; what JSON cannot hold is a handle.
            behind_news: wait for the end of what the client's notifications before its answer have led to.

        Raises:
            CapnetError: what the client answers; Internal, `unencodable_result`, when that cannot be passed on.
            Unavailable: it has gone. ResourceExhausted: it has not answered too many.
        """
        async with self._telling:
            await self.room()
            asked, actions = self._session.ask(method, self.json(params))
            answer = self._answers[asked] = _Answer()
            self._act(actions)
        try:
            await answer.there.wait()
            while behind_news and not answer.news.isdisjoint(self._running):
                await self._room.wait()
        finally:
            del self._answers[asked]
            self._act(self._session.withdraw(asked))
        if answer.error is not None:
            raise answer.error
        check_travels(answer.result)
        return answer.result

    async def tell(self, method: str, params: Any = None) -> None:
        """Send the client a notification, when it takes what it is sent; in the order of these calls.

        Args and errors are those of `ask`.
        """
        async with self._telling:
            await self.room()
            self._act(self._session.tell(method, self.json(params)))

    def json(self, value: Any) -> Any:
        """A value as the client has it."""
        return self._handles.json(value)

    # What the session says

    def _news(self) -> None:
        self._room.set()
        self._room = Event()

    def _act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Send(text):
                    self._texts.append(text)
                    self._output.set()
                case Begin(request):
                    self._running[request] = CancelScope()
                    self._waiting[request] = None
                    self._work.set()
                case Cancel(request):
                    self._waiting.pop(request, None)
                    scope = self._running.pop(request, None)
                    if scope is not None:
                        scope.cancel()
                    self._news()
                case Answered(asked, result, error):
                    if (answer := self._answers.get(asked)) is not None:
                        answer.result, answer.error = result, error
                        answer.news = {request for request in self._running if request.id is None}
                        answer.there.set()
                case Dropped(why):
                    _log.info("dropped of %s: %s", self._connection.peer_name or "a client", why)
                case Close(why):
                    self._close(why)

    def _close(self, why: str) -> None:
        """End all of it, whatever waits."""
        _log.warning("a session ends: %s", why)
        self._scope.cancel()

    async def _send_all(self) -> None:
        patience = self._session.bounds.write_timeout
        while True:
            while self._texts:
                text = self._texts[0]
                with move_on_after(patience) as waiting:
                    try:
                        await self._write(text)
                    except GONE:
                        self._scope.cancel()
                        return
                if waiting.cancelled_caught:
                    self._close(f"the client has taken nothing for {patience:g} s")
                    return
                self._texts.popleft()
                self._session.taken(text)
                self._news()
            self._output = Event()
            await self._output.wait()

    async def _watch(self) -> None:
        """The other side closes the connection: there is nobody to call any more."""
        await self._connection.wait_closed()
        self._scope.cancel()

    # Requests

    async def _begin_all(self, tasks: TaskGroup) -> None:
        """Begin requests in the order they came in. Each is on its way before the next one is looked at."""
        while True:
            while self._waiting:
                request = next(iter(self._waiting))
                del self._waiting[request]
                begun: Begun | CapnetError | None = None
                with self._running[request]:
                    try:
                        begun = await self._calling.begin(request)
                    except CapnetError as error:
                        begun = error
                    except Exception as error:
                        begun = self._unexpected(error)
                if begun is None:
                    continue  # it was given up
                scope = CancelScope()
                if request in self._running:
                    self._running[request] = scope
                else:  # the same, just now: what was begun is cancelled
                    scope.cancel()
                tasks.start_soon(self._run, request, begun, scope)
            self._work = Event()
            await self._work.wait()

    async def _run(self, request: Request, begun: Begun | CapnetError, scope: CancelScope) -> None:
        with scope:
            try:
                if isinstance(begun, CapnetError):
                    raise begun
                actions = self._session.answer(request, await begun())
            except CapnetError as error:
                actions = self._refused(request, error)
            except Exception as error:
                actions = self._session.refuse(request, self._unexpected(error))
            if self._running.get(request) is scope:
                del self._running[request]
            if request.id is None:
                self._session.done(request)
            self._act(actions)
            self._news()
        for thing in self._handles.surplus():
            await thing.aclose()

    def _refused(self, request: Request, error: CapnetError) -> Sequence[Action]:
        if request.id is None:
            return [Dropped(f"a notification: {error}")]
        return self._session.refuse(request, error, self._handles.json(error.details))

    def _unexpected(self, error: Exception) -> CapnetError:
        _log.error("a request of a client could not be worked on", exc_info=error)
        return Internal("this could not be worked on")

    def _function(self, method: str) -> Any:
        """A function for the other side of the connection that calls a method of the client's."""

        async def function(*arguments: Any) -> Any:
            return await self.ask(method, list(arguments))

        return function


class _Answer:
    """What somebody waits for."""

    __slots__ = ("error", "news", "result", "there")

    def __init__(self) -> None:
        self.there = Event()
        self.news: set[Request] = set()
        """Notifications that came before it and are worked on."""
        self.result: Any = None
        self.error: CapnetError | None = None


class _Foreign(Foreign):
    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    async def request(self, method: str, params: dict[str, Any] | list[Any] | None = None) -> Any:
        return await self._bridge.ask(method, params)

    async def notify(self, method: str, params: dict[str, Any] | list[Any] | None = None) -> None:
        await self._bridge.tell(method, params)
