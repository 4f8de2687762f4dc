"""`Hosted`: holders, running calls, and a close hook that is due once (P-REF-3)."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from capnet import Cap, ContractError, call
from capnet.contract import contract_spec
from capnet.registry import Hosted


class Thing(Cap, name="test.Thing"):
    @call
    async def use(self) -> int: ...


class MemThing(Thing):
    def __init__(self) -> None:
        self.closed = 0

    async def use(self) -> int:
        return 1

    async def aclose(self) -> None:
        self.closed += 1


class Plain(Thing):
    """Has no close hook."""

    async def use(self) -> int:
        return 1


def test_one_for_each_implementation_while_it_is_held() -> None:
    thing = MemThing()
    assert Hosted.of(thing) is not None
    hosted = Hosted.of(thing)
    assert Hosted.of(thing) is hosted and Hosted.of(MemThing()) is not hosted


def test_it_keeps_no_implementation_alive() -> None:
    thing = MemThing()
    Hosted.of(thing)
    gone = weakref.ref(thing)
    del thing
    gc.collect()
    assert gone() is None


def test_only_what_was_exposed_is_reached() -> None:
    """P-CALL-9: a table per contract."""
    hosted = Hosted.of(MemThing())
    hosted.expose(contract_spec(Thing))
    assert hosted.handler("test.Thing", contract_spec(Thing), "use") is not None
    for name in ("aclose", "closed", "__class__", "_capnet_hosted", ""):
        assert hosted.handler("test.Thing", None, name) is None


def test_exposing_what_is_not_implemented() -> None:
    class Other(Cap, name="test.Other"):
        @call
        async def other(self) -> int: ...

    with pytest.raises(ContractError):
        Hosted.of(MemThing()).expose(contract_spec(Other))


def test_the_last_holder_makes_the_hook_due() -> None:
    due: list[Hosted] = []
    hosted = Hosted.of(MemThing())
    hosted.hold()
    hosted.call_begins()
    hosted.release(due.append)
    assert not due and hosted.running == 1
    hosted.call_ends(due.append)
    assert due == [hosted] and not hosted.running and not hosted.holders


def test_without_a_hook_nothing_is_due() -> None:
    due: list[Hosted] = []
    hosted = Hosted.of(Plain())
    hosted.hold()
    hosted.release(due.append)
    assert not due


def test_the_hook_runs_once() -> None:
    thing = MemThing()
    hosted = Hosted.of(thing)

    async def twice() -> None:
        await hosted.aclose()
        await Hosted.of(thing).aclose()

    asyncio.run(twice())
    assert thing.closed == 1


def test_who_waits_for_it_to_be_idle_is_woken_once() -> None:
    woken: list[str] = []
    hosted = Hosted.of(MemThing())
    hosted.hold()
    hosted.call_begins()
    hosted.call_begins()
    hosted.when_idle(lambda: woken.append("idle"))
    hosted.call_ends(lambda _: None)
    assert not woken
    hosted.call_ends(lambda _: None)
    hosted.call_begins()
    hosted.call_ends(lambda _: None)
    assert woken == ["idle"]


def test_who_waits_may_leave_some_out() -> None:
    """A stream counts like a call, and is told apart."""
    woken: list[str] = []
    hosted = Hosted.of(MemThing())
    hosted.hold()
    hosted.call_begins()
    hosted.call_begins()
    hosted.stream_begins()
    assert (hosted.running, hosted.streams, hosted.holders) == (3, 1, 4)
    hosted.when_idle(lambda: woken.append("one left"), besides=1)
    hosted.when_idle(lambda: woken.append("idle"))
    hosted.stream_ends(lambda _: None)
    assert not woken and hosted.streams == 0
    hosted.call_ends(lambda _: None)
    assert woken == ["one left"]
    hosted.call_ends(lambda _: None)
    assert woken == ["one left", "idle"]
