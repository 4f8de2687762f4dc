"""The registry without connections: names, ownership, generations (P-CAP-4, P-CAP-5)."""

from __future__ import annotations

from typing import Any

import pytest

from capnet import AlreadyExists, Cap, ContractError, InvalidArgument, NotFound, VersionMismatch, call
from capnet.registry import Hosted, Registration, Registry, ServeHandle
from capnet.registry.registry import MAX_NAMES


class Thing(Cap, name="test.Thing"):
    @call
    async def use(self) -> int: ...


class MemThing(Thing):
    async def use(self) -> int:
        return 1

    async def aclose(self) -> None: ...


class Less(Cap, name="test.Thing"):
    @call
    async def other(self) -> int: ...


class MemLess(Less):
    async def other(self) -> int:
        return 1


class Ledger:
    """A subscriber that writes down what it is told, and a close hook that is."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.closed: list[Hosted] = []
        self.registry = Registry(self.closed.append)
        self.registry.subscribe(self)

    def registration_replaced(self, registration: Registration, old: Hosted) -> None:
        assert registration.hosted is not old
        self.told.append(("replaced", registration.name))

    def registration_ended(self, registration: Registration, reason: str) -> None:
        self.told.append((reason, registration.name))

    def serve(self, *things: Cap, name: str | None = None, if_exists: Any = "raise") -> ServeHandle:
        handle, _, replaced = self.registry.serve(list(things), name, if_exists, self.end)
        for _, old in replaced:
            old.release(self.closed.append)
        return handle

    def end(self, handle: ServeHandle) -> None:
        for registration in self.registry.owned_by(handle):
            self.registry.end(registration, "ended")


def test_serving_finding_and_ending() -> None:
    ledger = Ledger()
    handle = ledger.serve(MemThing())
    found = ledger.registry.find("test.Thing")
    assert found is not None and found.generation == 1 and found.hosted.holders == 1
    assert len(ledger.registry) == 1 and list(ledger.registry) == [found] and handle.names == ("test.Thing",)
    handle.close()
    handle.close()
    assert ledger.registry.find("test.Thing") is None and not ledger.registry
    assert ledger.told == [("ended", "test.Thing")] and ledger.closed == [found.hosted]


def test_all_or_none() -> None:
    ledger = Ledger()
    with pytest.raises(ContractError):
        ledger.serve(MemThing(), MemThing())
    ledger.serve(MemThing(), name="other")
    with pytest.raises(AlreadyExists) as caught:
        ledger.serve(MemThing(), name="other")
    assert caught.value.reason == "name_collision" and len(ledger.registry) == 1


def test_what_is_no_implementation() -> None:
    ledger = Ledger()
    for bad in (object(), Thing, MemThing):
        with pytest.raises(ContractError):
            ledger.serve(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["capnet.", "capnet.x"])
def test_reserved_names(name: str) -> None:
    with pytest.raises(AlreadyExists) as caught:
        Ledger().serve(MemThing(), name=name)
    assert caught.value.reason == "reserved_namespace"


@pytest.mark.parametrize("name", ["\n", "é" * 129, "a\x7f"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InvalidArgument):
        Ledger().serve(MemThing(), name=name)


def test_replace_keeps_the_registration_and_raises_its_generation() -> None:
    ledger = Ledger()
    ledger.serve(MemThing())
    new = MemThing()
    replacement = ledger.registry.prepare(new)
    old = ledger.registry.commit(replacement)
    registration = replacement.registration
    assert registration.generation == 2 and registration.hosted.implementation is new
    assert ledger.told == [("replaced", "test.Thing")] and not ledger.closed
    old.release(ledger.closed.append)
    assert ledger.closed == [old]


def test_one_that_lacks_something_changes_nothing() -> None:
    """P-CAP-3: one rule with bootstrap."""
    ledger = Ledger()
    ledger.serve(MemThing())
    with pytest.raises(VersionMismatch) as caught:
        ledger.registry.prepare(MemLess())
    assert "use" in str(caught.value.details["differences"])
    with pytest.raises(VersionMismatch):
        ledger.serve(MemLess(), if_exists="replace")
    with pytest.raises(NotFound):
        ledger.registry.prepare(MemThing(), "nothing")
    found = ledger.registry.find("test.Thing")
    assert found is not None and found.generation == 1 and not ledger.told


def test_a_stale_handle_ends_nothing() -> None:
    """Fault 17: ownership, not names."""
    ledger = Ledger()
    old = ledger.serve(MemThing())
    newer = ledger.serve(MemThing(), if_exists="replace")
    old.close()
    assert ledger.registry.find("test.Thing") is not None and len(ledger.closed) == 1
    assert ledger.serve(MemThing(), if_exists="skip").names == ()
    newer.close()
    assert ledger.registry.find("test.Thing") is None


def test_waiting_for_a_name() -> None:
    ledger = Ledger()
    woken: list[str] = []
    forget = ledger.registry.when_served("test.Thing", lambda: woken.append("one"))
    other = ledger.registry.when_served("test.Thing", lambda: woken.append("two"))
    other()
    ledger.serve(MemThing())
    forget()
    assert woken == ["one"] and not ledger.registry._waiters


def test_following_all_names() -> None:
    ledger = Ledger()
    told: list[str] = []
    forget = ledger.registry.when_changed(told.append)
    handle = ledger.serve(MemThing())
    ledger.registry.commit(ledger.registry.prepare(MemThing()))
    handle.close()
    forget()
    forget()
    ledger.serve(MemThing())
    assert told == ["test.Thing"] * 3 and not ledger.registry._followers


def test_a_subscriber_that_leaves_is_told_no_more() -> None:
    ledger = Ledger()
    handle = ledger.serve(MemThing())
    ledger.registry.unsubscribe(ledger)
    ledger.registry.unsubscribe(ledger)
    handle.close()
    assert not ledger.told and ledger.closed


def test_names_are_bounded() -> None:
    ledger = Ledger()
    thing = MemThing()
    for number in range(MAX_NAMES):
        ledger.serve(thing, name=f"n{number}")
    with pytest.raises(ContractError):
        ledger.serve(thing, name="one more")
    assert len(ledger.registry) == MAX_NAMES
