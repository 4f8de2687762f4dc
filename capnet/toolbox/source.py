"""Sources: where the tools of a toolbox come from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from anyio.abc import TaskGroup

from capnet.contract import MethodDescription, Sink

from .contract import Progress, ToolDescription
from .rules import PLAIN, Asked, Rule

__all__ = ["Extras", "Offered", "Source", "tool_of"]

_OWN: frozenset[str] = frozenset({"cursor", "dry_run", "progress"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What a call says beside the arguments of the tool; only what the tool can take.

    Attributes:
        cursor: of the page that is wanted.
        dry_run: it only says what it would do.
        progress: where it says how far it is.
    """

    cursor: str | None = None
    dry_run: bool = False
    progress: Sink[Progress] | None = None

    def given(self) -> dict[str, Any]:
        """By name, without what is not said."""
        told = {"cursor": self.cursor, "dry_run": self.dry_run or None, "progress": self.progress}
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool, as one caller can call it.

    Attributes:
        description: what is known of it; what rules say is not in it yet.
        start: calls it, and gives its result, or an async iterator.
        rule: what its author says of it.
    """

    description: ToolDescription
    start: Callable[[Mapping[str, Any], Extras], Awaitable[Any]]
    rule: Rule = PLAIN


class Source(Protocol):
    """Where tools come from. What is raised is for the caller."""

    async def open(self, tasks: TaskGroup, changed: Callable[[], None]) -> None:
        """Begin.

        Args:
            tasks: for what goes on meanwhile; they are cancelled before `close`.
            changed: to be called when there may be other tools.
        """
        ...

    async def close(self) -> None:
        """End. Idempotent."""
        ...

    async def all(self, asked: Asked) -> Collection[Offered]:
        """Every tool that this caller may have."""
        ...

    async def one(self, asked: Asked, name: str) -> Offered | str | None:
        """The one of that name. None when there is none, or a text that says why what has the name is no tool."""
        ...


def tool_of(name: str, method: MethodDescription, version: int, generation: int) -> ToolDescription | None:
    """What a method is as a tool; None when it needs what a tool cannot be given: a function, or a sink."""
    known = method.parameters
    streams = method.kind == "stream" or _form(method.result) == "stream"
    own = {one for one in _OWN & known.keys() if _is_own(one, known[one].type, known[one].required)}
    pages = _is_page(method.result) and "cursor" in own
    own -= set() if pages else {"cursor"}
    shown = {one: taken for one, taken in known.items() if one not in own}
    kept = {one: taken for one, taken in shown.items() if not _holds(taken.type)}
    if any(taken.required and one not in kept for one, taken in shown.items()):
        return None
    result = method.result_schema()
    return ToolDescription(
        name=name,
        doc=method.doc,
        parameters=replace(method, parameters=kept).parameters_schema(),
        result={"type": "array", "items": result} if method.kind == "stream" and "items" not in result else result,
        version=version,
        generation=generation,
        streams=streams,
        pages=pages,
        progress="progress" in own,
        dry_run="dry_run" in own,
        idempotent=method.idempotent,
        timeout=method.timeout,
    )


def _is_own(name: str, shape: Any, required: bool) -> bool:
    """Whether a parameter of such a name is what the toolbox takes it for."""
    if name == "progress":
        return "sink" in [_form(part) for part in _parts(shape)]
    return not required and ("bool" if name == "dry_run" else "str") in _parts(shape)


def _is_page(shape: Any) -> bool:
    return _form(shape) == "struct" and {"items", "next"} <= shape[2].keys()


def _form(shape: Any) -> str:
    return shape if isinstance(shape, str) else shape[0]


def _parts(shape: Any) -> list[Any]:
    return shape[1:] if _form(shape) == "union" else [shape]


def _holds(shape: Any) -> bool:
    """Whether a function or a sink is in it."""
    if isinstance(shape, str):
        return False
    form, *parts = shape
    if form in ("callable", "sink"):
        return True
    if form in ("literal", "cap", "ref"):
        return False
    if form == "struct":
        return any(_holds(kind) for kind, _ in parts[1].values())
    return any(map(_holds, parts))
