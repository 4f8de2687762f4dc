"""`Call`: a request that has left already. Awaiting collects its result, dropping it is a one-way use."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from anyio import get_current_task

from capnet.contract import MethodSpec
from capnet.engine.calls import Call as EngineCall
from capnet.engine.calls import Target
from capnet.errors import CapnetError, DeadlineExceeded
from capnet.loop import TimerHandle

if TYPE_CHECKING:
    from capnet.calls.dependent import Late
    from capnet.connection.connection import Connection
    from capnet.revocation.lineage import Granted

__all__ = ["Call"]

T = TypeVar("T")
_PENDING: Final = object()


class Call(Coroutine[Any, Any, T], Generic[T]):
    """What calling a method of a proxy gives.

    It can be awaited, also by `tg.start_soon(proxy.method, …)`, by several tasks, and again once it is done: each gets
    the result. When the last that awaits it leaves by cancellation, the remote call is cancelled. The connection keeps
    it until it is answered, so dropping it loses nothing but the result; references in a result that nobody collects
    go back by themselves.
    """

    __slots__ = (
        "__weakref__",
        "_error",
        "_runners",
        "_timer",
        "_value",
        "_waiter",
        "_waiting",
        "_when_done",
        "again",
        "connection",
        "context",
        "entry",
        "method",
        "one_way",
        "started",
        "until",
    )

    def __init__(self, connection: Connection, method: MethodSpec) -> None:
        self.method = method
        self.started: tuple[float, int] | None = None
        """When it left and under which number, if that was reported to observers."""
        self.again: tuple[Target | Late, dict[str, Any], float | None, Granted | None] | None = None
        """What an idempotent call needs to be made once more: target, arguments, when it must be done, lineage."""
        self.entry: EngineCall | None = None
        """The engine's record, until the call has ended."""
        self.connection = connection
        self.context: Mapping[str, str] | None = None
        """Text that goes along."""
        self.one_way = False
        """Nothing comes back; only used while it is deferred."""
        self.until: float | None = None
        """When it has to be answered, while it is deferred."""
        self._value: Any = _PENDING
        self._error: CapnetError | None = None
        self._waiter: Any = None
        """Of the task that awaits it; others beside it are among `_when_done`."""
        self._waiting = 0
        """How many tasks await it."""
        self._timer: TimerHandle | None = None
        self._when_done: list[Callable[[], object]] | None = None
        self._runners: dict[int, Generator[Any, Any, T]] | None = None
        """What drives it like a coroutine: one for each task that does."""

    def __await__(self) -> Generator[Any, Any, T]:
        if self.entry is not None:
            connection = self.connection
            connection.loop.check()
            driver = connection.driver
            waiter = connection.loop.waiter()
            if self._waiter is None:
                self._waiter = waiter
            else:
                self.when_done(partial(connection.loop.wake, waiter))
            self._waiting += 1
            try:
                if driver.engine.outbox.chunks and not driver.receiving and len(driver.engine.calls.by_id) == 1:
                    driver.flush()  # no company to wait for
                yield from waiter.__await__()
            except BaseException:
                if self._waiting == 1:
                    connection.cancel_call(self, "")
                raise
            finally:
                self._waiting -= 1
                if self._waiter is waiter:
                    self._waiter = None
        return self.outcome()

    def cancel(self, reason: str = "") -> None:
        """Have the callee stop, and hear no more of it; the call counts as cancelled here at once. Idempotent."""
        if self.entry is not None:
            self.connection.loop.check()
            self.connection.cancel_call(self, reason)

    @property
    def done(self) -> bool:
        """Whether awaiting gives the result (or error) without waiting."""
        return self.entry is None

    # For the connection

    @property
    def error(self) -> CapnetError | None:
        """What it has failed with."""
        return self._error

    def outcome(self) -> T:
        """The result of a call that is done.

        Raises:
            CapnetError: what it has failed with.
        """
        if self.entry is not None:
            raise RuntimeError("this call is not done")
        if self._error is not None:
            # A new one each time: an error that is kept and raised would keep the frames it went through.
            raise self._error.again()
        return cast("T", self._value)

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call back when it has ended, before anybody who awaits it goes on. It must not raise."""
        self._when_done = self._when_done or []
        self._when_done.append(callback)

    def settle(self, value: Any, error: CapnetError | None) -> None:
        """The end: exactly once."""
        self.entry = None
        self._value = value
        self._error = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._when_done is not None:
            callbacks, self._when_done = self._when_done, None
            for callback in callbacks:
                callback()
        if self._waiter is not None:
            self.connection.loop.wake(self._waiter)

    def expire_at(self, when: float, message: str = "the method's timeout has passed") -> None:
        """Give up at that time, whether or not the callee does."""
        self._timer = self.connection.loop.call_at(when, partial(self._expire, message))

    def _expire(self, message: str) -> None:
        if self.entry is not None:
            self.connection.cancel_call(self, "deadline", DeadlineExceeded(message))

    # Coroutine, so that task groups take it

    def send(self, value: Any, /) -> Any:
        """Advance like a coroutine."""
        return self._drive(lambda runner: runner.send(value))

    def throw(self, *error: Any) -> Any:
        """Raise inside, like a coroutine."""
        return self._drive(lambda runner: runner.throw(*error))

    def close(self) -> None:
        """End the await, like a coroutine: a call that nobody else awaits is cancelled."""
        runners, self._runners = self._runners or {}, None
        for runner in runners.values():
            runner.close()

    def _drive(self, step: Callable[[Generator[Any, Any, T]], Any]) -> Any:
        """A step of the running task's wait: that of another task is not its to resume."""
        if self.entry is not None:
            self.connection.loop.check()
        task = get_current_task().id
        if self._runners is None:
            self._runners = {}
        runners = self._runners
        runner = runners.get(task)
        if runner is None:
            runner = runners[task] = self.__await__()
        try:
            return step(runner)
        except BaseException:  # it has ended, with its result or otherwise
            runners.pop(task, None)
            raise

    def __repr__(self) -> str:
        return f"<Call {self.method.contract}.{self.method.name} {'done' if self.done else 'pending'}>"
