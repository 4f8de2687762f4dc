"""`State`: a value, and streams that begin with it and go on with its changes."""

from __future__ import annotations

from typing import Generic, TypeVar

from capnet.contract.copied import copied

from .subscription import Audience, Subscription

__all__ = ["State"]

T = TypeVar("T")


class State(Generic[T]):
    """A value that others follow. Use it from the loop's thread only.

        class Lamp(Switch):
            def __init__(self) -> None:
                self._on = State(False)

            def watch(self) -> Stream[bool]:
                return self._on.changes()

    When it is collected, the streams end as if it had been closed.

    Args:
        value: the first one.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._sent = copied(value)
        self._audience = Audience[T]()

    @property
    def value(self) -> T:
        """The current value, also after the end."""
        return self._value

    @property
    def subscribers(self) -> int:
        """Streams of changes that are open."""
        return len(self._audience)

    def set(self, value: T) -> None:
        """Change the value. Waits for nobody; an equal value is a change too, so compare first where that matters.

        Readers get it as it is now. What is done to a list or an object afterwards is no change until it is set again.

        Raises:
            FailedPrecondition: with reason `closed`, after the end; the value is as it was.
        """
        sent = copied(value)
        self._audience.put(sent)
        self._value, self._sent = value, sent

    def changes(self, *, buffer: int = 1, window: int | None = None) -> Subscription[T]:
        """The value as it is now, then every change from now on, with none lost between the two.

        A reader that is slower than the changes gets the newest; `lagged` counts what it did not see. After the end
        there are the last value and the end.

        Args:
            buffer: values kept for a slow reader. With 1 it gets the latest only.
            window: values that may be under way to a reader in another program beside those, from 1; as many as
                `buffer` when None.

        Raises:
            InvalidArgument: `buffer` or `window` is less than 1.
        """
        return self._audience.subscribe(buffer, "drop-oldest", first=(self._sent,), window=window)

    def close(self) -> None:
        """End all streams, each after the values it has still to read. Idempotent."""
        self._audience.end(None)

    def fail(self, error: Exception) -> None:
        """Like `close`, with an error; one that is no `CapnetError` tells nothing to a peer but a correlation id."""
        self._audience.end(error)
