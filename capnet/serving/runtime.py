"""The runtime capability, cap-id 1: what every peer answers about itself (P-CAP-9)."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any, Final, cast

from anyio import sleep
from anyio.lowlevel import checkpoint

from capnet.calls.call import Caller
from capnet.contract import INJECT, CallContext, Cap, ContractDescription, Stream, call, contract_spec, stream
from capnet.contract.description import described
from capnet.engine.turn import VALUES_LIKE_A_FRAME
from capnet.errors import InvalidArgument
from capnet.references.proxy import Proxy, UntypedProxy, make_proxy, reference_of, spec_of
from capnet.references.reference import Reference
from capnet.registry import Facet, implementation_of
from capnet.session.session import Session

from .changes import NameChanges
from .event_stream import EventStream, check_grant
from .names import Names, names_of

__all__ = ["Runtime", "RuntimeService", "describe", "restrictions_of", "runtime_of"]

NAMES_PER_TURN: Final = 64
"""Names that a policy is asked about for a description until others have their turn."""
CONNECTIONS_PER_ANSWER: Final = 64
"""Connections that are told of at a time."""


class Runtime(Cap, name="capnet.Runtime"):
    """Cap-id 1 of every connection: `connection.runtime()`."""

    @call
    async def ping(self) -> None:
        """Answer; the round trip goes through dispatch, so it shows that handlers run."""
        ...

    @call
    async def describe(self) -> dict[str, Any]:
        """The names that this peer may have, each with its contract, version, shape and the first line of its docs.

        Raises:
            ResourceExhausted: `max_pending_bootstraps`, too much is asked at a time.
        """
        ...

    @call
    async def contract(self, cap: Any) -> dict[str, Any]:
        """What can be called on a capability of ours that the asker holds: see `capnet.describe`."""
        ...

    @call
    async def stats(self) -> dict[str, int]:
        """How much of each bounded thing the connection holds at the other side now."""
        ...

    @call
    async def identity(self) -> dict[str, Any]:
        """Who the asker is to the other side: its `principal`, or None, and its `grants`, a sorted list.

        Both are as the policy there has made them, in its own words; see `Identity`.
        """
        ...

    @call
    async def restrictions(self, cap: Any) -> list[dict[str, Any]]:
        """What is held against calls on a capability of ours that the asker holds: see `capnet.restrictions`."""
        ...

    @call
    async def connections(self, after: int = 0) -> list[dict[str, Any]]:
        """The connections of the whole host at the other side, for peers that may know: those with `capnet.events`.

        Each item is a map of `connection` (its number, as events have it), `peer`, `principal`, `transport`, and how
        many there are now of its `calls` (the peer's that run or wait here), `calls_out` (ours), `streams`, `exports`
        and `imports`, with the bytes that the peer takes up (`charge`) and has not read yet (`backlog`).

        Args:
            after: leaves out the connections up to that number. There are at most 64 items, those with the lowest
                numbers; ask for those after the last one until there is none.

        Raises:
            PermissionDenied: the policy of the other side does not grant `capnet.events` to us.
        """
        ...

    @stream
    def events(self, kinds: list[str] | None = None) -> Stream[dict[str, Any]]:
        """What happens on the connection at the other side from now on, and on its whole host for peers that may know.

        Each item is a map of `kind`, `time`, `connection`, `peer`, `principal`, `sequence`, `generation`, `served` and
        `fields`: an event as `capnet.observe` has it, without exceptions. A reader that is too slow gets one of kind
        `Dropped` that says how many it has lost.

        Args:
            kinds: names of event types; None for all.

        Raises:
            InvalidArgument: there is no such kind. ResourceExhausted: too many of these streams are open.
        """
        ...

    @stream
    def changes(self) -> Stream[int]:
        """A number that rises each time the other side serves, replaces or ends a name that the asker may have.

        What there is then `describe` tells. Changes that follow each other faster than they are read are one.

        Raises:
            ResourceExhausted: too many of these streams, and of those of events, are open.
        """
        ...


class RuntimeService(Runtime):
    """The server side; one serves every connection. What it tells is guarded like the names themselves."""

    async def ping(self) -> None:
        """See `Runtime`."""

    async def describe(self, *, ctx: CallContext = INJECT) -> dict[str, Any]:
        """See `Runtime`."""
        names = names_of(ctx)
        names.begin_question()
        try:
            return await _description(names)
        finally:
            names.end_question()

    async def contract(self, cap: Any, *, ctx: CallContext = INJECT) -> dict[str, Any]:
        """See `Runtime`. Nobody is told of what is theirs."""
        session = names_of(ctx).session
        if not isinstance(cap, Cap) or (isinstance(cap, Proxy) and reference_of(cap).caller.session is session):
            raise InvalidArgument("this is no capability that the asker was given here")
        told = await describe(cap)
        session.engine.turn.spend(len(told.methods) * VALUES_LIKE_A_FRAME)
        return told.data()

    async def stats(self, *, ctx: CallContext = INJECT) -> dict[str, int]:
        """See `Runtime`."""
        return names_of(ctx).whose.stats()

    async def identity(self, *, ctx: CallContext = INJECT) -> dict[str, Any]:
        """See `Runtime`."""
        return {"principal": ctx.principal, "grants": sorted(ctx.attestation.grants)}

    async def restrictions(self, cap: Any, *, ctx: CallContext = INJECT) -> list[dict[str, Any]]:
        """See `Runtime`. Nobody is asked about what is theirs."""
        theirs = isinstance(cap, Proxy) and reference_of(cap).caller.session is names_of(ctx).session
        return [] if theirs else await restrictions_of(cap)

    async def connections(self, after: int = 0, *, ctx: CallContext = INJECT) -> list[dict[str, Any]]:
        """See `Runtime`."""
        names = names_of(ctx)
        check_grant(names.session)
        capacity = names.whose.capacity
        everyone = (names.session,) if capacity is None else capacity.sessions
        some = islice((session for session in everyone if session.number > after), CONNECTIONS_PER_ANSWER)
        return [_in_figures(session) for session in some]

    def events(self, kinds: list[str] | None = None, *, ctx: CallContext = INJECT) -> Stream[dict[str, Any]]:
        """See `Runtime`."""
        return EventStream(names_of(ctx), ctx.call_id, kinds or ())

    def changes(self, *, ctx: CallContext = INJECT) -> Stream[int]:
        """See `Runtime`."""
        return NameChanges(names_of(ctx))


def _in_figures(session: Session) -> dict[str, Any]:
    """A connection, for who may know of all. No table is walked for it."""
    engine = session.engine
    return {
        "connection": session.number,
        "peer": session.peer_name,
        "principal": session.attestation.principal,
        "transport": session.attestation.transport,
        "calls": len(engine.answers),
        "calls_out": len(engine.calls),
        "streams": len(engine.streams),
        "exports": len(engine.exports),
        "imports": len(engine.imports),
        "charge": session.charge,
        "backlog": session.driver.transport.backlog,
    }


async def _description(names: Names) -> dict[str, Any]:
    """The names that the peer may have. Each costs it as much as a small frame: it waits for its pace (P-LIMIT-5)."""
    known = tuple(names)
    engine = names.session.engine
    wait = engine.turn.work_pace.wait(names.session.loop.now())
    engine.turn.spend(len(known) * VALUES_LIKE_A_FRAME)
    if wait:
        await sleep(wait)
    served: dict[str, Any] = {}
    for number, registration in enumerate(known, 1):
        if await names.ask_policy(registration.name, None) is None:
            spec = registration.spec
            served[registration.name] = {
                "contract": spec.name,
                "version": spec.version,
                "generation": registration.generation,
                "methods": spec.shape,
                "doc": described(spec).summary,
            }
        if not number % NAMES_PER_TURN:
            await checkpoint()  # others have their turn
    return served


def runtime_of(caller: Caller) -> Runtime:
    """The peer's runtime capability."""
    return cast("Runtime", make_proxy(Reference(caller, caller.session.engine.imports.runtime), Runtime))


async def describe(capability: object) -> ContractDescription:
    """What can be called on a capability, in shapes and in words: its issuer is asked about a proxy.

    Nothing is told of methods that are not within what is held: of a narrower contract, or left out by `restrict`. An
    untyped reference keeps what it is told, and takes arguments without names from then on.

    Args:
        capability: a proxy, with a contract or without, or an object of our own.

    Raises:
        CapnetError: the issuer cannot be asked, or what it tells is no description. TypeError: it is no capability.
    """
    if isinstance(capability, Proxy):
        return await _described_by_issuer(capability)
    if not isinstance(capability, Cap):
        raise TypeError(f"{type(capability).__name__} is no capability")
    told = described(contract_spec(type(capability)))
    for rule in await restrictions_of(capability):
        if rule["methods"] is not None:
            told = told.only(rule["methods"])
    return told


async def _described_by_issuer(proxy: Proxy) -> ContractDescription:
    caller, imported = reference_of(proxy).caller, reference_of(proxy).usable()
    caller.held.hold(imported)
    async with make_proxy(Reference(caller, imported)) as whole:  # see `restrictions_of`
        told = ContractDescription.from_data(await runtime_of(caller).contract(whole))
    held = spec_of(proxy)
    if held is not None:
        told = told.only(held.methods)
        if held.name != told.name:
            told = replace(told, name=held.name, version=held.version, doc=described(held).doc)
    if isinstance(proxy, UntypedProxy):
        proxy._capnet_told = told  # noqa: SLF001 - ours
    return told


async def restrictions_of(capability: object) -> list[dict[str, Any]]:
    """What is held against calls on a capability, as plain data; the peer is asked about its own.

    Raises:
        CapnetError: the peer cannot be asked.
    """
    if isinstance(capability, Proxy):
        caller, imported = reference_of(capability).caller, reference_of(capability).usable()
        caller.held.hold(imported)
        # The peer is asked about its own, also by who holds less of that: a proxy through us would be nothing of its.
        async with make_proxy(Reference(caller, imported)) as whole:
            return await runtime_of(caller).restrictions(whole)
    if isinstance(capability, Facet):
        return await restrictions_of(implementation_of(capability))
    # What stands in front of others says so; nothing here knows it (`capnet/attenuation/wrapper.py`).
    tell = getattr(type(capability), "__capnet_restrictions__", None)
    return [] if tell is None else cast("list[dict[str, Any]]", await tell(capability))
