"""Faults of this program's own code: all of one is for the log and for observers, and next to nothing for the peer."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from uuid import uuid4

from capnet.contract import INVALID_VALUE
from capnet.errors import CapnetError, Internal, InvalidArgument, told
from capnet.observe import Bus, HandlerFailed
from capnet.observe.failure import failure_of
from capnet.observe.log import Log

__all__ = ["Faults"]


class Faults:
    """Those of one host or connection.

    Args:
        bus: whose observers want to know.
        publish: publishes there.
    """

    __slots__ = ("_born", "_bus", "_log", "_publish")

    def __init__(self, bus: Bus, publish: Callable[..., None]) -> None:
        self._bus = bus
        self._publish = publish
        self._log: Log | None = None
        self._born = monotonic()

    def unexpected(self, where: str, error: BaseException) -> Internal:
        """Our own code failed: log and tell observers everything, and give what the peer may know (P-ERR-2)."""
        correlation = uuid4().hex
        if self._log is None:
            self._log = Log(born=self._born)
        self._log.unexpected(where, correlation, error)
        if self._bus.wants(HandlerFailed):
            self._publish(HandlerFailed, where=where, correlation=correlation, error=failure_of(error))
        return Internal(
            f"the handler failed; {correlation} finds it in the callee's log", details={"correlation": correlation}
        )

    def refused(self, where: str, error: CapnetError) -> None:
        """What came was refused. If a class of ours did, its words are for the log and for observers, not for the peer.

        Args:
            where: what came, such as `arguments of chat.Room.post`.
            error: what is said instead; it gets the correlation id.
        """
        cause = error.__cause__
        if type(error) is InvalidArgument and error.reason == INVALID_VALUE and cause is not None:
            error.details |= self.unexpected(where, cause).details
            error.message += f"; {error.details['correlation']} finds why in the log"

    def unfit(self, what: str, error: BaseException, reason: str) -> InvalidArgument:
        """What came for us is of another type. The words of our own classes are the cause, for whoever is told.

        Args:
            what: such as `item of a stream`.
            error: what the conversion has raised.
            reason: of the error that is made of it.
        """
        if isinstance(error, CapnetError):
            self.refused(what, error)
            meant = told(error) or self.unexpected(what, error)
            unfit = InvalidArgument(f"{what}: {meant.message}", reason=reason, details=meant.details)
            unfit.__cause__ = error.__cause__
        else:
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next  # the caller's frame will refer to what is returned
            details = self.unexpected(what, error).details
            text = f"{what}: its class has failed; {details['correlation']} finds why in the log"
            unfit = InvalidArgument(text, reason=reason, details=details)
            unfit.__cause__ = error
        return unfit
