"""The call context and its sentinel."""

from __future__ import annotations

from capnet.contract import INJECT, CallContext
from capnet.transport import Attestation


def test_inject_says_what_it_is() -> None:
    """It shows as INJECT in signatures."""
    assert repr(INJECT) == "INJECT"


def test_a_context_holds_what_is_known_of_the_call() -> None:
    """All fields are given when the handler starts."""
    ctx = CallContext("plugin", Attestation(uid=5), 1.5, 7, "post", {"traceparent": "x"}, object())
    assert (ctx.peer, ctx.attestation.uid, ctx.deadline, ctx.call_id, ctx.method) == ("plugin", 5, 1.5, 7, "post")
    assert ctx.metadata == {"traceparent": "x"}


def test_a_context_says_who_the_caller_is() -> None:
    """What the attestation has, or nothing."""
    known, unknown = (
        CallContext("plugin", Attestation(principal=principal), None, 7, "post", {}, object())
        for principal in ("ann", None)
    )
    assert (known.principal, unknown.principal) == ("ann", None)
