"""`Call`: a request that has left already. Awaiting collects its result, dropping it is a one-way use.

`Late` is what such a call will bring at a path, for as long as only this side knows of that.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from anyio import get_current_task

from capnet.contract import Cap, MethodSpec
from capnet.engine.calls import Call as EngineCall
from capnet.engine.calls import Target as EngineTarget
from capnet.errors import CallCancelled, CapnetError, DeadlineExceeded, FailedPrecondition
from capnet.loop import TimerHandle
from capnet.revocation.lineage import Granted
from capnet.session.held import Held
from capnet.session.session import Session
from capnet.wire.references import Reference as WireReference

__all__ = ["Call", "Caller", "Late", "NotYet", "Payloads", "Target"]

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
        "caller",
        "context",
        "entry",
        "method",
        "one_way",
        "started",
        "until",
    )

    def __init__(self, caller: Caller, method: MethodSpec) -> None:
        self.method = method
        self.started: tuple[float, int] | None = None
        """When it left and under which number, if that was reported to observers."""
        self.again: tuple[Target, dict[str, Any], float | None, Granted | None] | None = None
        """What an idempotent call needs to be made once more: target, arguments, when it must be done, lineage."""
        self.entry: EngineCall | None = None
        """The engine's record, until the call has ended."""
        self.caller = caller
        """Who has made it."""
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
            session = self.caller.session
            loop, driver = session.loop, session.driver
            waiter = loop.waiter()
            if self._waiter is None:
                self._waiter = waiter
            else:
                self.when_done(partial(loop.wake, waiter))
            self._waiting += 1
            try:
                if driver.engine.outbox.chunks and not driver.receiving and len(driver.engine.calls.by_id) == 1:
                    driver.flush()  # no company to wait for
                yield from waiter.__await__()
                if self._value is _PENDING:  # a task was given the coroutine in which another one waits here
                    loop.wake(waiter)  # that other one would wait for ever
                    raise RuntimeError("another task awaits this coroutine already: give both the same task")
            except BaseException:
                if self._waiting == 1:
                    self.give_up("")
                raise
            finally:
                self._waiting -= 1
                if self._waiter is waiter:
                    self._waiter = None
        return self._value if self._error is None else self.outcome()

    def cancel(self, reason: str = "") -> None:
        """Have the callee stop, and hear no more of it; the call counts as cancelled here at once. Idempotent."""
        if self.entry is not None:
            self.caller.session.loop.check()
            self.give_up(reason)

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
        return self._value  # type: ignore[no-any-return]

    def piped(self) -> None:
        """Something is made of what it will bring."""

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call back when it has ended, before anybody who awaits it goes on. It must not raise."""
        self._when_done = self._when_done or []
        self._when_done.append(callback)

    def give_up(self, reason: str, error: CapnetError | None = None) -> None:
        """Tell the peer, and end with `error`, or as cancelled. Once it has ended this does nothing."""
        if self.entry is not None:
            session = self.caller.session
            session.engine.cancel(self.entry, reason)
            self.end(None, error or CallCancelled(reason or "cancelled here"))
            session.driver.handle_events()
            session.driver.flush_soon()

    def end(self, value: Any, error: CapnetError | None) -> None:
        """The end, of which observers are told if they were of the beginning."""
        self.report(error)
        self.settle(value, error)

    def report(self, error: CapnetError | None) -> None:
        """Tell observers how it has ended, if they know of it."""
        if self.started is not None and self.entry is not None:
            session, (began, number) = self.caller.session, self.started
            session.publisher.call_answered(self.entry, number, self.method.name, error, session.loop.now() - began)

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
            self.caller.session.loop.wake(self._waiter)

    def expire_at(self, when: float, message: str = "the method's timeout has passed") -> None:
        """Give up at that time, whether or not the callee does."""
        self._timer = self.caller.session.loop.call_at(when, partial(self._expire, message))

    def _expire(self, message: str) -> None:
        if self.entry is not None:
            self.give_up("deadline", DeadlineExceeded(message))

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
            self.caller.session.loop.check()
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


class NotYet(Exception):
    """What is to be sent holds a promise whose call has to be answered first."""

    def __init__(self, call: Call[Any]) -> None:
        super().__init__("waits for another call")
        self.call = call


class Late:
    """What a call will bring at a path, when the callee does not keep it: known here only once it is answered.

    Args:
        call: the call.
        steps: into its result, as the caller writes them.
    """

    __slots__ = ("call", "generation", "id", "interface", "steps", "version")

    def __init__(self, call: Call[Any], steps: tuple[str | int, ...]) -> None:
        self.call = call
        self.steps = steps
        self.interface = ""
        self.version = 0
        self.generation = 0
        self.id = 0

    @property
    def broken(self) -> CapnetError | None:
        """The call's error, once it has failed."""
        return self.call.error

    def value(self) -> Any:
        """What stands there.

        Raises:
            NotYet: that is not known. CapnetError: the call's own error. FailedPrecondition: nothing stands there.
        """
        if not self.call.done:
            raise NotYet(self.call)
        value = self.call.outcome()
        for step in self.steps:
            try:
                value = getattr(value, step) if isinstance(step, str) and not hasattr(value, "keys") else value[step]
            except (LookupError, AttributeError, TypeError):
                raise FailedPrecondition("the path leads nowhere", reason="no_capability") from None
        return value

    def capability(self) -> Cap:
        """What stands there, which is to be passed on.

        Raises:
            NotYet, CapnetError: see `value`. FailedPrecondition: it is no capability.
        """
        value = self.value()
        if not isinstance(value, Cap):
            raise FailedPrecondition("the path leads to no capability", reason="no_capability")
        return value


Target: TypeAlias = EngineTarget | Late
"""What a call is made on."""


class Payloads(Protocol):
    """What turns values into plain data with references, and back: `capnet/references/payload.py`."""

    def value(self, value: Any, place: Any, /) -> Any:
        """Plain data or a reference for a value at its place; see `Enrich` in `capnet/wire/values.py`."""
        ...

    def lower_arguments(
        self, arguments: dict[str, Any], method: MethodSpec
    ) -> tuple[dict[str, Any], Sequence[WireReference]]:
        """Arguments by name as plain data, and the references in them."""
        ...

    def lift(self, value: Any, references: Sequence[WireReference]) -> Any:
        """A value that came, its references turned into objects."""
        ...

    def target_of(self, late: Late) -> EngineTarget:
        """What a promise has become, once its call is answered."""
        ...

    def reader(self, call: Call[Any]) -> Any:
        """The stream that a call will bring."""
        ...

    def queued(self, references: Sequence[WireReference], parent: Granted | None) -> None:
        """A frame with these references is on its way, and came of `parent`."""
        ...


class Caller(Protocol):
    """What makes calls at one peer: `capnet/calls/outgoing.py`."""

    session: Session
    held: Held
    payloads: Payloads

    def start(
        self,
        target: Target,
        method: MethodSpec,
        arguments: dict[str, Any],
        context: Mapping[str, str] | None = None,
    ) -> Call[Any]:
        """Make a call."""
        ...

    def notify(self, target: Target, method: MethodSpec, arguments: dict[str, Any]) -> None:
        """Make a one-way call."""
        ...

    def failed(self, call: Call[Any], error: CapnetError) -> None:
        """The peer has answered one with an error, or never will."""
        ...
