"""A loop in a thread of its own, and what other threads have it do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from inspect import isawaitable
from threading import Lock, Thread
from typing import Any, Final

from anyio import CancelScope, Event, run

from capnet.errors import Unavailable
from capnet.loop import Loop, open_loop

__all__ = ["Background", "Errand", "forget", "gone"]

GLANCE: Final = 1.0
"""Seconds after which who waits looks whether it was interrupted."""


class Errand:
    """What one thread waits for while the loop does it.

    Args:
        function: called in the loop; what it gives is awaited if that can be.
        running: where it is while it runs.
    """

    def __init__(self, function: Callable[[], Any], running: set[Errand] | None = None) -> None:
        self._function = function
        self._running: set[Errand] = set() if running is None else running
        self._future: Future[Any] = Future()
        self._scope: CancelScope | None = None
        self._given_up = False

    def result(self, loop: Background) -> Any:
        """Have it done, and wait. Who is interrupted gives it up."""
        try:
            loop.begin(self)
            return self._waited()
        except Exception:
            raise
        except BaseException:
            self._given_up = True  # it may not have begun: then it must not
            loop.post(self.give_up)
            raise

    def _waited(self) -> Any:
        # A signal that comes just before a thread goes to sleep does not wake it.
        while True:
            try:
                return self._future.result(GLANCE)
            except TimeoutError:
                if self._future.done():
                    return self._future.result()

    def give_up(self) -> None:
        """Cancel it; in the loop."""
        if self._scope is not None:
            self._scope.cancel()

    async def run(self, loop: Background) -> None:
        """Do it; in the loop."""
        self._running.add(self)
        try:
            with CancelScope() as self._scope:
                if not self._given_up:
                    done = self._function()
                    self._future.set_result(await done if isawaitable(done) else done)
            self.end()
        except loop.cancelled:  # the loop ends; it tells us when it has ended
            raise
        except BaseException as error:
            self._future.set_exception(error)
        finally:
            self._running.discard(self)
        loop.over(self)

    def end(self) -> None:
        """Nothing comes of it any more."""
        if not self._future.done():
            self._future.set_exception(gone())


def gone() -> Unavailable:
    """What is said when it is over."""
    return Unavailable("this blocking connection is closed")


class Background:
    """The loop of a backend in a thread of its own, for as long as there is a connection in it.

    Args:
        backend: as `anyio.run` takes it.
    """

    _stop: Event
    _context: Context

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._connections = 0
        self._lock = Lock()
        self._waiting: set[Errand] | None = set()
        """What threads wait for; None when the loop has ended."""
        started: Future[Loop] = Future()
        self.thread = Thread(target=self._run, args=(started,), name=f"capnet on {backend}", daemon=True)
        self.thread.start()
        try:
            self._loop = started.result()
        except BaseException:
            started.cancel()  # we were interrupted: then it must not stay
            raise
        self.cancelled = self._loop.cancelled

    @classmethod
    def of(cls, backend: str) -> Background:
        """The one that runs, or a new one; `leave` it."""
        with _lock:
            loop = _loops.get(backend)
            if loop is None or loop.ended:  # ended by what ends programs, such as SystemExit
                loop = _loops[backend] = cls(backend)
            loop._connections += 1
            return loop

    @property
    def ended(self) -> bool:
        """Whether nothing is done there any more."""
        return self._waiting is None

    def enter(self) -> None:
        """One connection more; `leave` it."""
        with _lock:
            self._connections += 1

    def leave(self) -> None:
        """One connection less. The last one ends the loop, and all that runs in it."""
        with _lock:
            self._connections -= 1
            if self._connections:
                return
            if _loops.get(self._backend) is self:
                del _loops[self._backend]
        self.post(self._stop.set)
        self.thread.join()

    def post(self, callback: Callable[[], object]) -> None:
        """Have the loop call something soon; nothing, when it has ended."""
        self._loop.call_soon_threadsafe(callback)

    def begin(self, errand: Errand) -> None:
        """Have the loop do something.

        Raises:
            Unavailable: it has ended.
        """
        with self._lock:
            if self._waiting is None:
                raise gone()
            self._waiting.add(errand)
        # In the loop's context: what is known of a call that the waiting thread works for is for that loop.
        self.post(lambda: self._context.run(self._loop.spawn, errand.run, self))

    def over(self, errand: Errand) -> None:
        """It is done."""
        with self._lock:
            if self._waiting is not None:
                self._waiting.discard(errand)

    def _run(self, started: Future[Loop]) -> None:
        async def stay() -> None:
            self._stop = Event()
            self._context = copy_context()
            async with open_loop() as loop:
                if started.set_running_or_notify_cancel():
                    started.set_result(loop)
                    await self._stop.wait()

        try:
            run(stay, backend=self._backend)
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)
        finally:
            with self._lock:
                left, self._waiting = self._waiting, None
            for errand in left or ():
                errand.end()


_lock = Lock()
_loops: Final[dict[str, Background]] = {}


def forget() -> None:
    """A forked process has none of our threads."""
    global _lock
    _lock = Lock()
    _loops.clear()
