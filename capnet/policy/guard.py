"""`Guard`: a policy's say on each call, before its handler starts (P-CAP-7).

A guard that decides at once holds up nothing. While one takes its time over a call, the later calls on the same
reference wait behind it, so that they start in their order; calls on all others go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import Any

from capnet.contract import ContractSpec
from capnet.engine.answers import Answer, AnswerState
from capnet.engine.exports import BOOTSTRAP_ID, ONWARD_ID, Export
from capnet.errors import EXITS, CallCancelled
from capnet.registry import Hosted, Turns
from capnet.session.session import Session

from .policy import CallInfo, Denied, denial, refusal_of, settled

__all__ = ["Guard"]


class Guard:
    """The calls of one connection that a guard looks at.

    Args:
        hook: the policy's.
    """

    __slots__ = ("_hook", "_session", "lines")

    def __init__(self, session: Session, hook: Callable[[CallInfo], object]) -> None:
        self._session = session
        self._hook = hook
        self.lines: dict[Export | Hosted, Turns] = {}
        """Of those references on which a call is decided on."""

    def line(self, export: Export) -> Turns | None:
        """Where calls on a reference wait, while the guard decides on one of them."""
        return self.lines.get(_reference(export))

    def ask(self, export: Export, answer: Answer, arguments: Mapping[str, Any]) -> Awaitable[object] | None:
        """Ask about a call. Returns what `begin` is to wait for when the guard takes its time, else None: it may start.

        Raises:
            PermissionDenied: the guard says no.
        """
        if export.id == BOOTSTRAP_ID:
            return None  # who may have a name is for `admit` to say
        session = self._session
        contract: ContractSpec | None = export.contract
        info = CallInfo(
            export.interface,
            answer.method,
            arguments,
            session.attestation,
            session.peer_name,
            answer.context,
            False,
            frozenset((export.interface,)) if contract is None else contract.names,
        )
        try:
            verdict = self._hook(info)
        except EXITS:
            raise
        except BaseException as error:
            session.faults.unexpected("guard", error)
            verdict = Denied("policy_failed")
        if type(verdict) is not bool and isawaitable(verdict):
            if export.subject.turns is None:  # else no call begins before this one has ended, anyway
                self.lines.setdefault(_reference(export), Turns()).take(answer)
            return verdict
        if self.lines:
            self.decided(answer)
        if verdict is not True:
            self._check(answer, verdict)
        return None

    async def begin(self, answer: Answer, verdict: Awaitable[object], start: Callable[[], Any], *, waits: bool) -> Any:
        """Start a handler once the guard has said yes.

        Args:
            start: starts it.
            waits: whether what it gives is to be awaited; a stream is not.

        Raises:
            PermissionDenied: the guard says no. CallCancelled: the call has ended meanwhile.
        """
        session = self._session
        try:
            said = await settled(session.loop, session.faults, "guard", session.limits.policy_timeout, lambda: verdict)
        finally:
            self.decided(answer)
        self._check(answer, said)
        if answer.state is not AnswerState.RUNNING:
            raise CallCancelled("the call ended while the guard decided")
        running = start()
        return await running if waits else running

    def decided(self, answer: Answer) -> None:
        """There is nothing to decide on a call any more: the next on that reference is looked at."""
        if not self.lines or answer.export is None:
            return
        reference = _reference(answer.export)
        turns = self.lines.get(reference)
        if turns is not None:
            turns.leave(answer)
            if turns.holder is None:
                del self.lines[reference]

    def _check(self, answer: Answer, verdict: object) -> None:
        denied = refusal_of(verdict)
        if denied is not None:
            self._session.publisher.denied(answer.interface, answer.method, denied.reason)
            raise denial(f"{answer.interface}.{answer.method}", denied)


def _reference(export: Export) -> Export | Hosted:
    """What calls on one reference share: what leads back to the caller's own is an export of each call's own."""
    return export.subject if export.id == ONWARD_ID else export
