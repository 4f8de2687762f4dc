"""The hello: what a peer may say of itself (P-CONN-1, P-CONN-2)."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.errors import InvalidArgument, ProtocolViolation
from capnet.limits import EARLY, Limits
from capnet.wire.codec import Codec
from capnet.wire.hello import MAGIC, VERSIONS, Hello, looks_like_capnet
from capnet.wire.references import CapRef


def clause_of(frame: list[Any]) -> str:
    """The clause that this hello breaks."""
    with pytest.raises(ProtocolViolation) as caught:
        Hello.from_frame(frame)
    return caught.value.clause


def test_a_hello_arrives_as_it_was_said() -> None:
    """P-CONN-1: name, announced limits, features, auth and versions cross the wire."""
    limits = Limits(max_frame=1 << 20, max_calls=32, max_caps=64, max_streams=32, stream_items=8, stream_bytes=512)
    said = Hello("room", limits, ("a", "b"), {"token": b"secret"}, (1, 3))
    frame, _ = Codec(Limits()).decode(Codec(Limits()).encode(said.to_frame()))
    heard = Hello.from_frame(frame)
    assert (heard.name, heard.features, heard.versions) == ("room", ("a", "b"), (1, 3))
    assert heard.auth == {"token": b"secret"}
    announced = heard.limits
    assert (announced.max_frame, announced.max_calls, announced.max_caps) == (1 << 20, 32, 64)
    assert (announced.max_streams, announced.stream_items, announced.stream_bytes) == (32, 8, 512)


@pytest.mark.parametrize(
    "hello",
    [
        Hello("a\nb"),
        Hello("a" * 257),
        Hello(auth=object()),
        Hello(auth=[{1: 1}]),
        Hello(auth=2**64),
        Hello(auth=[CapRef("a", 1)]),
    ],
    ids=["control character", "long name", "object", "key that is no text", "wide number", "reference"],
)
def test_what_a_peer_would_not_take_is_not_said(hello: Hello) -> None:
    """P-CONN-1: whoever makes such a hello gets the error, not the peer."""
    with pytest.raises(InvalidArgument):
        hello.check()
    with pytest.raises(InvalidArgument):
        hello.to_frame()


def test_a_hello_that_can_be_said_passes_its_check() -> None:
    """P-CONN-1: a name and plain data for `auth` may be there or not."""
    Hello().check()
    Hello("room", auth={"token": (b"secret",)}).check()


def test_only_limits_that_are_announced_cross_the_wire() -> None:
    """P-CONN-1: the rest of ours is nobody's business, and the peer's rest is the early profile."""
    frame = Hello(limits=Limits(max_strikes=7, max_queued_calls=9)).to_frame()
    assert set(frame[3]) == {
        "max_frame",
        "max_calls",
        "max_caps",
        "max_streams",
        "stream_items",
        "stream_bytes",
        "max_call_charge",
        "max_depth",
        "max_items",
        "max_references",
    }
    assert Hello.from_frame(frame).limits.max_strikes == EARLY.max_strikes


def test_all_options_may_be_left_out() -> None:
    """P-CONN-2: a peer that announces nothing takes what every peer must."""
    assert Hello.from_frame([0, MAGIC, [1, 1], {}]) == Hello("", EARLY, (), None, (1, 1))


def test_unknown_options_are_ignored() -> None:
    """P-CONN-1: room to grow."""
    assert Hello.from_frame([0, MAGIC, [1, 1], {"colour": "blue"}]).versions == (1, 1)


@pytest.mark.parametrize(
    "frame",
    [
        [0, "capnet", [1, 1]],
        [0, "capnet", [1, 1], {}, 0],
        [0, "Capnet", [1, 1], {}],
        [0, b"capnet", [1, 1], {}],
        [1, "capnet", [1, 1], {}],
        [0, "capnet", 1, {}],
        [0, "capnet", [1], {}],
        [0, "capnet", [1, 1, 1], {}],
        [0, "capnet", [2, 1], {}],
        [0, "capnet", [0, 1], {}],
        [0, "capnet", [-1, 1], {}],
        [0, "capnet", [1, 2**53], {}],
        [0, "capnet", [True, 1], {}],
        [0, "capnet", [1, True], {}],
        [0, "capnet", [1.0, 1], {}],
        [0, "capnet", ["1", "1"], {}],
        [0, "capnet", [1, 1], []],
        [0, "capnet", [1, 1], None],
    ],
)
def test_another_shape_is_refused(frame: list[Any]) -> None:
    """P-CONN-1: op, magic, version range and options, each of its type."""
    assert clause_of(frame) == "P-CONN-1"


@pytest.mark.parametrize("key", ["max_frame", "max_calls", "max_caps", "max_streams", "stream_items", "stream_bytes"])
@pytest.mark.parametrize("value", [-1, True, 1e6, "65536", None, 2**53])
def test_a_malformed_limit_is_refused(key: str, value: object) -> None:
    """P-CONN-1: announced limits are unsigned integers below 2^53."""
    assert clause_of([0, MAGIC, [1, 1], {key: value}]) == "P-CONN-1"


@pytest.mark.parametrize(
    ("key", "floor"),
    [
        ("max_frame", 65536),
        ("max_calls", 16),
        ("max_caps", 16),
        ("max_streams", 16),
        ("stream_items", 1),
        ("stream_bytes", 1),
    ],
)
def test_a_limit_below_the_early_one_is_refused(key: str, floor: int) -> None:
    """P-CONN-2: a sender may have used that much already, so no peer can take less."""
    assert clause_of([0, MAGIC, [1, 1], {key: floor - 1}]) == "P-CONN-2"
    assert getattr(Hello.from_frame([0, MAGIC, [1, 1], {key: floor}]).limits, key) == floor


@pytest.mark.parametrize("name", [5, None, b"room", "a\nb", "a" * 257, True])
def test_a_malformed_name_is_refused(name: object) -> None:
    """P-CONN-1: a peer's name goes into logs: printable, of bounded size. Empty is none."""
    assert clause_of([0, MAGIC, [1, 1], {"name": name}]) == "P-CONN-1"
    assert Hello.from_frame([0, MAGIC, [1, 1], {"name": ""}]).name == ""


@pytest.mark.parametrize("instance", [5, None, b"life", "a\nb", "a" * 65])
def test_a_malformed_instance_is_refused(instance: object) -> None:
    """P-CONN-1: it is compared with others: printable, of bounded size. Empty is none."""
    assert clause_of([0, MAGIC, [1, 1], {"instance": instance}]) == "P-CONN-1"
    assert Hello.from_frame(Hello(instance="a" * 64).to_frame()).instance == "a" * 64
    assert Hello.from_frame(Hello().to_frame()).instance == ""


@pytest.mark.parametrize("features", ["ab", None, {"a": 1}, ["a", 1], [b"a"], [["a"]]])
def test_malformed_features_are_refused(features: object) -> None:
    """P-CONN-1: features are an array of texts."""
    assert clause_of([0, MAGIC, [1, 1], {"features": features}]) == "P-CONN-1"


@pytest.mark.parametrize(
    ("ours", "theirs", "version"),
    [((1, 1), (1, 1), 1), ((1, 3), (2, 5), 3), ((1, 5), (2, 3), 3), ((1, 2), (2, 3), 2)],
)
def test_the_highest_common_version_is_used(ours: tuple[int, int], theirs: tuple[int, int], version: int) -> None:
    """P-CONN-1: both sides come to the same."""
    assert Hello(versions=ours).version_with(Hello(versions=theirs)) == version
    assert Hello(versions=theirs).version_with(Hello(versions=ours)) == version


@pytest.mark.parametrize(("ours", "theirs"), [((1, 1), (2, 3)), ((2, 3), (1, 1))])
def test_no_common_version_ends_it(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    """P-CONN-1: ranges that do not overlap are a violation on both sides."""
    with pytest.raises(ProtocolViolation) as caught:
        Hello(versions=ours).version_with(Hello(versions=theirs))
    assert caught.value.clause == "P-CONN-1"


def test_a_stranger_is_known_by_the_first_nine_bytes() -> None:
    """P-CONN-3: every hello begins alike; what begins otherwise is not capnet."""
    assert looks_like_capnet(Codec(Limits()).encode(Hello().to_frame()))
    assert looks_like_capnet(b"\x84\x00\x66capnet")
    assert not looks_like_capnet(b"\x84\x00\x66capne")
    assert not looks_like_capnet(b"GET / HTTP/1.1\r\n")
    assert not looks_like_capnet(b"")


def test_this_is_version_one() -> None:
    """P-CONN-1: the only version there is."""
    assert VERSIONS == (1, 1)
    assert Hello().to_frame()[:3] == [0, "capnet", [1, 1]]
