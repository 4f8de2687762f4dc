"""Gates: what goes through one is ended, wherever it waits, when the gate is cut."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Protocol, TypeVar

from anyio import CancelScope

from capnet.contract import Reader, Sink
from capnet.errors import CapnetError, Revoked
from capnet.registry import Hosted
from capnet.revocation.lineage import check_loops, take_back, with_descendants
from capnet.streams.sink import StoppableSink

from .wrapper import Wrapper

__all__ = ["Gate", "GuardedSink", "GuardedStream", "Through"]

T = TypeVar("T")


class Through(Protocol):
    """Runs a step under a condition."""

    async def __call__(self, step: Callable[[], Awaitable[T]], /) -> T:
        """What the step brings.

        Raises:
            CapnetError: the condition does not hold, or does no longer.
        """
        ...


class Gate:
    """Open until it is cut, once and for all. Use it from the loop's thread only.

    Attributes:
        error: why it was cut, or None.
    """

    __slots__ = ("_scopes", "error")

    def __init__(self) -> None:
        self.error: CapnetError | None = None
        self._scopes: set[CancelScope] = set()

    def check(self) -> None:
        """Nothing, while it is open.

        Raises:
            Revoked: it was cut.
        """
        if self.error is not None:
            raise self.error.again()

    async def __call__(self, step: Callable[[], Awaitable[T]], /) -> T:
        """What a step brings, if the gate is open to its end; see `Through`."""
        self.check()
        brought: list[T] = []
        with CancelScope() as scope:
            self._scopes.add(scope)
            try:
                brought.append(await step())
            except Exception:
                self.check()
                raise
            finally:
                self._scopes.discard(scope)
        self.check()
        return brought[0]

    def cut(self, reason: str, wrappers: Iterable[Wrapper], granted: Iterable[Any] = ()) -> None:
        """Shut it: wrappers are taken back from the peers that have them, and what is under way is cancelled.

        Args:
            reason: told to those who have something.
            wrappers: what leads through it.
            granted: exports that lead through it, also where their wrapper is gone.
        """
        if self.error is not None:
            return
        wrappers = list(wrappers)
        held = [*granted, *(one for wrapper in wrappers for one in Hosted.of(wrapper).all_granted())]
        check_loops(held)
        for wrapper in wrappers:
            wrapper._capnet_inner.check_loop()  # noqa: SLF001 - contracts may use every public name, so this one is not
        self.error = Revoked(reason)
        take_back(with_descendants(held), reason)
        for scope in tuple(self._scopes):
            scope.cancel()
        for wrapper in wrappers:
            wrapper._capnet_inner.let_go()  # noqa: SLF001


def _same(item: Any) -> Any:
    return item


class GuardedStream(Reader[Any]):
    """A stream each step of which goes through something; when that fails, the stream is closed and fails.

    Args:
        source: where the items come from.
        through: what each step goes through.
        cross: what becomes of an item.
    """

    __slots__ = ("_cross", "_iterator", "_source", "_through")

    def __init__(self, source: AsyncIterable[Any], through: Through, cross: Callable[[Any], Any] = _same) -> None:
        self._source: AsyncIterable[Any] | None = source
        self._iterator: AsyncIterator[Any] | None = None
        self._through = through
        self._cross = cross

    @property
    def __capnet_source__(self) -> object | None:
        """See `Reader`."""
        return self._source

    async def __anext__(self) -> Any:
        if self._source is None:
            raise StopAsyncIteration
        if self._iterator is None:
            self._iterator = aiter(self._source)
        try:
            return self._cross(await self._through(self._iterator.__anext__))
        except (StopAsyncIteration, CapnetError):
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Want no more. Idempotent."""
        source, self._source = self._iterator or self._source, None
        self._iterator = None
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


class GuardedSink(StoppableSink[Any]):
    """A sink into which each item goes through something; when that fails, its reader is told.

    Args:
        sink: where the items go.
        gate: what each step goes through.
        cross: what becomes of an item.
    """

    def __init__(self, sink: Sink[Any], gate: Gate, cross: Callable[[Any], Any]) -> None:
        self._sink = sink
        self._gate = gate
        self._cross = cross
        if isinstance(sink, StoppableSink):
            self.conversion = sink.conversion

    async def send(self, item: Any) -> None:
        """See `Sink`."""
        crossed = self._cross(item)
        try:
            await self._gate(lambda: self._sink.send(crossed))
        except CapnetError as error:
            self.fail(CapnetError.again(error))
            raise

    async def aclose(self) -> None:
        """See `Sink`."""
        try:
            await self._gate(self._sink.aclose)
        except CapnetError as error:
            self.fail(CapnetError.again(error))
            raise

    def fail(self, error: CapnetError) -> None:
        """See `Sink`. After a cut that is why, whatever the writer says."""
        self._sink.fail(error if self._gate.error is None else self._gate.error.again())

    def let_in(self) -> bool:
        """See `StoppableSink`."""
        return not isinstance(self._sink, StoppableSink) or self._sink.let_in()

    def on_stopped(self, callback: Callable[[], object]) -> None:
        """See `StoppableSink`."""
        if isinstance(self._sink, StoppableSink):
            self._sink.on_stopped(callback)
