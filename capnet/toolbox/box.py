"""`toolbox`: the tools of hosts, connections and functions as one capability."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

from anyio import CancelScope, move_on_after, sleep
from anyio import Event as Signal
from anyio.abc import TaskGroup

from capnet.calls.metadata import RESERVED, send_metadata
from capnet.connection.connection import Connection
from capnet.contract import INJECT, CallContext, Reader, Stream
from capnet.contract.documentation import first_line
from capnet.errors import (
    CallCancelled,
    CapnetError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from capnet.fanout import State
from capnet.host import Host
from capnet.observe import Bus, Event, Feed
from capnet.streams.channel import channel

from .approval import Approve, ToolRequest, approved
from .audit import Redact, ToolCalled, shown
from .contract import Outcome, Page, Progress, Step, Toolbox, ToolDescription, ToolFilter, ToolSummary
from .life import Life
from .rules import PLAIN, Asked, Rates, Rule, check_grants, fits, lacking, matches, rule_for
from .served import sources_of
from .source import Extras, Offered, Source

__all__ = ["ToolboxServer", "toolbox"]

E = TypeVar("E", bound=Event)
MAX_LIMIT: Final = 1000
"""Tools on a page."""
LATE: Final = 1.0
"""Seconds in which a tool that has ended may still be heard to say how far it is."""
MAX_WORDS: Final = 16
"""Words of a query."""


def toolbox(
    *parts: Host | Connection | Source | Callable[..., Any],
    only: str | Collection[str] | None = None,
    rules: Mapping[str, Rule] | None = None,
    approve: Approve | None = None,
    redact: Redact | None = None,
) -> ToolboxServer:
    """Make a toolbox, to be served or used here.

        host.serve(toolbox(host, only="chat.*"))      # what the host serves, for each peer what its policy admits
        box = toolbox(search, send, approve=ask_me)   # functions

    Args:
        parts: a `Host`, of which each method of each served name is a tool, `chat.Lobby.open`: whoever calls it is to
            the host's policy and limits who they are. A `Connection`, for what its peer serves: there all callers are
            ourselves. Functions: see `tool`. Where two have a tool of the same name, the first one counts.
        only: names, or patterns such as `chat.*`, of the tools that are in it; all when None.
        rules: what holds beside what tools say themselves, by name or pattern; of several that fit, the later counts.
        approve: asked before a tool runs whose rule has `approval`, by a `ToolRequest`; plain or async. Only a real
            True lets it run, and where there is nobody to ask it does not.
        redact: makes of the name of a tool and its arguments what may be written into the audit log. Arguments that
            a rule calls `secret` are not written in any case.

    Nothing is opened before it is used for the first time, and `aclose` closes what was.

    Raises:
        ContractError: a function cannot be a tool. InvalidArgument: a part is none of these.
    """
    return ToolboxServer(parts, only, rules or {}, approve, redact)


class ToolboxServer(Toolbox):
    """What `toolbox` makes."""

    def __init__(
        self,
        parts: Collection[object],
        only: str | Collection[str] | None,
        rules: Mapping[str, Rule],
        approve: Approve | None,
        redact: Redact | None,
    ) -> None:
        self._sources = sources_of(parts)
        self._only = (only,) if isinstance(only, str) else only
        self._rules = dict(rules)
        self._approve = approve
        self._redact = redact
        self._rates = Rates()
        self._generation = State(1)
        self._bus = Bus()
        self._life: Life | None = None

    # --- what callers call ---

    async def discover(
        self,
        query: str = "",
        *,
        filter: ToolFilter | None = None,  # noqa: A002 - as the contract has it
        limit: int = 100,
        cursor: str | None = None,
        ctx: CallContext = INJECT,
    ) -> Page[ToolSummary]:
        """See `Toolbox`."""
        words = query.lower().split()
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidArgument(f"limit is a whole number from 1 to {MAX_LIMIT}, not {limit}")
        if len(words) > MAX_WORDS:
            raise InvalidArgument(f"a query has at most {MAX_WORDS} words")
        asked = _asked(ctx)
        await self._opened()
        found: dict[str, ToolDescription] = {}
        for source in self._sources:
            for offered in await source.all(asked):
                told, rule = self._judged(offered)
                if told.name not in found and self._has(told.name) and not lacking(rule, asked):
                    found[told.name] = told
        names = sorted(
            name
            for name, told in found.items()
            if (cursor is None or name > cursor) and fits(told, words, filter or ToolFilter())
        )
        page = [
            ToolSummary(name=name, doc=first_line(found[name].doc), tags=found[name].tags) for name in names[:limit]
        ]
        return Page(page, names[limit - 1] if len(names) > limit else None)

    async def describe(self, tool: str, *, ctx: CallContext = INJECT) -> ToolDescription:
        """See `Toolbox`."""
        asked = _asked(ctx)
        told, rule = self._judged(await self._find(tool, asked))
        check_grants(told.name, rule, asked)
        return told

    async def call(
        self,
        tool: str,
        arguments: dict[str, Any],
        *,
        cursor: str | None = None,
        dry_run: bool = False,
        ctx: CallContext = INJECT,
    ) -> Outcome:
        """See `Toolbox`."""
        return await self._call(tool, arguments, Extras(cursor=cursor, dry_run=dry_run), _asked(ctx))

    async def run(
        self, tool: str, arguments: dict[str, Any], *, dry_run: bool = False, ctx: CallContext = INJECT
    ) -> Stream[Step]:
        """See `Toolbox`."""
        asked = _asked(ctx)
        tasks = await self._opened()
        sink, progress = channel(Progress, buffer=16)
        extras = Extras(dry_run=dry_run, progress=sink)
        outcomes: list[Outcome | Exception] = []
        scope, ended = CancelScope(), Signal()

        async def work() -> None:
            with scope:
                try:
                    outcomes.append(await self._call(tool, arguments, extras, asked))
                except Exception as error:
                    outcomes.append(error)
                    sink.fail(CallCancelled("the tool has failed"))
                ended.set()
                await sleep(LATE)
            ended.set()
            sink.fail(CallCancelled("the tool has ended"))

        tasks.start_soon(work)
        try:
            with suppress(CallCancelled):
                async for one in progress:
                    yield Step(progress=one)
            await ended.wait()
            outcome = outcomes.pop() if outcomes else CallCancelled("the toolbox was closed")
            if isinstance(outcome, Exception):
                raise outcome
            if hasattr(outcome.value, "__anext__"):
                done = 0
                async for item in outcome.value:
                    done += 1
                    yield Step(progress=Progress(done, item=item))
                outcome = Outcome()
            yield Step(outcome=outcome)
        finally:
            scope.cancel()

    async def changes(self) -> Stream[int]:
        """See `Toolbox`."""
        await self._opened()
        async for generation in self._generation.changes():
            yield generation

    # --- what the program calls ---

    def on(self, kind: type[E], observe: Callable[[E], object]) -> Callable[[], None]:
        """Call a plain function with every event of a kind, such as `ToolCalled`. Returns what ends it."""
        return self._bus.on(kind, observe)

    def events(self, *kinds: type[E]) -> Feed[E]:
        """The same as an async iterator: `async with box.events(ToolCalled) as feed: async for event in feed: …`."""
        return self._bus.feed(kinds)

    async def aclose(self) -> None:
        """Close what was opened for it. Idempotent; what is used later is opened again."""
        life, self._life = self._life, None
        if life is not None:
            await life.end()

    # --- one call ---

    async def _call(self, tool: str, arguments: Mapping[str, Any], extras: Extras, asked: Asked) -> Outcome:
        began, call = perf_counter(), _Called(tool, rule_for(tool, PLAIN, self._rules))
        error: BaseException | None = None
        try:
            return await self._called(call, dict(arguments), extras, asked)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if self._bus.observed:
                told = shown(tool, arguments, call.rule.secret, self._redact)
                self._report(call, told, extras.dry_run, error, perf_counter() - began, asked)
            error = None

    async def _called(self, call: _Called, arguments: dict[str, Any], extras: Extras, asked: Asked) -> Outcome:
        offered = await self._find(call.tool, asked)
        told, rule = self._judged(offered)
        call.rule = rule
        check_grants(told.name, rule, asked)
        if extras.dry_run and not told.dry_run:
            raise FailedPrecondition(f"{told.name} cannot say what it would do", reason="no_dry_run", retry="never")
        if extras.cursor is not None and not told.pages:
            raise FailedPrecondition(f"{told.name} gives no pages", reason="no_pages", retry="never")
        if rule.rate is not None:
            self._rates.take(told.name, None if asked is None else asked.principal, rule.rate)
        if rule.approval:
            request = ToolRequest(
                tool=told, arguments=MappingProxyType(arguments), dry_run=extras.dry_run, caller=asked
            )
            await approved(self._approve, request)
            call.approved = True
        if extras.progress is not None and not told.progress:
            await extras.progress.aclose()
            extras = replace(extras, progress=None)
        value: Any = None
        with _along(asked), move_on_after(rule.timeout) as scope:
            value = await offered.start(arguments, extras)
        if scope.cancelled_caught:
            raise _too_long(told.name)
        if told.pages and isinstance(value, dict):
            page = cast("dict[str, Any]", value)
            return Outcome(page.get("items"), page.get("next"))
        if rule.timeout is not None and hasattr(value, "__anext__"):
            value = _Timed(value, told.name, rule.timeout - (perf_counter() - call.began))
        return Outcome(value)

    def _report(
        self, call: _Called, told: str, dry_run: bool, error: BaseException | None, seconds: float, asked: Asked
    ) -> None:
        known = error if isinstance(error, CapnetError) else None
        failure = "internal" if isinstance(error, Exception) else "cancelled"
        self._bus.publish(
            ToolCalled,
            connection=0 if asked is None else asked.connection.number,
            peer="" if asked is None else asked.peer,
            principal=None if asked is None else asked.principal,
            tool=call.tool if call.tool.isprintable() else ascii(call.tool),
            arguments=told,
            dry_run=dry_run,
            approved=call.approved,
            result="ok" if error is None else failure if known is None else known.code,
            reason=None if known is None else known.reason,
            seconds=seconds,
        )

    # --- tools ---

    async def _find(self, name: str, asked: Asked) -> Offered:
        await self._opened()
        why = ""
        if self._has(name):
            for source in self._sources:
                offered = await source.one(asked, name)
                if isinstance(offered, Offered):
                    return offered
                why = why or offered or ""
        raise NotFound(f"there is no tool {name!r}"[:300] + (why and f": {why}"), reason="tool", retry="never")

    def _has(self, name: str) -> bool:
        return self._only is None or matches(name, self._only)

    def _judged(self, offered: Offered) -> tuple[ToolDescription, Rule]:
        """A tool with what rules say of it."""
        told = offered.description
        rule = rule_for(told.name, offered.rule, self._rules)
        timeout = rule.timeout or told.timeout
        return replace(
            told,
            tags=sorted({*told.tags, *rule.tags}),
            read_only=told.read_only if rule.read_only is None else rule.read_only,
            destructive=told.destructive if rule.destructive is None else rule.destructive,
            grants=sorted(rule.grants),
            approval=rule.approval,
            rate=rule.rate,
            timeout=timeout,
        ), rule

    # --- its life ---

    async def _opened(self) -> TaskGroup:
        if self._life is None or self._life.failure is not None:
            self._life = Life(self._sources, self._bus, self._changed)
        return await self._life.tasks()

    def _changed(self) -> None:
        self._generation.set(self._generation.value + 1)


class _Called:
    """What is known of a call so far."""

    __slots__ = ("approved", "began", "rule", "tool")

    def __init__(self, tool: str, rule: Rule) -> None:
        self.tool = tool
        self.rule = rule  # though nobody may ever find the tool
        self.approved = False
        self.began = perf_counter()


class _Timed(Reader[Any]):
    """What a tool gives, as long as it has time.

    Args:
        seconds: that are left.
    """

    def __init__(self, items: Any, tool: str, seconds: float) -> None:
        self._items = items
        self._tool = tool
        self._end = perf_counter() + seconds

    async def __anext__(self) -> Any:
        found: list[Any] = []
        with move_on_after(max(0.0, self._end - perf_counter())):
            found.append(await anext(self._items))
        if not found:
            await self.aclose()
            raise _too_long(self._tool)
        return found[0]

    async def aclose(self) -> None:
        """Want no more."""
        await self._items.aclose()


def _asked(ctx: CallContext) -> Asked:
    """Who calls; the program itself gives no context."""
    return None if ctx is INJECT else ctx


def _along(asked: Asked) -> AbstractContextManager[None]:
    """What the caller has sent along goes on."""
    metadata = {} if asked is None else {k: v for k, v in asked.metadata.items() if not k.startswith(RESERVED)}
    return send_metadata(metadata) if metadata else nullcontext()


def _too_long(tool: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"{tool} has taken longer than it may", reason="tool_timeout")
