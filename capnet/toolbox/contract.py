"""`Toolbox`: tools that are found and called by name, and the data that tells of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from capnet.contract import Cap, Stream, call, options, stream

__all__ = ["Outcome", "Page", "Progress", "Step", "ToolDescription", "ToolFilter", "ToolSummary", "Toolbox"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many items: as a result, what `paged` and `collect` go through.

    Attributes:
        items: those of this page.
        next: the cursor of the page behind it; None with the last one.
    """

    items: list[T]
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFilter:
    """Which tools are looked for; all that is said must hold.

    Attributes:
        prefix: what their names begin with.
        tags: tags that all of them have.
        read_only: those that say that they change nothing (True), or all others (False).
        dry_run: those that can say what they would do (True), or all others (False).
    """

    prefix: str = ""
    tags: list[str] = field(default_factory=list[str])
    read_only: bool | None = None
    dry_run: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSummary:
    """What is told of each of many tools.

    Attributes:
        name: by which it is called.
        doc: the first line of its description.
        tags: words that its author gave it.
    """

    name: str
    doc: str = ""
    tags: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDescription:
    """What is told of one tool.

    Attributes:
        name: by which it is called.
        doc: what it does.
        parameters: JSON Schema 2020-12 of its arguments, an object.
        result: the same of what it gives; of a tool that streams, of all items as an array. None when nobody knows.
        tags: words that its author gave it.
        version: of its contract.
        generation: of what is behind it; it has risen when that is something else.
        streams: it gives items, one by one.
        pages: what it gives is one page, and the next has a cursor.
        progress: it tells how far it is.
        dry_run: it can say what it would do.
        read_only: it changes nothing, as its author says; None when nothing is said. These are hints, no promises.
        destructive: what it changes may be lost.
        idempotent: a second call with the same arguments changes nothing more.
        grants: what a caller must have been granted.
        approval: somebody is asked before it runs.
        rate: calls that one principal may make in a time, such as `10/min`.
        timeout: seconds that a call may take.
    """

    name: str
    doc: str = ""
    parameters: dict[str, Any]
    result: dict[str, Any] | None = None
    tags: list[str] = field(default_factory=list[str])
    version: int = 1
    generation: int = 1
    streams: bool = False
    pages: bool = False
    progress: bool = False
    dry_run: bool = False
    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool = False
    grants: list[str] = field(default_factory=list[str])
    approval: bool = False
    rate: str | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call has given.

    Attributes:
        value: plain data, capabilities, streams. Of a tool that streams it is the stream; of one that pages the items.
        next: the cursor with which the same call gives the next page; None when there is none.
    """

    value: Any = None
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call is.

    Attributes:
        done: how much is done; it rises.
        total: how much that will be at the end, if anybody knows.
        message: the same for people.
        item: of a tool that streams, what it has given.
    """

    done: float
    total: float | None = None
    message: str = ""
    item: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What comes while a tool runs: progress, and once, as the last, its outcome. The other one is None."""

    progress: Progress | None = None
    outcome: Outcome | None = None


class Toolbox(Cap, name="tools.Toolbox"):
    """Tools that are found and called by name."""

    @options(idempotent=True)
    @call
    async def discover(
        self,
        query: str = "",
        *,
        filter: ToolFilter | None = None,  # noqa: A002 - the common word for it
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[ToolSummary]:
        """The tools that the caller may use, by name.

        Args:
            query: words that all stand in the name, the description or the tags of a tool, in small letters or large.
            filter: what must hold beside that.
            limit: tools on a page, from 1 to 1000.
            cursor: `next` of the page before; None for the first one.

        Raises:
            InvalidArgument: the limit or the cursor makes no sense.
        """
        ...

    @options(idempotent=True)
    @call
    async def describe(self, tool: str) -> ToolDescription:
        """All that is told of a tool.

        Raises:
            NotFound: reason `tool`. PermissionDenied: the caller was not granted what it needs.
        """
        ...

    @call
    async def call(
        self, tool: str, arguments: dict[str, Any], *, cursor: str | None = None, dry_run: bool = False
    ) -> Outcome:
        """Call a tool.

        Args:
            tool: its name.
            arguments: by name.
            cursor: `next` of an outcome, for the page behind it.
            dry_run: it only says what it would do. A tool that cannot is not run.

        Raises:
            NotFound: reason `tool`. InvalidArgument: the arguments do not fit. PermissionDenied: the caller was not
            granted what it needs, or nobody has approved the call (`not_approved`). ResourceExhausted: `rate_limited`.
            DeadlineExceeded: `tool_timeout`. FailedPrecondition: `no_dry_run`, `no_pages`. And what the tool raises.
        """
        ...

    @stream
    def run(self, tool: str, arguments: dict[str, Any], *, dry_run: bool = False) -> Stream[Step]:
        """Call a tool, and be told how far it is. The last step has the outcome.

        Args and errors are those of `call`.
        """
        ...

    @stream
    def changes(self) -> Stream[int]:
        """A number at once, and a larger one each time there may be other tools, or others behind their names."""
        ...
