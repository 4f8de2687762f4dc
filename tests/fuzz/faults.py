"""Planted faults: each breaks one rule that a target holds, and the target's corpus must show it.

A fault returns the name of that target. Faults of the engine's logic are shared with the pair machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

import cbor2
import pytest

from capnet.engine.answers import Answers
from capnet.engine.closing import Closing
from capnet.engine.engine import Engine
from capnet.engine.stream import InStream
from capnet.errors import ProtocolViolation, ResourceExhausted
from capnet.gateways.bounds import Share
from capnet.gateways.capnweb import messages
from capnet.gateways.capnweb.answers import Answers as WebAnswers
from capnet.gateways.capnweb.session import Session as WebSession
from capnet.gateways.capnweb.streams import Pipe
from capnet.gateways.jsonrpc import Session
from capnet.gateways.jsonrpc.pending import Load, Pending
from capnet.gateways.mcp import session as of_mcp
from capnet.gateways.mcp.asking import Asking
from capnet.native import RUNS
from capnet.wire import codec, framing, hello
from tests.native.alone import pure_code_alone
from tests.property.pair import mutants

__all__ = ["FAULTS", "Fault", "plant"]

Fault = Callable[[pytest.MonkeyPatch], str]


def _nothing(*_: object) -> None:
    pass


def _yes(*_: object) -> bool:
    return True


def _no(*_: object) -> bool:
    return False


def long_frames_share_their_bytes(patch: pytest.MonkeyPatch) -> str:
    """The buffer of a long frame is used again while somebody still has the frame."""

    class Shared(BytesIO):
        def getvalue(self) -> bytes:
            return memoryview(super().getvalue())  # type: ignore[return-value]

    patch.setattr(framing, "BytesIO", Shared)
    patch.setattr(framing, "_spare", [])
    return "framing"


def the_limit_is_checked_too_late(patch: pytest.MonkeyPatch) -> str:
    """A frame one byte over the limit passes."""

    def begin(self: framing.FrameReader, limit: int) -> None:
        original(self, limit + 1)

    original = framing.FrameReader.__init__
    patch.setattr(framing.FrameReader, "__init__", begin)
    return "framing"


def what_is_left_is_lost(patch: pytest.MonkeyPatch) -> str:
    """Of a chunk that ends within a header nothing is kept."""

    def frames(self: framing.FrameReader, data: Any) -> Iterable[bytes]:
        yield from original(self, data)
        if len(self.held) < framing.HEADER_BYTES:
            self.held.clear()

    original = framing.FrameReader.frames
    patch.setattr(framing.FrameReader, "frames", frames)
    return "framing"


def bytes_behind_the_item_pass(patch: pytest.MonkeyPatch) -> str:
    """A frame that is not scanned may have anything behind its item."""
    patch.setattr(codec, "_OPEN", b"")
    patch.setattr(codec, "_CLOSE", b"")

    def loads(data: bytes, **options: Any) -> tuple[Any, bytes]:
        return original(data, **options), codec._SEAL

    original = vars(codec)["loads"]
    patch.setattr(codec, "loads", loads)
    return "decoding"


def simple_values_pass(patch: pytest.MonkeyPatch) -> str:
    """Undefined and simple values come out of the decoder."""
    patch.setattr(codec, "_LEAVES", frozenset((*codec._LEAVES, cbor2.CBORSimpleValue, type(cbor2.undefined))))
    return "decoding"


def references_out_of_order(patch: pytest.MonkeyPatch) -> str:
    """References are given in another order than they stand in."""

    def decode(self: codec.Codec, frame: bytes) -> Any:
        value, references = original(self, frame)
        return value, references[::-1]

    pure_code_alone(patch)
    original = codec.Codec.decode
    patch.setattr(codec.Codec, "decode", decode)
    return "decoding"


def references_of_a_refused_frame_stay(patch: pytest.MonkeyPatch) -> str:
    """What was found in a frame that was refused is given with the next."""

    def decode(self: codec.Codec, frame: bytes) -> Any:
        left = self._found
        value, references = original(self, frame)
        return value, [*left, *references]

    pure_code_alone(patch)
    original = codec.Codec.decode
    patch.setattr(codec.Codec, "decode", decode)
    return "decoding"


def wide_text_weighs_nothing(patch: pytest.MonkeyPatch) -> str:
    """The pure code and the code in C charge for different things."""
    patch.setattr(codec, "HEAD", vars(codec)["HEAD"] - 1)
    return "native"


def any_name_is_taken(patch: pytest.MonkeyPatch) -> str:
    """A peer may call itself anything."""
    patch.setattr(hello, "is_name", _yes)
    return "hello"


def limits_may_be_too_low(patch: pytest.MonkeyPatch) -> str:
    """A limit below what every peer must accept ends in an exception that nobody declared."""
    patch.setattr(hello, "_too_low", _nothing)
    return "hello"


def nothing_guards_the_handshake(patch: pytest.MonkeyPatch) -> str:
    """A peer may take as long as it wants to introduce itself."""
    patch.setattr(Engine, "_ring", _nothing)
    return "hello"


def the_hello_may_be_said_twice(patch: pytest.MonkeyPatch) -> str:
    """A violation is said without ending anything."""

    def by_violation(self: Closing, violation: ProtocolViolation) -> None:
        self._tables.outbox.send([16, violation.clause, violation.message])

    patch.setattr(Closing, "by_violation", by_violation)
    return "hello"


def type_errors_come_out(patch: pytest.MonkeyPatch) -> str:
    """Items of a set that cannot be hashed are somebody else's problem."""

    def judged(error: Exception) -> Exception:
        return error

    patch.setattr("capnet.contract.conversion.judged", judged)
    return "conversion"


def credit_is_not_checked(patch: pytest.MonkeyPatch) -> str:
    """A producer may send as much as it wants."""

    def charge(self: InStream, items: int, size: int) -> None:
        self.items -= items
        self.bytes -= size
        self.came += items

    patch.setattr(InStream, "charge", charge)
    return "engine"


def slots_without_end(patch: pytest.MonkeyPatch) -> str:
    """Any number of handlers run."""
    patch.setattr(Answers, "full", property(_no))
    return "engine"


def an_abort_is_said_twice(patch: pytest.MonkeyPatch) -> str:
    """A violation is named, and named again."""

    def by_violation(self: Closing, violation: ProtocolViolation) -> None:
        self._tables.outbox.send([16, violation.clause, violation.message])
        original(self, violation)

    original = Closing.by_violation
    patch.setattr(Closing, "by_violation", by_violation)
    return "engine"


def requests_are_answered_twice(patch: pytest.MonkeyPatch) -> str:
    """A request that was answered is open still."""
    patch.setattr(Session, "_drop", _yes)
    return "jsonrpc"


def what_was_sent_is_forgotten(patch: pytest.MonkeyPatch) -> str:
    """What waits for the client does not count."""
    patch.setattr(Session, "_count", _nothing)
    return "jsonrpc"


def the_share_of_a_principal_is_not_looked_at(patch: pytest.MonkeyPatch) -> str:
    """Sessions of one principal do not know of each other."""
    refusal = Pending.refusal

    def alone(self: Pending, load: Load) -> ResourceExhausted | None:
        share, self._share = self._share, Share()
        try:
            return refusal(self, load)
        finally:
            self._share = share

    patch.setattr(Pending, "refusal", alone)
    return "jsonrpc"


def requests_of_mcp_are_answered_twice(patch: pytest.MonkeyPatch) -> str:
    """One that is worked on is begun again."""
    patch.setattr(of_mcp.Request, "key", property(lambda _: object()))
    return "mcp"


def requests_of_mcp_have_any_id(patch: pytest.MonkeyPatch) -> str:
    """What is no id is taken for one."""
    patch.setattr(of_mcp, "_is_id", _yes)
    return "mcp"


def answers_of_mcp_are_taken_twice(patch: pytest.MonkeyPatch) -> str:
    """A server may answer what nobody has asked."""
    feed = Asking.feed

    def any_answer(self: Asking, text: str | bytes) -> Any:
        self._open.update(range(1, 4))
        return feed(self, text)

    patch.setattr(Asking, "feed", any_answer)
    return "mcp"


def stubs_are_given_back_twice(patch: pytest.MonkeyPatch) -> str:
    """What is given back to the client is given back again."""
    original = WebSession.give_back

    def give_back(self: WebSession, number: int) -> None:
        original(self, number)
        original(self, number)

    patch.setattr(WebSession, "give_back", give_back)
    return "capnweb"


def what_is_there_counts_as_worked_on(patch: pytest.MonkeyPatch) -> str:
    """What was worked on takes up room for ever."""
    patch.setattr(WebAnswers, "is_there", _nothing)
    return "capnweb"


def pipes_are_never_over(patch: pytest.MonkeyPatch) -> str:
    """A pipe that the client gives back stays open."""
    patch.setattr(Pipe, "break_off", _nothing)
    return "capnweb"


def halves_of_surrogates_are_kept(patch: pytest.MonkeyPatch) -> str:
    """What no message can hold is in one."""
    patch.setattr(messages, "_HALF", re.compile("(?!)"))
    return "capnweb"


def _shared(mutant: mutants.Patch, target: str) -> Fault:
    def fault(patch: pytest.MonkeyPatch) -> str:
        mutant(patch)
        return target

    fault.__name__ = f"{target}-{mutant.__name__}"
    return fault


FAULTS: list[Fault] = [
    long_frames_share_their_bytes,
    the_limit_is_checked_too_late,
    what_is_left_is_lost,
    bytes_behind_the_item_pass,
    simple_values_pass,
    references_out_of_order,
    references_of_a_refused_frame_stay,
    *([wide_text_weighs_nothing] if RUNS else []),
    any_name_is_taken,
    limits_may_be_too_low,
    nothing_guards_the_handshake,
    the_hello_may_be_said_twice,
    type_errors_come_out,
    credit_is_not_checked,
    slots_without_end,
    an_abort_is_said_twice,
    requests_are_answered_twice,
    what_was_sent_is_forgotten,
    the_share_of_a_principal_is_not_looked_at,
    requests_of_mcp_are_answered_twice,
    requests_of_mcp_have_any_id,
    answers_of_mcp_are_taken_twice,
    stubs_are_given_back_twice,
    what_is_there_counts_as_worked_on,
    pipes_are_never_over,
    halves_of_surrogates_are_kept,
    *(
        _shared(mutant, "engine")
        for mutant in (
            mutants.two_terminals,
            mutants.slot_freed_on_cancel,
            mutants.the_end_forgets_waiters,
            mutants.taken_back_exports_end_silently,
            mutants.terminal_lost,
        )
    ),
    *(
        _shared(mutant, "pair")
        for mutant in (
            mutants.two_terminals,
            mutants.slot_freed_on_cancel,
            mutants.rollback_lost,
            mutants.ids_used_again,
            mutants.replacement_does_nothing,
            mutants.credit_returned_twice,
            mutants.stopped_items_keep_their_references,
            mutants.line_not_kept,
            mutants.kept_is_not_released,
            mutants.contagion_lost,
        )
    ),
]


def plant(name: str) -> None:
    """Plant a fault for the rest of the process.

    Raises:
        LookupError: there is none of that name.
    """
    named = {fault.__name__: fault for fault in FAULTS}
    named[name](pytest.MonkeyPatch())
