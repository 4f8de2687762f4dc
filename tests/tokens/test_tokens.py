"""Delegation tokens: what a chain of links stands for, and what is none."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capnet import (
    Cap,
    Denied,
    Host,
    Identity,
    Introduction,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Restriction,
    Unauthenticated,
    call,
    connect,
)
from capnet.tokens import chain, delegate, identity_of, issue, new_key, public_key, restricted, verify
from capnet.tokens.chain import MAX_DEPTH

ROOT, ANN, BOB, EVE = (new_key() for _ in range(4))
KEYS = [public_key(ROOT)]
HOST = "chat.example"
READ = Restriction(methods=frozenset({"read"}), rate="10/min")


def token(**options: Any) -> str:
    told: dict[str, Any] = {"audience": HOST, "until": 3600, "grants": ["read", "write"], "principal": "ann", **options}
    return issue(ROOT, **told)


def reason_of(text: str, **options: Any) -> str | None:
    told: dict[str, Any] = {"keys": KEYS, "audience": HOST, **options}
    with pytest.raises(Unauthenticated) as raised:
        verify(text, **told)
    return raised.value.reason


def test_a_token_stands_for_what_was_said() -> None:
    shown = verify(token(), keys=[public_key(EVE), *KEYS], audience=HOST)
    assert (shown.principal, shown.names) == ("ann", None)
    assert (shown.grants, shown.audience) == (frozenset({"read", "write"}), frozenset({HOST}))
    assert (shown.depth, shown.keys) == (1, (KEYS[0],))
    assert timedelta(minutes=59) < shown.until - datetime.now(UTC) <= timedelta(hours=1)


def test_links_can_only_take_away() -> None:
    first = token(audience=[HOST, "other.example"], names={"a": READ, "b": []}, to=public_key(ANN))
    write = Restriction(methods=frozenset({"write"}))
    narrower: dict[str, Any] = {"audience": [HOST, "more"], "grants": ["write", "all"], "names": {"a": write, "c": []}}
    second = delegate(first, ANN, until=10**6, to=public_key(BOB), **narrower)
    shown = verify(second, keys=KEYS, audience=HOST)
    assert (shown.principal, shown.grants) == ("ann", frozenset({"write"}))
    assert shown.names == {"a": (READ, write)}
    assert shown.audience == {HOST}
    assert shown.until < datetime.now(UTC) + timedelta(hours=2)
    assert shown.keys == (KEYS[0], public_key(ANN))
    third = verify(delegate(second, BOB), keys=KEYS, audience=HOST)
    assert (third.grants, third.names, third.until, third.depth) == (shown.grants, shown.names, shown.until, 3)
    assert reason_of(second, audience="other.example") == "token_audience"


def test_reasons_are_told_apart() -> None:
    good = token(to=public_key(ANN))
    assert reason_of(good, keys=[public_key(EVE)]) == "token_invalid"
    assert reason_of(good, keys=[]) == "token_invalid"
    assert reason_of(good, audience="other") == "token_audience"
    later = datetime.now(UTC) + timedelta(seconds=3650)
    assert verify(good, keys=KEYS, audience=HOST, now=later).depth == 1  # clocks differ
    assert reason_of(good, now=later + timedelta(seconds=30)) == "token_expired"
    past = datetime.now(UTC) - timedelta(days=1)
    assert reason_of(delegate(good, ANN, until=past)) == "token_expired"
    deep = token(to=public_key(ANN))
    for _ in range(MAX_DEPTH - 1):
        deep = delegate(deep, ANN, to=public_key(ANN))
    assert verify(deep, keys=KEYS, audience=HOST).depth == MAX_DEPTH
    with pytest.raises(InvalidArgument):
        delegate(deep, ANN)
    link = deep.split(".")[-2:]
    assert reason_of(".".join((deep, *link))) == "token_depth"


def test_only_who_it_was_delegated_to_delegates() -> None:
    first = token(to=public_key(ANN))
    for wrong, key in ((first, EVE), (token(), ANN), ("x", ANN)):
        with pytest.raises(InvalidArgument):
            delegate(wrong, key)
    theirs = issue(EVE, audience=HOST, until=60, grants=["all"], to=public_key(ANN))
    forged = ".".join((first, *delegate(theirs, ANN).split(".")[-2:]))  # a link of another chain
    assert reason_of(forged) == "token_invalid"
    second = delegate(first, ANN, grants=["read"], to=public_key(BOB))
    third = delegate(second, BOB)
    without = ".".join((first, *third.split(".")[-2:]))  # the one that takes away is left out
    assert reason_of(without) == "token_invalid"
    assert verify(first, keys=KEYS, audience=HOST).depth == 1  # what was given to others is still good itself


def test_what_was_changed_is_not_good() -> None:
    good = delegate(token(to=public_key(ANN)), ANN, grants=["read"])
    for index in range(len(good)):
        for other in {"A", ".", "="} - {good[index]}:
            assert reason_of(good[:index] + other + good[index + 1 :]) in ("token_invalid", "token_depth")


def signed(link: Any) -> str:
    """A token whose one link is anything, signed by who is trusted."""
    body = link if isinstance(link, bytes) else json.dumps(link).encode()
    message = "capnet1." + base64.urlsafe_b64encode(body).decode().rstrip("=")
    return message + "." + base64.urlsafe_b64encode(ROOT.sign(message.encode())).decode().rstrip("=")


LATER = "2999-01-01T00:00:00+00:00"
GOOD: dict[str, Any] = {"aud": [HOST], "exp": LATER}


@pytest.mark.parametrize(
    "link",
    [
        b"", b"[]", b"{", b"[" * 2000, {}, {"aud": [HOST]}, {"exp": LATER}, {**GOOD, "exp": "soon"}, {**GOOD, "exp": 5},
        {**GOOD, "exp": "2999-01-01T00:00:00"}, {**GOOD, "aud": HOST}, {**GOOD, "aud": [5]}, {**GOOD, "grants": "all"},
        {**GOOD, "grants": {"a": 1}}, {**GOOD, "names": ["a"]}, {**GOOD, "names": {"a": {}}}, {**GOOD, "sub": 5},
        {**GOOD, "names": {"a": [{"methods": "read"}]}}, {**GOOD, "names": {"a": [{"uses": True}]}},
        {**GOOD, "names": {"a": [{"where": True}]}}, {**GOOD, "names": {"a": [{"rate": "often"}]}},
        {**GOOD, "names": {"a": [{"until": "2999-01-01"}]}}, {**GOOD, "only": "mondays"},
        {**GOOD, "names": {"a": [{"uses": 0}]}}, {**GOOD, "names": {"a": [{"uses_left": -1}]}},
        {**GOOD, "names": {"a": [{"only": "mondays"}]}}, {**GOOD, "exp": "9999-12-31T23:59:60+00:00"},
    ],
)  # fmt: skip
def test_links_that_make_no_sense(link: Any) -> None:
    assert reason_of(signed(link)) == "token_invalid"
    assert verify(signed(GOOD), keys=KEYS, audience=HOST).grants == frozenset()


def test_the_last_moment_there_is() -> None:
    for until in (datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=timezone(timedelta(hours=-23)))):
        assert verify(delegate(token(until=until, to=public_key(ANN)), ANN), keys=KEYS, audience=HOST).depth == 2
    assert reason_of(signed({**GOOD, "exp": "0001-01-01T00:00:00+23:59"})) == "token_expired"


def linked(first: str, key: Any, link: Any) -> str:
    """A token with one more link that says anything, signed by a key."""
    message = f"{first}.{base64.urlsafe_b64encode(json.dumps(link).encode()).decode().rstrip('=')}"
    return f"{message}.{base64.urlsafe_b64encode(key.sign(message.encode())).decode().rstrip('=')}"


FORGED: dict[str, dict[str, Any]] = {
    "more grants": {"grants": ["read", "all"]},
    "more time": {"exp": LATER},
    "other hosts": {"aud": [HOST, "other.example"]},
    "other names": {"names": {"a": [], "b": []}},
    "fewer restrictions": {"names": {"a": []}},
    "wider restrictions": {"names": {"a": [{"methods": ["read", "write"]}, {"rate": "999/s"}]}},
    "all of it": {"grants": ["read", "all"], "exp": LATER, "aud": [HOST, "other.example"], "names": {"a": [], "b": []}},
}


@pytest.mark.parametrize("what", FORGED)
@pytest.mark.parametrize("behind", [0, 1, MAX_DEPTH - 2])
def test_no_link_widens_what_those_before_it_say(what: str, behind: int) -> None:
    """Wherever in the chain it stands, and though whoever signs it may."""
    first = token(names={"a": READ}, grants=["read"], to=public_key(ANN))
    for _ in range(behind):
        first = delegate(first, ANN, to=public_key(ANN))
    before = verify(first, keys=KEYS, audience=HOST)
    after = verify(linked(first, ANN, FORGED[what]), keys=KEYS, audience=HOST)
    assert after.grants <= before.grants and after.audience <= before.audience and after.until <= before.until
    assert before.names is not None and after.names is not None and set(after.names) <= set(before.names)
    assert after.names["a"][: len(before.names["a"])] == before.names["a"]
    assert reason_of(linked(first, ANN, FORGED[what]), audience="other.example") == "token_audience"
    late = before.until + timedelta(seconds=61)
    assert reason_of(linked(first, ANN, FORGED[what]), now=late) == "token_expired"
    assert verify(first, keys=KEYS, audience=HOST, now=late - timedelta(seconds=2)) == before  # by the clock of another


@pytest.mark.parametrize("links", [9, 100, 1000, 100_000])
def test_a_chain_that_is_too_long_costs_nothing(links: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No signature of it is looked at."""

    def look(*_: object) -> bool:
        raise AssertionError

    monkeypatch.setattr(chain, "_is_signed", look)
    assert reason_of("capnet1" + ".AA.AA" * links) in ("token_depth", "token_invalid")


def test_a_chain_that_was_cut_or_signed_by_others() -> None:
    first = token(to=public_key(ANN))
    second = delegate(first, ANN, grants=["read"], to=public_key(BOB))
    parts = second.split(".")
    for wrong in (
        ".".join(parts[:-1]),
        ".".join([parts[0], *parts[3:]]),  # without its first link
        ".".join([parts[0], *parts[3:], *parts[1:3]]),
        ".".join([*parts[:3], *parts[1:3]]),  # the first one twice
        linked(first, EVE, {"grants": ["read"]}),
        linked(first, BOB, {"grants": ["read"]}),
        linked(token(), ANN, {"grants": ["read"]}),  # which nobody may delegate
        linked(token(to=public_key(EVE)), ANN, {}),
        linked(linked(first, ANN, {"to": [public_key(BOB)]}), BOB, {}),
        linked(linked(first, ANN, {"to": None}), ANN, {}),
    ):
        assert reason_of(wrong) == "token_invalid"


def test_a_later_link_may_not_say_whom_it_is_about() -> None:
    first = token(to=public_key(ROOT))
    body = base64.urlsafe_b64encode(json.dumps({"sub": "root"}).encode()).decode().rstrip("=")
    message = f"{first}.{body}"
    signature = base64.urlsafe_b64encode(ROOT.sign(message.encode())).decode().rstrip("=")
    assert reason_of(f"{message}.{signature}") == "token_invalid"


@given(st.text(max_size=200) | st.text(alphabet="capnet1.-_AZ09=", max_size=100).map(lambda text: "capnet1." + text))
def test_any_text_is_refused_in_words(text: str) -> None:
    assert reason_of(text) in ("token_invalid", "token_depth")


RESTRICTIONS = st.builds(
    Restriction,
    methods=st.none() | st.frozensets(st.sampled_from(["read", "write", "ä"])),
    rate=st.none() | st.sampled_from(["1/s", "10/min", "5/h"]),
    uses=st.none() | st.integers(1, 2**40),
    uses_left=st.none() | st.integers(0, 2**40),
    until=st.none()
    | st.datetimes(timezones=st.just(UTC))
    | st.datetimes(timezones=st.just(UTC)).map(lambda at: at.astimezone()),
)


@given(st.lists(RESTRICTIONS, max_size=3))
def test_a_restriction_comes_out_as_it_went_in(restrictions: list[Restriction]) -> None:
    shown = verify(token(names={"a": restrictions}), keys=KEYS, audience=HOST)
    assert shown.names == {"a": tuple(restrictions)}


@pytest.mark.parametrize(
    "options",
    [
        {"names": {"a": Restriction(where=True)}}, {"names": {"": READ}}, {"to": "x"}, {"to": "!"}, {"until": 0},
        {"until": datetime(2030, 1, 1)}, {"grants": "read"}, {"audience": []}, {"principal": "x" * 9000},  # noqa: DTZ001
        {"names": {"a": Restriction(rate="often")}},
    ],
)  # fmt: skip
def test_what_cannot_be_issued(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        token(**options)


class Room(Cap, name="t.Room"):
    @call
    async def read(self) -> int: ...

    @call
    async def write(self) -> int: ...


class MemRoom(Room):
    async def read(self) -> int:
        return 1

    async def write(self) -> int:
        return 2


async def test_restrictions_are_held_against_calls() -> None:
    room = restricted(MemRoom(), (READ, Restriction(uses=2, uses_left=1), Restriction()))
    with pytest.raises(PermissionDenied):
        await room.write()
    assert await room.read() == 1
    with pytest.raises(ResourceExhausted):
        await room.read()
    assert restricted(room, ()) is room
    with pytest.raises(InvalidArgument):
        restricted(room, [Restriction(where=True)])


class Tokens:
    def identify(self, introduction: Introduction) -> Identity | Denied:
        return identity_of(introduction, keys=KEYS, audience=HOST)

    def admit(self, request: Any) -> bool:
        return "read" in request.attestation.grants


async def test_what_is_allowed_is_what_was_asked_for_and_what_is_derived_comes_beside() -> None:
    class Some:
        def identify(self, introduction: Introduction) -> Identity:
            shown = verify(introduction.token or "", keys=KEYS, audience=HOST)
            return Identity(principal=shown.principal, allowed=shown.grants, grants=frozenset({"hello"}))

        def admit(self, request: Any) -> bool:
            return True

    async with Host(policy=Some()) as host:
        await host.listen("memory:tokens")
        auth = {"token": token(), "grants": ["read", "all"]}
        async with connect("memory:tokens", auth=auth) as connection:
            assert (await connection.runtime().identity())["grants"] == ["hello", "read"]


async def test_a_peer_is_who_its_token_says() -> None:
    async with Host(policy=Tokens()) as host:
        host.serve(MemRoom())
        await host.listen("memory:tokens")
        narrow = delegate(token(to=public_key(ANN)), ANN, grants=["read"])
        async with connect("memory:tokens", auth={"token": narrow}) as connection:
            assert await (await connection.bootstrap(Room)).read() == 1
            assert await connection.runtime().identity() == {"principal": "ann", "grants": ["read"]}
        bad: list[tuple[Any, str]] = [
            (None, "token_missing"),
            ({"token": narrow[:-2]}, "token_invalid"),
            ({"token": token(audience="other")}, "token_audience"),
            ({"token": token(names={"t.Room": READ})}, "token_names"),  # nobody would hold that against its calls
            ({"token": [narrow]}, "token_missing"),
            (
                {"token": delegate(token(to=public_key(ANN)), ANN, until=datetime(2020, 1, 1, tzinfo=UTC))},
                "token_expired",
            ),
            ({"token": ".".join((narrow, *(["AA"] * 14)))}, "token_depth"),
        ]
        for auth, reason in bad:
            async with connect("memory:tokens", auth=auth) as connection:
                with pytest.raises(Unauthenticated) as raised:
                    await connection.bootstrap(Room)
                assert reason in str(raised.value)
