"""Approval: somebody is asked before a tool runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Final, TypeAlias, cast

from capnet.contract import CallContext
from capnet.errors import PermissionDenied
from capnet.observe.log import Log
from capnet.policy.policy import Denied, Verdict, refusal_of

from .contract import ToolDescription

__all__ = ["Approve", "ToolRequest", "approved"]

_log: Final = Log()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequest:
    """Somebody wants to call a tool that needs an approval.

    Attributes:
        tool: what it is.
        arguments: by name, as they came; the tool checks them later.
        dry_run: it only says what it would do.
        caller: who calls; None for the program itself.
    """

    tool: ToolDescription
    arguments: Mapping[str, Any]
    dry_run: bool
    caller: CallContext | None


Approve: TypeAlias = Callable[[ToolRequest], Verdict]


async def approved(approve: Approve | None, request: ToolRequest) -> None:
    """Ask, and return when the answer is yes.

    Raises:
        PermissionDenied: `not_approved`, or what else was said; `approval_failed` when asking has failed.
    """
    verdict: object = False
    if approve is not None:
        try:
            verdict = approve(request)
            if isawaitable(verdict):
                verdict = await cast("Awaitable[object]", verdict)
        except Exception as error:
            _log.unexpected("the approval of a tool", "", error)
            verdict = Denied("approval_failed")
    denied = refusal_of(verdict)
    if denied is not None:
        reason = denied.reason if isinstance(verdict, Denied) else "not_approved"
        raise PermissionDenied(f"{request.tool.name} was not approved", reason=reason, retry="never")
