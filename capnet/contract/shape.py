"""Shapes of contracts: every method as plain data, and what keeps two shapes from working together (P-CAP-3).

The shape of a contract is `{method: [kind, {parameter: [type, required]}, result, since]}`, which `spec.py` makes; the
forms of a type are listed in `annotation.py`. `differences` answers whether a client that declares one shape can use a
server that offers another: each argument the client may send must fit what the server takes, and each result what the
client expects. One of the two comes from the peer, so both are checked before they are read, and the work is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from capnet.errors import InvalidArgument

__all__ = ["check_shape", "differences"]

MAX_DEPTH: Final = 64
"""Nesting of one type, in types."""
MAX_TYPES: Final = 10_000
"""Types in one shape, and steps in one comparison."""
MAX_DIFFERENCES: Final = 100
"""Differences that are listed; a client that differs in more needs no longer list."""

TEXTS: Final = frozenset({"datetime", "date", "time", "timedelta", "uuid", "decimal"})
"""These travel as text, so whoever takes any text takes them."""
WORDS: Final = TEXTS | {"any", "none", "bool", "int", "float", "str", "bytes"}
LITERALS: Final = {type(None): "none", int: "int", str: "str"}

_Scope: TypeAlias = "dict[str, Any]"
"""The structs that enclose a type, by label."""


def differences(needs: Any, offers: Any, *, offered_version: int | None = None) -> list[str]:
    """What a client that declares `needs` misses in `offers`; an empty list when it can work.

    Args:
        needs: shape of the contract as the client knows it.
        offers: shape of the contract that is served.
        offered_version: version of the served contract. A method the client knows to be newer than that may be missing:
            calling it fails, the rest works.

    Returns:
        One sentence for each difference, at most 100.

    Raises:
        InvalidArgument: one of the two is not a shape, or comparing them takes too long.
    """
    for contract in (needs, offers):
        check_shape(contract)
    comparison = _Comparison()
    found: list[str] = []
    for name, needed in needs.items():
        offered = offers.get(name)
        if offered is not None:
            sentences = _method_differences(comparison, needed, offered)
        else:
            tolerated = offered_version is not None and needed[3] > offered_version
            sentences = iter(() if tolerated else ("is missing",))
        found += [f"method {_cut(name)}: {sentence}" for sentence in sentences]
    return found[:MAX_DIFFERENCES]


def check_shape(contract: Any) -> None:
    """Whether it is the shape of a contract.

    Raises:
        InvalidArgument: it is not, or it is too large.
    """
    _Check().contract(contract)


def _method_differences(comparison: _Comparison, needed: list[Any], offered: list[Any]) -> Iterator[str]:
    if needed[0] != offered[0]:
        yield f"needs a {needed[0]}, offers a {offered[0]}"
        return
    for name, sent in needed[1].items():
        taken = offered[1].get(name)
        for sentence in ["is missing"] if taken is None else _parameter_differences(comparison, sent, taken):
            yield f"parameter {_cut(name)}: {sentence}"
    for name, (_, required) in offered[1].items():
        if required and name not in needed[1]:
            yield f"parameter {_cut(name)}: is required, but unknown to the client"
    if not comparison.fits(offered[2], needed[2]):
        yield f"result: needs {_words(needed[2])}, offers {_words(offered[2])}"


def _parameter_differences(comparison: _Comparison, sent: list[Any], taken: list[Any]) -> Iterator[str]:
    if not comparison.fits(sent[0], taken[0]):
        yield f"needs {_words(sent[0])}, offers {_words(taken[0])}"
    if taken[1] and not sent[1]:
        yield "needs it optional, offers it required"


class _Check:
    """Structure of a shape that came from anywhere. Raises InvalidArgument, changes nothing."""

    def __init__(self) -> None:
        self.types = 0
        self.labels: list[str] = []

    def contract(self, contract: Any) -> None:
        for name, method in _pairs(contract, "a contract"):
            match method:
                case ["call" | "stream", parameters, result, int() as since] if since >= 1:
                    self.fields(parameters, 0)
                    self.type(result, 0)
                case _:
                    raise InvalidArgument(f"method {_cut(name)}: not the shape of a method")

    def fields(self, fields: Any, depth: int) -> None:
        for name, field in _pairs(fields, "fields"):
            match field:
                case [kind, bool()]:
                    self.type(kind, depth)
                case _:
                    raise InvalidArgument(f"field {_cut(name)}: not a type and whether it is required")

    def type(self, kind: Any, depth: int) -> None:
        self.count(1)
        if depth > MAX_DEPTH:
            raise InvalidArgument("the shape of a contract is nested too deeply")
        match kind:
            case str() if kind in WORDS:
                pass
            case ["list" | "stream" | "sink", item]:
                self.type(item, depth + 1)
            case ["tuple" | "union", *items]:
                self.all(items, depth)
            case ["map", key, value]:
                self.all([key, value], depth)
            case ["callable", [*arguments], result]:
                self.all([*arguments, result], depth)
            case ["literal", *values] if all(type(value) in LITERALS for value in values):
                self.count(len(values))
            case ["cap", *names] if all(isinstance(name, str) for name in names):
                self.count(len(names))
            case ["struct", str() as label, fields]:
                self.labels.append(label)
                self.fields(fields, depth + 1)
                self.labels.pop()
            case ["ref", str() as label] if label in self.labels:
                pass
            case _:
                raise InvalidArgument("the shape of a contract has an unknown type")

    def count(self, types: int) -> None:
        self.types += types
        if self.types > MAX_TYPES:
            raise InvalidArgument("the shape of a contract is too large")

    def all(self, kinds: list[Any], depth: int) -> None:
        for kind in kinds:
            self.type(kind, depth + 1)


def _is_map(value: object) -> bool:
    return type(value) is dict


def _pairs(mapping: Any, label: str) -> Iterator[tuple[str, Any]]:
    if not _is_map(mapping):
        raise InvalidArgument(f"{label}: not a map")
    for name, value in mapping.items():
        if not isinstance(name, str):
            raise InvalidArgument(f"{label}: a name is not text")
        yield name, value


class _Comparison:
    """Whether every value of one type is taken where another is expected."""

    def __init__(self) -> None:
        self.steps = 0
        self.assumed: dict[tuple[int, int], None] = {}

    def fits(self, given: Any, taken: Any) -> bool:
        """Compare two types of whole methods; each brings its own structs."""
        return self._fits(given, {}, taken, {})

    def _fits(self, given: Any, inside: _Scope, taken: Any, within: _Scope) -> bool:
        self._step(1)
        given, taken = _resolved(given, inside), _resolved(taken, within)
        if taken == "any":
            return True
        if given[0] == "union":
            return all(self._fits(member, inside, taken, within) for member in given[1:])
        if given[0] == "literal":
            return all(self._takes_literal(value, taken, within) for value in given[1:])
        if taken[0] == "union":
            return any(self._fits(given, inside, member, within) for member in taken[1:])
        if isinstance(given, str) or isinstance(taken, str):
            return _word_fits(given, taken)
        rule = _RULES.get((given[0], taken[0]))
        return rule is not None and rule(self, given, inside, taken, within)

    def _step(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_TYPES:
            raise InvalidArgument("comparing the contracts takes too long")

    def _takes_literal(self, value: Any, taken: Any, within: _Scope) -> bool:
        self._step(len(taken))
        if taken[0] == "literal":
            return any(value == other and type(value) is type(other) for other in taken[1:])
        if taken[0] == "union":
            return any(self._takes_literal(value, _resolved(member, within), within) for member in taken[1:])
        return _word_fits(LITERALS[type(value)], taken)

    def items(self, given: Any, inside: _Scope, taken: Any, within: _Scope) -> bool:
        return self._fits(given[1], inside, taken[1], within)

    def sinks(self, given: Any, inside: _Scope, taken: Any, within: _Scope) -> bool:
        """Items flow the other way: what the holder writes must fit what the giver reads."""
        return self._fits(taken[1], within, given[1], inside)

    def tuple_as_list(self, given: Any, inside: _Scope, taken: Any, within: _Scope) -> bool:
        return all(self._fits(item, inside, taken[1], within) for item in given[1:])

    def tuples(self, given: Any, inside: _Scope, taken: Any, within: _Scope) -> bool:
        return len(given) == len(taken) and all(
            self._fits(mine, inside, yours, within) for mine, yours in zip(given[1:], taken[1:], strict=True)
        )

    def struct_as_map(self, given: Any, inside: _Scope, taken: Any, within: _Scope) -> bool:
        inside = {**inside, given[1]: given}
        return taken[1] in ("str", "any") and all(
            self._fits(kind, inside, taken[2], within) for kind, _ in given[2].values()
        )

    def structs(self, given: Any, inside: _Scope, taken: Any, within: _Scope) -> bool:
        # Structs that contain themselves: while a pair is compared, it counts as fitting.
        pair = (id(given), id(taken))
        if pair in self.assumed:
            return True
        before = len(self.assumed)
        self.assumed[pair] = None
        inside, within = {**inside, given[1]: given}, {**within, taken[1]: taken}
        fits = all(self._field(name, field, given[2], inside, within) for name, field in taken[2].items())
        while not fits and len(self.assumed) > before:
            self.assumed.popitem()  # what was found with its help falls with it
        return fits

    def _field(self, name: str, field: list[Any], given: dict[str, Any], inside: _Scope, within: _Scope) -> bool:
        kind, required = field
        if name not in given:
            return not required
        own_kind, always = given[name]
        return (always or not required) and self._fits(own_kind, inside, kind, within)

    def capabilities(self, given: Any, inside: _Scope, taken: Any, within: _Scope) -> bool:
        """A capability carries the names of its contract and of those it inherits; no name at all means any."""
        return len(taken) == 1 or taken[1] in given[1:]

    def callables(self, given: Any, inside: _Scope, taken: Any, within: _Scope) -> bool:
        """What the holder sends must fit what the function takes, and its result what the holder expects."""
        return (
            len(given[1]) == len(taken[1])
            and all(
                self._fits(sent, within, received, inside) for received, sent in zip(given[1], taken[1], strict=True)
            )
            and self._fits(given[2], inside, taken[2], within)
        )

    def callable_as_capability(self, given: Any, inside: _Scope, taken: Any, within: _Scope) -> bool:
        return len(taken) == 1


_RULES: Final[dict[tuple[str, str], Callable[[_Comparison, Any, _Scope, Any, _Scope], bool]]] = {
    ("list", "list"): _Comparison.items,
    ("stream", "stream"): _Comparison.items,
    ("sink", "sink"): _Comparison.sinks,
    ("tuple", "list"): _Comparison.tuple_as_list,
    ("tuple", "tuple"): _Comparison.tuples,
    ("map", "map"): _Comparison.tuples,
    ("struct", "map"): _Comparison.struct_as_map,
    ("struct", "struct"): _Comparison.structs,
    ("cap", "cap"): _Comparison.capabilities,
    ("callable", "callable"): _Comparison.callables,
    ("callable", "cap"): _Comparison.callable_as_capability,
}


def _resolved(kind: Any, scope: _Scope) -> Any:
    return scope[kind[1]] if kind[0] == "ref" else kind


def _word_fits(given: Any, taken: Any) -> bool:
    return (
        given == taken
        or (given, taken) == ("int", "float")
        or (taken == "str" and isinstance(given, str) and given in TEXTS)
    )


def _cut(name: str) -> str:
    return repr(name if len(name) <= 64 else f"{name[:64]}…")


def _words(kind: Any, depth: int = 3) -> str:
    """A type for people, short also when the peer made it long."""
    if isinstance(kind, str):
        return kind
    if not depth:
        return "…"
    form, *parts = kind
    if form in ("struct", "ref"):
        return _cut(parts[0])
    if form == "callable":
        parts = [*parts[0], parts[1]]
    shown = [_part(form, part, depth) for part in parts[:4]] + ["…"] * (len(parts) > 4)
    return " | ".join(shown) if form == "union" else f"{form}[{', '.join(shown)}]"


def _part(form: str, part: Any, depth: int) -> str:
    if form in ("literal", "cap"):
        return _cut(part) if isinstance(part, str) else repr(part)
    return _words(part, depth - 1)
