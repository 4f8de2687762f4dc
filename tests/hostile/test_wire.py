"""Bytes made to hurt the decoder: refused by clause, in bounded time and memory (T1…T4 of the threat table).

Several of these hang a decoder with its default settings, holding the interpreter, so that no timeout of this process
would help: every frame is decoded in a child, with little memory and a parent that kills it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

import pytest

from capnet.errors import ProtocolViolation
from capnet.limits import HANDSHAKE_FRAME, Limits
from capnet.wire import framing
from capnet.wire.codec import Codec
from capnet.wire.frames import Op, check
from capnet.wire.framing import FrameReader, header
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef
from tests.cost import TO_SPARE, reference_seconds

MIB = 1 << 20
ROOT = Path(__file__).parents[2]
KILL_AFTER = 120
"""Seconds a child may take, its start included; the hangs last for hours."""
MOST_SECONDS = 0.05
"""Seconds of the reference machine's processor that one frame of 1 MiB may take: the loop waits meanwhile."""


def head(major: int, argument: int) -> bytes:
    """The head of an item, in the form of 8 bytes."""
    return bytes([major << 5 | 27]) + argument.to_bytes(8)


def result(value: bytes) -> bytes:
    """A result frame with this value."""
    return b"\x83\x03\x01" + value


def repeated(unit: str, size: int = MIB) -> bytes:
    """A result that is an array of as many units as fit into so many bytes."""
    item = bytes.fromhex(unit)
    return result(head(4, size // len(item)) + item * (size // len(item)))


def pairs(keys: Iterator[bytes], count: int) -> bytes:
    """A result that is a map of null under each of these keys."""
    return result(head(5, count) + b"".join(key + b"\xf6" for key in keys))


def bignum(value: int) -> bytes:
    """Tag 2."""
    size = (value.bit_length() + 7) // 8
    return b"\xc2" + head(2, size) + value.to_bytes(size)


def shared_key(levels: int, opening: str) -> bytes:
    """A map key (or set) of tuples, each of which holds the one before it twice by reference: 2^levels to hash."""
    items = "d81c8100" + "".join(f"d81c82d81d{number:02x}d81d{number:02x}" for number in range(levels))
    assert levels < 24
    return bytes.fromhex(opening) + head(4, levels + 1) + bytes.fromhex(items)


def laughs(levels: int) -> bytes:
    """A list of ten references to the list before it, and so on."""
    items = "".join(f"d81c8a{f'd81d{number:02x}' * 10}" for number in range(levels))
    return result(head(4, levels + 1) + bytes.fromhex("d81c8a" + "00" * 10 + items))


REFUSED: dict[str, Callable[[], bytes]] = {
    # Depth: a recursive decoder would overflow its stack.
    "nested arrays": lambda: b"\x81" * MIB,
    "nested maps": lambda: b"\x81" + b"\xa1\x61\x61" * (MIB // 3),
    "nested map keys": lambda: b"\x81" + b"\xa1" * MIB,
    "nested references": lambda: b"\x81" + b"\xd9\xcc\xbb" * (MIB // 3),
    "nested shared values": lambda: b"\x81" + b"\xd8\x1c" * (MIB // 2),
    "nested arrays, short": lambda: b"\x81" * 16_000,
    "nested map keys, short": lambda: b"\x81" + b"\xa1" * 16_000,
    # Sizes that are announced and not there.
    **{
        f"{name} of {size}": lambda major=major, size=size: result(head(major, size))  # type: ignore[misc]
        for name, major in (("bytes", 2), ("text", 3), ("array", 4), ("map", 5))
        for size in (2**31, 2**60, 2**64 - 1)
    },
    # Time: hashing, comparing and computing that is more than linear.
    "tuples that share, as a key": lambda: shared_key(20, "8303" + "01a1"),
    "tuples that share, in a set": lambda: shared_key(20, "830301d90102"),
    "bignum keys of one hash": lambda: pairs((bignum(n * (2**61 - 1)) for n in range(1, 60_001)), 60_000),
    "bignum keys of one hash, short": lambda: pairs((bignum(n * (2**61 - 1)) for n in range(1, 801)), 800),
    "integer keys that collide": lambda: pairs((head(0, n << 32) for n in range(40_000)), 40_000),
    "integer keys that collide, short": lambda: pairs((head(0, n << 32) for n in range(1_600)), 1_600),
    "decimal fraction of a bignum": lambda: result(b"\xc4\x82\x00" + b"\xc2" + head(2, MIB) + b"\xff" * MIB),
    "bigfloat of a bignum": lambda: result(b"\xc5\x82\x00" + b"\xc2" + head(2, MIB) + b"\xff" * MIB),
    "decimal fraction that is huge": lambda: result(b"\xc4\x82" + head(0, 10**17) + b"\x01"),
    "bignum": lambda: result(b"\xc2" + head(2, MIB) + b"\xff" * MIB),
    "regular expression": lambda: result(b"\xd8\x23\x67(a+)+$x"),
    "regular expression that is huge": lambda: result(b"\xd8\x23" + head(3, 13 * 50) + b"(?i)[\\x01-zz]" * 50),
    "MIME message": lambda: result(b"\xd8\x24" + head(3, 65536) + b"\n" * 65536),
    # Memory: graphs that unfold, and values that are far larger than what is written of them.
    "cycle": lambda: result(bytes.fromhex("d81c81d81d00")),
    "laughs": lambda: laughs(9),
    "string references": lambda: result(
        b"\xd9\x01\x00" + head(4, 100_001) + head(3, 60_000) + b"x" * 60_000 + b"\xd8\x19\x00" * 100_000
    ),
    "empty arrays": lambda: repeated("80"),
    "empty maps": lambda: repeated("a0"),
    "arrays in arrays": lambda: repeated("8180"),
    "maps with arrays": lambda: repeated("a16080"),
    "simple values": lambda: repeated("e0"),
    "undefined": lambda: repeated("f7"),
    "nulls": lambda: repeated("f6"),
    "small maps": lambda: repeated("a16161f6"),
    "references": lambda: repeated("d9ccbb8302616101"),
    "maps in a map key": lambda: result(b"\xa1" + head(4, MIB // 3) + b"\xa1\x60\x80" * (MIB // 3) + b"\xf6"),
    "maps in a map key, short": lambda: result(b"\xa1" + head(4, 5_000) + b"\xa1\x60\x80" * 5_000 + b"\xf6"),
    # Text.
    "text that is not UTF-8": lambda: result(head(3, MIB) + b"a" * (MIB - 1) + b"\xff"),
    "a surrogate": lambda: result(bytes.fromhex("63eda080")),
    "a long key twice": lambda: result(b"\xa2" + (head(3, MIB) + b"k" * MIB + b"\x00") * 2),
    # Two readings of one frame.
    "three items": lambda: bytes.fromhex("830301f6" + "00" + "01"),
    "bytes and text of one key": lambda: result(bytes.fromhex("a2616101416102")),
    "a key twice": lambda: result(bytes.fromhex("a2616101616102")),
    "stray break": lambda: result(b"\xff"),
    "indefinite array": lambda: result(b"\x9f\xff"),
    "indefinite text": lambda: result(b"\x7f\x61a\xff"),
}
ACCEPTED: dict[str, Callable[[], bytes]] = {
    # The worst that the bounds let through.
    "most empty arrays": lambda: repeated("80", 65_000),
    "most maps": lambda: repeated("a16080", 3 * 21_000),
    "most references": lambda: repeated("d9ccbb8302616101", 8 * 1024),
    "wide text": lambda: result(head(3, MIB) + "\U0001f600".encode() + b"a" * (MIB - 4)),
    "one long byte string": lambda: result(head(2, MIB) + bytes(MIB)),
}
CASES = {**REFUSED, **ACCEPTED}


def measure(frame: bytes) -> dict[str, Any]:
    """Decode a frame: the clause it breaks, the least seconds of three, and the most memory beside it."""
    clause, codec = "", Codec(Limits())

    def decode() -> None:
        nonlocal clause
        try:
            codec.decode(frame)
        except ProtocolViolation as violation:
            clause = violation.clause

    seconds = reference_seconds(decode, tries=3)
    tracemalloc.start()
    with suppress(ProtocolViolation):
        codec.decode(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"clause": clause, "seconds": seconds, "peak": peak}


@pytest.fixture(scope="module")
def measuring() -> Generator[subprocess.Popen[str]]:
    """A program that has a child of its own measure each case that it is told: to start it takes longer than that."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.test_wire"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def verdict(measuring: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """What a child measures."""
    assert measuring.stdin is not None and measuring.stdout is not None
    print(name, file=measuring.stdin, flush=True)
    found: dict[str, Any] = json.loads(measuring.stdout.readline())
    assert "died" not in found, found
    return found


def parent() -> None:
    """Have each case measured, a line each."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            child(line.strip())
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status:
            print(json.dumps({"died": os.waitstatus_to_exitcode(status)}), flush=True)  # noqa: T201


def child(name: str) -> None:
    """Measure one case in 512 MiB of address space."""
    signal.alarm(KILL_AFTER)
    frame = CASES[name]()
    resource.setrlimit(resource.RLIMIT_AS, (512 * MIB, 512 * MIB))
    print(json.dumps(measure(frame)), flush=True)  # noqa: T201


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(measuring: subprocess.Popen[str], name: str) -> None:
    """T2, T3, T4: by P-FRAME-1 or P-FRAME-4, soon, and with no more memory than copies of the frame itself."""
    found = verdict(measuring, name)
    assert found["clause"] in {"P-FRAME-1", "P-FRAME-4"}
    assert found["seconds"] <= TO_SPARE * MOST_SECONDS
    assert found["peak"] <= 3 * len(REFUSED[name]()) + 3 * MIB


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_worst_that_is_legal_is_bounded(measuring: subprocess.Popen[str], name: str) -> None:
    """T3: what the bounds let through costs little time, and 8 MiB at most."""
    found = verdict(measuring, name)
    assert found["clause"] == ""
    assert found["seconds"] <= TO_SPARE * MOST_SECONDS
    assert found["peak"] <= 8 * MIB


@pytest.mark.parametrize("size", [HANDSHAKE_FRAME + 1, 2**31, 2**32 - 1])
def test_nothing_is_kept_for_a_frame_that_is_too_long(size: int) -> None:
    """T1, P-FRAME-2: the header is enough to refuse it, also when it comes byte by byte."""
    reader = FrameReader(HANDSHAKE_FRAME)
    start = header(size)
    for position in range(3):
        assert list(reader.frames(start[position : position + 1])) == []
    tracemalloc.start()
    with pytest.raises(ProtocolViolation) as caught:
        list(reader.frames(start[3:]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.clause == "P-FRAME-2"
    assert peak < 64 * 1024


def test_a_long_frame_takes_memory_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """T1: a hundred peers announce 4 MiB each; what they have not sent is not there, nor much more than they have."""
    monkeypatch.setattr(framing, "_spare", [])
    limit, sent = 4 * MIB, 0
    readers = [FrameReader(limit) for _ in range(100)]
    tracemalloc.start()
    for chunk in (header(limit), b"x", bytes(16 * 1024), bytes(3 * 1024)):
        sent += len(chunk)
        for reader in readers:
            assert list(reader.frames(chunk)) == []
        assert tracemalloc.get_traced_memory()[1] < len(readers) * (2 * sent + 1024)
    tracemalloc.stop()


# T4: the table of frames once more, as data: a mutant is refused, or it is another frame of the table.

UINT, TEXT, NAME, ANY, MAP, BOOL, INT = "uint", "text", "name", "any", "map", "bool", "int"
PATH, IDS, DROPS, META, DETAILS = "path", "ids", "drops", "meta", "details"

TABLE: dict[int, list[tuple[str, ...]]] = {
    Op.GOAWAY: [(UINT, TEXT, TEXT, UINT)],
    Op.CALL: [(UINT, PATH, NAME, MAP), (UINT, PATH, NAME, MAP, META)],
    Op.RESULT: [(UINT, ANY)],
    Op.ERROR: [(UINT, TEXT, TEXT), (UINT, TEXT, TEXT, MAP)],
    Op.CANCEL: [(UINT,), (UINT, TEXT)],
    Op.DROP: [(DROPS,)],
    Op.CAP_REVOKED: [(IDS, TEXT)],
    Op.CAP_REPLACED: [(IDS, UINT)],
    Op.PING: [(INT,)],
    Op.PONG: [(INT,)],
    Op.ABORT: [(TEXT, TEXT)],
}


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Of whatever."""
    return isinstance(value, list)


def is_map(value: object) -> TypeGuard[dict[str, Any]]:
    """Of whatever, by text; the codec sees to the keys."""
    return isinstance(value, dict)


def is_int(value: object, low: int) -> bool:
    """An integer from `low` on that is exact in every language; a boolean is none."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**53


def fits(kind: str, value: Any) -> bool:
    """Whether a value is of that kind of the table."""
    match kind:
        case "any":
            return True
        case "uint":
            return is_int(value, 0)
        case "int":
            return is_int(value, 1 - 2**53)
        case "text":
            return isinstance(value, str)
        case "name":
            return isinstance(value, str) and 0 < len(value.encode()) <= 256 and value.isprintable()
        case "map":
            return is_map(value)
        case "bool":
            return isinstance(value, bool)
        case "path":
            return is_int(value, 0) or (
                is_array(value)
                and bool(value)
                and is_int(value[0], 0)
                and all(isinstance(step, (str, int)) and not isinstance(step, bool) for step in value[1:])
            )
        case "ids":
            return is_array(value) and all(is_int(id, 0) for id in value)
        case "drops":
            return is_array(value) and all(
                is_array(pair) and len(pair) == 2 and is_int(pair[0], 0) and is_int(pair[1], 1) for pair in value
            )
        case "meta":
            kinds = {"deadline": UINT, "keep": BOOL, "idempotent": BOOL}
            return (
                is_map(value)
                and all(fits(kinds.get(key, ANY), item) for key, item in value.items())
                and fits(MAP, value.get("context", {}))
                and all(fits(TEXT, text) for text in dict(value.get("context", {})).values())
            )
        case _:
            raise AssertionError(kind)


def is_hello(frame: list[Any]) -> bool:
    """The hello has a table of its own."""
    if len(frame) != 4 or frame[1] != "capnet" or not is_array(frame[2]) or len(frame[2]) != 2:
        return False
    low, high = frame[2]
    options: object = frame[3]
    if not (is_int(low, 1) and is_int(high, 1) and low <= high and is_map(options)):
        return False
    floors = {"max_frame": 65536, "max_calls": 16, "max_caps": 16, "stream_items": 1, "stream_bytes": 1}
    name: object = options.get("name", "")
    features: object = options.get("features", [])
    return (
        all(is_int(options[key], floor) for key, floor in floors.items() if key in options)
        and (name == "" or fits(NAME, name))
        and is_array(features)
        and all(isinstance(feature, str) for feature in features)
    )


def is_of_the_table(frame: list[Any]) -> bool:
    """Whether a frame is one that a peer may send."""
    if not frame or type(frame[0]) is not int:
        return False
    if frame[0] >= 64:
        return True
    if frame[0] == Op.HELLO:
        return is_hello(frame)
    return any(
        len(frame) == len(shape) + 1 and all(fits(kind, item) for kind, item in zip(shape, frame[1:], strict=True))
        for shape in TABLE.get(frame[0], [])
    )


SEEDS: list[list[Any]] = [
    [
        Op.HELLO,
        "capnet",
        [1, 1],
        {"name": "p", "max_frame": 65536, "max_calls": 16, "features": ["a"], "auth": {"k": [1]}},
    ],
    [Op.GOAWAY, 3, "unavailable", "bye", 1000],
    [Op.CALL, 1, 2, "post", {"text": "hi"}],
    [Op.CALL, 1, [1, "room", 0], "post", {"to": CapRef("a.B", 1, None, 2)}],
    [Op.CALL, 1, 2, "post", {}, {"deadline": 5, "keep": True, "idempotent": False, "context": {"trace": "00"}}],
    [Op.RESULT, 1, {"rows": [1, None]}],
    [Op.ERROR, 1, "not_found", "text"],
    [Op.ERROR, 1, "not_found", "text", {"reason": "released"}],
    [Op.CANCEL, 1],
    [Op.CANCEL, 1, "gave up"],
    [Op.DROP, [[2, 1], [3, 2]]],
    [Op.CAP_REVOKED, [2, 3], "over"],
    [Op.CAP_REPLACED, [2, 3], 1],
    [Op.PING, 1],
    [Op.PONG, 1],
    [Op.ABORT, "P-OP", "text"],
]
WRONG: list[Any] = [
    None, True, False, 0, 1, 2, 15, -1, 64, 2**53 - 1, 2**53, -(2**53), 2**64 - 1, 0.0, 1.0, float("nan"), "", "x",
    "x" * 257, "a\nb", "capnet", b"", b"x", [], [0], [None], [True], [[]], [[2, 1]], [[2, 0]], {}, {"a": 1},
    CapRef("a.B", 1, None, 2),
]  # fmt: skip


def mutants(value: Any) -> Iterator[Any]:
    """Everything that differs from `value` in one place: replaced, left out, doubled or put in, at every depth."""
    yield from WRONG
    if is_array(value):
        for index, item in enumerate(value):
            yield value[:index] + value[index + 1 :]
            yield value[: index + 1] + value[index:]
            yield value[:index]
            for mutant in mutants(item):
                yield [*value[:index], mutant, *value[index + 1 :]]
        for wrong in WRONG:
            yield [*value, wrong]
    elif is_map(value):
        for key, item in value.items():
            yield {other: value[other] for other in value if other != key}
            for mutant in mutants(item):
                yield value | {key: mutant}
        for wrong in WRONG:
            yield value | {"another": wrong}


def accepted(frame: list[Any]) -> bool:
    """Whether a frame gets through everything that stands before the engine."""
    codec = Codec(Limits())
    try:
        decoded, _ = codec.decode(codec.encode(frame))
        if check(decoded) and decoded[0] == Op.HELLO:
            Hello.from_frame(decoded)
    except ProtocolViolation:
        return False
    return True


@pytest.mark.parametrize("seed", SEEDS, ids=repr)
def test_every_mutant_is_refused_or_is_a_frame_of_the_table(seed: list[Any]) -> None:
    """T4, P-OP: each field of each frame with a wrong type, left out, doubled, or with more behind it."""
    assert accepted(seed)
    count = 0
    for mutant in mutants(seed):
        count += 1
        assert accepted(mutant) == (is_array(mutant) and is_of_the_table(mutant)), mutant
    assert count > 100


if __name__ == "__main__":
    parent()
