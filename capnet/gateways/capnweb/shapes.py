"""Values by the shapes of a contract: what JavaScript has in another form becomes what is declared, and back.

What is not turned here goes on as it is, and the host checks it: no shape is enforced twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, cast

from capnet import CapnetError, InvalidArgument, MethodDescription, Sink

from .actions import Stub, Writable
from .expressions import Thrown
from .streams import Readable
from .values import SCALARS, UNDEFINED, Moment, moment_of, text_of

__all__ = ["Declared", "Lender", "arguments_of", "incoming", "mentions", "outgoing"]

Shape: TypeAlias = Any
_Scope: TypeAlias = "Mapping[str, Shape]"


class Lender(Protocol):
    """Makes capabilities and streams of what is the client's."""

    def lend(self, stub: Stub, shape: Shape) -> Any:
        """A capability of the declared contract."""
        ...

    def reader(self, end: Readable, item: Shape, scope: _Scope) -> AsyncIterator[Any]:
        """A stream."""
        ...

    def sink(self, stub: Stub, item: Shape, scope: _Scope) -> Sink[Any]:
        """What can be written into."""
        ...


def arguments_of(method: MethodDescription, given: Sequence[Any], lender: Lender) -> dict[str, Any]:
    """Arguments by name.

    A last object is those that have to be named, where the method has some and the object has no other keys.

    Raises:
        InvalidArgument: there are too many, or one cannot be passed on.
    """
    named = {one.name for one in method.parameters.values() if one.keyword_only}
    plain = [one for one in method.parameters.values() if not one.keyword_only]
    given, last = list(given), given[-1] if given else None
    bound: dict[str, Any] = {}
    if isinstance(last, dict) and last and named.issuperset(cast("dict[str, Any]", last)):
        bound = cast("dict[str, Any]", last)
        del given[-1]
    while len(given) > len(plain) and given[-1] is UNDEFINED:
        del given[-1]
    if len(given) > len(plain):
        raise InvalidArgument(f"{method.name} takes {len(plain)} arguments, and not {len(given)}")
    bound = {**{one.name: value for one, value in zip(plain, given, strict=False)}, **bound}
    return {
        name: incoming(value, method.parameters[name].type, {}, lender)
        for name, value in bound.items()
        if value is not UNDEFINED or method.parameters[name].required
    }


def incoming(value: Any, shape: Shape, scope: _Scope, lender: Lender) -> Any:
    """A value of the client's as the host takes it where `shape` is declared.

    Raises:
        InvalidArgument: it is of a kind that cannot be there.
    """
    if isinstance(shape, str):
        return _plain(value, shape, lender)
    form, *parts = shape
    match form, value:
        case "ref", _:
            return incoming(value, scope[parts[0]], scope, lender)
        case "union", _:
            fitting = next((part for part in parts if _fits(value, part, scope)), "any")
            return incoming(value, fitting, scope, lender)
        case (("cap" | "callable"), Stub()):
            return lender.lend(value, shape)
        case "stream", Readable():
            return lender.reader(value, parts[0], scope)
        case "sink", Writable():
            return lender.sink(value.stub, parts[0], scope)
        case "struct", dict():
            inside = {**scope, parts[0]: shape}
            return {key: incoming(item, _field(parts[1], key), inside, lender) for key, item in _items(value)}
        case "map", dict():
            return {key: incoming(item, parts[1], scope, lender) for key, item in _items(value)}
        case "tuple", list():
            shapes = [*parts, *["any"] * (len(cast("Any", value)) - len(parts))]
            return [incoming(*pair, scope, lender) for pair in zip(cast("Any", value), shapes, strict=False)]
        case "list", list():
            return [incoming(item, parts[0], scope, lender) for item in cast("Any", value)]
        case _:
            return _plain(value, "any", lender)


def _plain(value: Any, word: str, lender: Lender) -> Any:
    if isinstance(value, list):
        return [item if type(item) in SCALARS else _plain(item, "any", lender) for item in cast("Any", value)]
    if isinstance(value, dict):
        return {key: _plain(item, "any", lender) for key, item in _items(value)}
    if isinstance(value, Moment):
        if word == "datetime":
            return text_of(value)
        raise InvalidArgument("a Date stands where no moment is declared")
    if word == "int" and isinstance(value, float) and value.is_integer():
        return int(value)
    if value is UNDEFINED:
        return None
    if isinstance(value, Readable) and word == "any":
        return lender.reader(value, "any", {})
    if isinstance(value, Stub | Writable | Readable | Thrown):
        raise InvalidArgument(f"{_KINDS[type(value)]} stands where none is declared")
    return value


_KINDS: Final = {Stub: "an object or a function", Writable: "a WritableStream", Readable: "a ReadableStream"} | {
    Thrown: "an Error"
}


def _field(fields: Mapping[str, Any], name: str) -> Shape:
    return fields[name][0] if name in fields else "any"


def _items(value: Any) -> Any:
    return cast("dict[str, Any]", value).items()


def _fits(value: Any, shape: Shape, scope: _Scope) -> bool:
    """Whether a value may be of this part of a union, as far as what is turned depends on it."""
    form: str = shape if isinstance(shape, str) else shape[0]
    match value:
        case Stub():
            return form in ("cap", "callable")
        case Readable():
            return form == "stream"
        case Writable():
            return form == "sink"
        case Moment():
            return form == "datetime"
        case float():
            return form in ("float", "int")
        case list():
            return form in ("list", "tuple")
        case dict():
            fields: dict[str, Any] = cast("Any", shape)[2] if form == "struct" else {}
            if form == "ref":
                return _fits(value, scope[cast("Any", shape)[1]], scope)
            return form in ("struct", "map") and all(name in value for name, (_, must) in fields.items() if must)
        case _:
            return False


def mentions(shape: Shape) -> bool:
    """Whether something in a value of this shape is another thing to JavaScript: a moment, or what is written into."""
    if isinstance(shape, str):
        return shape == "datetime"
    form, *parts = shape
    if form in ("literal", "cap", "ref"):
        return False
    if form == "struct":
        return any(mentions(kind) for kind, _ in parts[1].values())
    return form == "sink" or (form != "callable" and any(mentions(part) for part in parts))


def outgoing(value: Any, shape: Shape, scope: _Scope) -> Any:
    """A value of the host's, where `shape` is declared, as the client takes it."""
    if isinstance(shape, str):
        return moment_of(value) if shape == "datetime" and isinstance(value, str) else value
    form, *parts = shape
    match form, value:
        case "ref", _:
            return outgoing(value, scope[parts[0]], scope)
        case "union", str():
            return outgoing(value, "datetime", scope) if "datetime" in parts else value
        case "union", _:
            fitting = next((part for part in parts if _fits(value, part, scope)), "any")
            return outgoing(value, fitting, scope)
        case "struct", dict():
            inside = {**scope, parts[0]: shape}
            return {key: outgoing(item, _field(parts[1], key), inside) for key, item in _items(value)}
        case "map", dict():
            return {key: outgoing(item, parts[1], scope) for key, item in _items(value)}
        case "list", list():
            return [outgoing(item, parts[0], scope) for item in cast("Any", value)]
        case "tuple", list():
            return [outgoing(*pair, scope) for pair in zip(cast("Any", value), parts, strict=False)]
        case "stream", AsyncIterable():
            return _each(cast("Any", value), lambda item: outgoing(item, parts[0], scope))
        case "sink", Sink():
            return Declared(cast("Any", value), parts[0], scope)
        case _:
            return value


class Declared(Sink[Any]):
    """What the client writes into, of the host's.

    Args:
        sink: of the host.
        item: the shape of what it takes.
        scope: the structs that enclose it, by label.
    """

    def __init__(self, sink: Sink[Any], item: Shape, scope: _Scope) -> None:
        self.sink = sink
        self.item = item
        self.scope = scope

    async def send(self, item: Any) -> None:
        """See `Sink`."""
        await self.sink.send(item)

    async def aclose(self) -> None:
        """See `Sink`."""
        await self.sink.aclose()

    def fail(self, error: CapnetError) -> None:
        """See `Sink`."""
        self.sink.fail(error)


async def _each(items: AsyncIterator[Any], convert: Callable[[Any], Any]) -> AsyncIterator[Any]:
    try:
        async for item in items:
            yield convert(item)
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
