"""`Once`: a call that is made again when its line was cut, and runs once (P-CALL-10)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

from capnet import Connection, FailedPrecondition, Indeterminate, Unavailable
from capnet.calls.metadata import going_along
from capnet.cli.exits import Exit, Stop
from capnet.dispatch.operations import EXPIRED
from capnet.wire.frames import OPERATION

__all__ = ["Once"]

MOST: Final = 5
"""How often it is made: a host that ends with it each time is left alone."""


class Once:
    """One of them.

    Attributes:
        left: how often it may be made yet.
        cut: it was made, and its line was cut before there was an answer.
    """

    def __init__(self) -> None:
        self._id = f"{uuid4().hex} 1"
        self._life = ""
        """Of the host that it was made at first."""
        self.left = MOST
        self.cut = False

    @contextmanager
    def on(self, connection: Connection) -> Generator[None]:
        """The call that is made in the block is this one.

        Raises:
            Stop: the host keeps no answers. Indeterminate: it is another than before, or has forgotten.
        """
        if not connection._parts.keeps_answers:  # noqa: SLF001 - not for users
            raise Stop("the host keeps no answers, so it cannot tell what has run", exit_code=Exit.FAILED, hint=_HINT)
        id = f"{self._id} {self._life}" if self._life else self._id
        self._life = self._life or connection.peer_instance
        self.left -= 1
        before = going_along.set({OPERATION: id})
        try:
            yield
            self.cut = False
        except Unavailable:
            self.cut = connection.close_cause is not None
            raise
        except FailedPrecondition as error:
            if error.reason != EXPIRED:
                raise
            raise Indeterminate(f"it may have run or not: {error.message}", retry="never") from error
        finally:
            going_along.reset(before)


_HINT: Final = "`Host(operations=True)` has it keep them; without --once the call is made as it is"
