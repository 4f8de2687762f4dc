"""Nothing is kept by the code in C, however it ends: with a value, with a refusal, or for want of memory."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from capnet.errors import InvalidArgument, ProtocolViolation
from capnet.limits import Limits
from capnet.wire.charge import measured
from capnet.wire.codec import Codec, holds_long
from capnet.wire.frames import check
from capnet.wire.framing import FrameReader, header
from capnet.wire.references import AnswerRef, CapRef, StreamRef
from capnet.wire.values import is_plain
from tests.native.twins import PROFILES, RUNS, shaped
from tests.property.cbor import Generator

pytestmark = pytest.mark.skipif(not RUNS, reason="the code in C was not built, or is not wanted")

VALUE: list[Any] = [
    2, 2**64 - 1, -(2**64), "métod", {"a": [1.5, None, True, b"bytes"], "ü": {"€": []}, "r": CapRef("a.B", 1, None, 2)},
    [AnswerRef(7, ("x", 0, "é")), StreamRef("in", None, 3)],
]  # fmt: skip
ROUNDS = 200


def decode_any(codec: Codec, frames: list[bytes]) -> None:
    """Decode, encode and judge; whatever is refused is refused."""
    for frame in frames:
        with suppress(ProtocolViolation):
            value = codec.decode(frame)[0]
            codec.encode(value)
            check(value)


def encode_any(codec: Codec, values: list[Any]) -> None:
    """Encode and walk; whatever cannot travel cannot."""
    for value in values:
        is_plain(value, Limits())
        measured(value)
        with suppress(InvalidArgument, ProtocolViolation, AttributeError):
            codec.encode(value)
            check(value)
        holds_long(value)


def cut_any(stream: bytes) -> None:
    """Cut a stream in chunks, leave some of it, and find one frame too long."""
    reader = FrameReader(40)
    with suppress(ProtocolViolation):
        for start in range(0, len(stream), 50):
            frames = reader.frames(stream[start : start + 50])
            for number, _ in enumerate(frames):
                if number == 1:
                    reader.leave(frames)
                    break


def growth(work: Callable[[], object]) -> tuple[int, list[int]]:
    """By how many blocks the heap grows, and how often what lives for ever is referred to, in as many rounds."""
    lasting = [None, True, False, CapRef, AnswerRef, StreamRef, Codec, Codec.decode, "", ()]
    for _ in range(10):
        work()
    gc.collect()
    before, referred = sys.getallocatedblocks(), [sys.getrefcount(one) for one in lasting]
    for _ in range(ROUNDS):
        work()
    gc.collect()
    after, now = sys.getallocatedblocks(), [sys.getrefcount(one) for one in lasting]
    return after - before, [more - less for more, less in zip(now, referred, strict=True)]


@pytest.mark.parametrize("limits", PROFILES)
def test_nothing_is_kept(limits: Limits) -> None:
    """Good frames and bad ones, values that travel and values that do not, streams that end within a frame."""
    random = Random(2024)
    generator = Generator(random, faults=0.05)
    codec = Codec(limits)
    frames = [generator.frame() for _ in range(40)] + [codec.encode(VALUE), codec.encode(VALUE)[:-1]]
    values = [shaped(random) for _ in range(20)] + [VALUE, [object()], [2**65], ["\ud800"], [CapRef("\ud800", 1)]]
    stream = b"".join(header(size) + bytes(size) for size in (0, 3, 40, 9, 1, 1, 30, 41))
    for work in (
        lambda: decode_any(codec, frames),
        lambda: encode_any(codec, values),
        lambda: cut_any(stream),
        lambda: Codec(limits),
    ):
        blocks, references = growth(work)
        assert blocks < ROUNDS / 4, "something is kept every round"
        assert max(references) < ROUNDS / 4 and min(references) > -ROUNDS / 4


def test_want_of_memory() -> None:
    """Every allocation fails once: that is an error like any other, and the next frame is as if nothing had been."""
    testing = pytest.importorskip("_testcapi", reason="this Python was built without its own tests")
    codec = Codec(Limits())
    codec.encode(["\ud7ff"])
    frame = codec.encode(VALUE)
    large = [[VALUE[:4]] * 200]
    stream = (header(3) + b"abc") * 3 + header(3)
    deeds: list[Callable[[], object]] = [
        lambda: codec.decode(frame),
        lambda: codec.encode(VALUE),
        lambda: codec.encode(large),
        lambda: measured(VALUE),
        lambda: is_plain(VALUE, Limits()),
        lambda: Codec(Limits()),
        lambda: list(FrameReader(30).frames(stream)),
    ]
    for deed in deeds:
        deed()
        failed = 0
        for number in range(80):
            testing.set_nomemory(number, number + 1)
            try:
                deed()
            except MemoryError:
                failed += 1
            finally:
                testing.remove_mem_hooks()
        assert failed
        assert codec.encode(codec.decode(frame)[0]) == frame

    def everything_fails() -> None:
        for deed in deeds:
            for number in range(0, 80, 7):
                testing.set_nomemory(number, number + 1)
                try:
                    deed()
                except MemoryError:
                    pass
                finally:
                    testing.remove_mem_hooks()

    blocks, references = growth(everything_fails)
    assert blocks < ROUNDS / 4 and max(references) < ROUNDS / 4


def test_a_second_interpreter_has_the_pure_code() -> None:
    """What the code in C keeps is of one interpreter."""
    testing = pytest.importorskip("_testcapi", reason="this Python was built without its own tests")
    program = "from capnet import native; assert not native.RUNS, native.why()"
    assert testing.run_in_subinterp(f"import sys; sys.path[:] = {sys.path!r}\n{program}") == 0


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="collects between two steps of Python code, never in C")
def test_a_list_is_not_seen_before_it_is_full() -> None:
    """A collection while a frame is decoded runs code of others, which can look at every object there is."""
    seen: list[int] = []

    class Nosy:
        def __del__(self) -> None:
            seen.append(sum(type(found) is list and len(found) == 4321 for found in gc.get_objects()))

    frame = Codec(Limits()).encode([3, 1, [[number, []] for number in range(4321)]])
    codec = Codec(Limits())
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(3):
            cycle: list[Any] = [Nosy()]
            cycle.append(cycle)
            del cycle
            codec.decode(frame)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert len(seen) == 3 and sum(seen) == 0
