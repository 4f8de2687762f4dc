"""Contracts as Python source, out of what a peer tells of them.

What a peer tells may be meant to harm: whatever is written here is a word that was checked, or stands in quotes.
"""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from keyword import iskeyword
from typing import Any, Final
from unicodedata import is_normalized

from capnet import ContractDescription, MethodDescription, ParameterDescription
from capnet.cli.text import clean
from capnet.contract.schema import labels_around

__all__ = ["Source"]

_WORDS: Final[Mapping[str, str]] = {
    **{word: word for word in ("bool", "int", "float", "str", "bytes", "datetime", "date", "time", "timedelta")},
    "any": "Any",
    "uuid": "UUID",
    "decimal": "Decimal",
}
"""Words of shapes, and what they are in Python."""
_FROM: Final[Mapping[str, str]] = {
    **dict.fromkeys(("bool", "int", "float", "str", "bytes", "list", "dict", "tuple"), "builtins"),
    **dict.fromkeys(("datetime", "date", "time", "timedelta"), "datetime"),
    **dict.fromkeys(("Cap", "Sink", "Stream", "call", "options", "stream"), "capnet"),
    **dict.fromkeys(("AsyncIterable", "Awaitable", "Callable"), "collections.abc"),
    **dict.fromkeys(("Any", "Literal"), "typing"),
    **dict.fromkeys(("Struct", "UnsetType", "UNSET"), "msgspec"),
    "dataclass": "dataclasses",
    "UUID": "uuid",
    "Decimal": "decimal",
}
"""Where names come from that a source may use."""
_OWN_DEFAULT: Final = "OWN_DEFAULT"
"""Stands in a contract for a default that only the other side knows."""
_RESERVED: Final = frozenset((*_FROM, *_FROM.values(), *dir(builtins), "collections", _OWN_DEFAULT))
_PLAIN: Final[Mapping[type, str]] = {bool: "bool", int: "int", float: "float", str: "str", type(None): "none"}
_WIDTH: Final = 110

_Scope = Mapping[str, str]
"""The classes that enclose a shape: label → name of the class."""


class Source:
    """Some contracts as Python source, with all classes that they mention.

    Args:
        contracts: each of another name.
    """

    def __init__(self, contracts: Iterable[ContractDescription]) -> None:
        self._contracts = {one.name: one for one in contracts}
        self._bases: dict[str, tuple[str, ...]] = {}
        self._classes: dict[str, str] = {}
        self._inside = set(_names_inside(self._contracts.values()))
        self._taken = {*_RESERVED, *self._inside}
        self._structs: dict[str, str] = {}
        self._bodies: list[list[str]] = []
        self._imports: dict[str, set[str]] = {}
        for name in self._contracts:
            self._class_of(name, ())
        self._methods = {name: self._all_methods(one) for name, one in self._contracts.items()}

    def lines(self, *, whole: bool = False) -> list[str]:
        """The classes, without imports.

        Args:
            whole: also those of contracts that are only mentioned.
        """
        contracts = [self._contract(name) for name in self._in_order() if whole or name in self._contracts]
        blocks = [*self._bodies, *contracts]
        return [line for block in blocks for line in (*block, "", "")][:-2]

    def module(self, origin: str) -> list[str]:
        """A whole module.

        Args:
            origin: where the contracts come from.
        """
        body = self.lines(whole=True)
        if any(_OWN_DEFAULT in line for line in body):
            first = f"{_OWN_DEFAULT}: {self._use('Any')} = ..."
            body = [first, '"""Where the other side has a default of its own."""', "", "", *body]
        about = f'"""Contracts as {_quoted(origin)} tells of them. Made by `capnet describe --stub`."""'
        return [about, "", "from __future__ import annotations", "", *self._import_lines(), "", "", *body]

    # Contracts

    def _in_order(self) -> Iterator[str]:
        """The names of the contracts, those that others inherit first."""
        done: set[str] = set()

        def visit(name: str) -> Iterator[str]:
            if name not in done:
                done.add(name)
                for base in self._bases.get(name, ()):
                    yield from visit(base)
                yield name

        for name in tuple(self._classes):
            yield from visit(name)

    def _class_of(self, name: str, bases: Sequence[str]) -> str:
        """The class of a contract."""
        if not name.isprintable() or not is_normalized("NFC", name) or name.startswith("capnet."):
            return self._use("Cap")  # no class of a program has that name
        if bases and name not in self._bases:
            usable = tuple(base for base in bases if self._class_of(base, ()) != "Cap")
            if not any(name in (base, *self._bases.get(base, ())) for base in usable):
                self._bases[name] = usable
        if name not in self._classes:
            self._classes[name] = self._free_name(re.split(r"[.:]", name)[-1])
        return self._classes[name]

    def _contract(self, name: str) -> list[str]:
        described = self._contracts.get(name)
        bases = [self._classes[base] for base in self._direct_bases(name)] or [self._use("Cap")]
        arguments = [*bases, f"name={_literal(name)}"]
        if described is not None:
            version = max([described.version, *(method.since for method in described.methods.values())])
            arguments += [f"version={version}"] if version > 1 else []
        head = f"class {self._classes[name]}({', '.join(arguments)}):"
        if described is None:
            return [head, '    """Nothing more is known of it here."""']
        doc = _docstring(described.doc, "    ")
        methods = [["", *method] for method in self._methods[name]]
        body = [*doc, *(line for method in methods for line in method)]
        body = body if doc else body[1:]
        is_empty = all(not line or line.startswith("    #") for line in body)
        return [head, *body, *(["    ..."] if is_empty else [])]

    def _direct_bases(self, name: str) -> list[str]:
        bases = self._bases.get(name, ())
        return [base for base in bases if not any(base in self._bases.get(other, ()) for other in bases)]

    def _all_methods(self, contract: ContractDescription) -> list[list[str]]:
        return [self._method(method) for method in contract.methods.values()]

    # Methods

    def _method(self, method: MethodDescription) -> list[str]:
        name, parameters = method.name, list(method.parameters.values())
        if not _is_word(name) or name.startswith("_") or name == "aclose":
            return [f"    # {_quoted(name)} cannot be the name of a method in Python"]
        if wrong := [one.name for one in parameters if not _is_word(one.name) or one.name == "self"]:
            return [f"    # {name}: {_quoted(wrong[0])} cannot be the name of a parameter in Python"]
        result, define = method.result, "def" if method.kind == "stream" else "async def"
        if method.kind == "stream" and result[0] == "stream":
            returns = f"{self._use('Stream')}[{self._type(result[1], {})}]"
        else:
            returns = self._type(result, {})
        doc = _docstring(_with_parameters(method), "        ")
        taken = self._parameters(parameters)
        line = f"    {define} {name}({', '.join(['self', *taken])}) -> {returns}:"
        end = [*doc, "        ..."] if doc else []
        heads = [line] if len(line) <= _WIDTH else self._long(define, name, taken, returns)
        heads[-1] += "" if doc else " ..."
        return [*self._options(method), f"    @{self._use(method.kind)}", *heads, *end]

    def _long(self, define: str, name: str, taken: Sequence[str], returns: str) -> list[str]:
        return [
            f"    {define} {name}(",
            *(f"        {one}," for one in ("self", *taken)),
            f"    ) -> {returns}:",
        ]

    def _options(self, method: MethodDescription) -> list[str]:
        said = [f"since={method.since}"] if method.since > 1 else []
        said += [f"timeout={method.timeout!r}"] if method.timeout is not None else []
        said += ["idempotent=True"] if method.idempotent else []
        return [f"    @{self._use('options')}({', '.join(said)})"] if said else []

    def _parameters(self, parameters: Sequence[ParameterDescription]) -> list[str]:
        written: list[str] = []
        by_name = optional = False
        for parameter in parameters:
            if not by_name and (parameter.keyword_only or (optional and parameter.required)):
                by_name = True
                written.append("*")
            optional = optional or not parameter.required
            default = "" if parameter.required else f" = {self._default(parameter)}"
            written.append(f"{parameter.name}: {self._type(parameter.type, {})}{default}")
        return written

    def _default(self, parameter: ParameterDescription) -> str:
        value = parameter.default
        if parameter.has_default and _takes(parameter.type, value):
            return _literal(value)
        return _OWN_DEFAULT

    # Types

    def _type(self, shape: Any, scope: _Scope) -> str:
        if isinstance(shape, str):
            return "None" if shape == "none" else self._use(_WORDS[shape])
        form, *parts = shape
        return _FORMS[form](self, parts, scope, shape)

    def _array(self, parts: list[Any], scope: _Scope, shape: Any) -> str:
        return f"{self._use(shape[0])}[{', '.join(self._type(part, scope) for part in parts)}]"

    def _tuple(self, parts: list[Any], scope: _Scope, shape: Any) -> str:
        if not parts:
            return f"{self._use('list')}[{self._use('Any')}]"
        return self._array(parts, scope, shape)

    def _map(self, parts: list[Any], scope: _Scope, shape: Any) -> str:
        return f"{self._use('dict')}[{self._type(parts[0], scope)}, {self._type(parts[1], scope)}]"

    def _union(self, parts: list[Any], scope: _Scope, shape: Any) -> str:
        return " | ".join(dict.fromkeys(self._type(part, scope) for part in parts)) or self._use("Any")

    def _literal(self, parts: list[Any], scope: _Scope, shape: Any) -> str:
        return f"{self._use('Literal')}[{', '.join(map(_literal, parts))}]" if parts else self._use("Any")

    def _ref(self, parts: list[Any], scope: _Scope, shape: Any) -> str:
        return scope[parts[0]]

    def _capability(self, parts: list[Any], scope: _Scope, shape: Any) -> str:
        return self._class_of(parts[0], parts[1:]) if parts else self._use("Cap")

    def _callable(self, parts: list[Any], scope: _Scope, shape: Any) -> str:
        taken = ", ".join(self._type(part, scope) for part in parts[0])
        result = f"{self._use('Awaitable')}[{self._type(parts[1], scope)}]"
        return f"{self._use('Callable')}[[{taken}], {result}]"

    def _end(self, parts: list[Any], scope: _Scope, shape: Any) -> str:
        end = "AsyncIterable" if shape[0] == "stream" else "Sink"
        return f"{self._use(end)}[{self._type(parts[0], scope)}]"

    def _struct(self, parts: list[Any], scope: _Scope, shape: Any) -> str:
        if not all(field.isprintable() and not {'"', "\\"} & set(field) for field in parts[1]):
            return self._map(["str", "any"], scope, shape)  # no class of a program has such a field
        around = sorted({(label, scope[label]) for label in labels_around(shape)})
        identity = json.dumps([shape, around])
        name = self._structs.get(identity)
        if name is None:
            name = self._structs[identity] = self._free_name(parts[0])
            place = len(self._bodies)
            self._bodies.append([])
            self._bodies[place] = self._fields(name, parts[1], {**scope, parts[0]: name})
        return name

    def _fields(self, name: str, fields: Mapping[str, Any], scope: _Scope) -> list[str]:
        tag = _tag(fields)
        told = {field: kind for field, kind in fields.items() if tag is None or field != tag[0]}
        types = {field: (self._type(kind, scope), required) for field, (kind, required) in told.items()}
        if tag is None and all(required and _is_word(field) for field, (_, required) in types.items()):
            lines = [f"    {field}: {kind}" for field, (kind, _) in types.items()]
            return [f"@{self._use('dataclass')}", f"class {name}:", *(lines or ["    pass"])]
        arguments = [self._use("Struct"), "kw_only=True"]
        if tag is not None:
            arguments += [f"tag_field={_literal(tag[0])}", f"tag={_literal(tag[1])}"]
        names = _python_names(types)
        renamed = {own: wire for own, wire in names.items() if own != wire}
        if renamed:
            pairs = (f"{_literal(own)}: {_literal(wire)}" for own, wire in renamed.items())
            arguments.append(f"rename={{{', '.join(pairs)}}}")
        unset = "" if all(required for _, required in types.values()) else f" | {self._use('UnsetType')}"
        unset += f" = {self._use('UNSET')}" if unset else ""
        lines = [f"    {own}: {types[wire][0]}{'' if types[wire][1] else unset}" for own, wire in names.items()]
        return [f"class {name}({', '.join(arguments)}):", *(lines or ["    pass"])]

    # Names

    def _use(self, name: str) -> str:
        """How a name of a module is written; where a method or a field has the same one, the module stands before."""
        module = _FROM[name]
        if name in self._inside:
            self._imports.setdefault(module, set())
            return f"{module}.{name}"
        if module != "builtins":
            self._imports.setdefault(module, set()).add(name)
        return name

    def _free_name(self, wanted: str) -> str:
        word = re.sub(r"\W", "_", wanted, flags=re.ASCII).strip("_") or "Unnamed"
        word = word if _is_word(word) else f"C{word}"
        name, number = word, 2
        while name in self._taken:
            name, number = f"{word}{number}", number + 1
        self._taken.add(name)
        return name

    def _import_lines(self) -> list[str]:
        groups: tuple[list[str], list[str]] = ([], [])
        for module, names in sorted(self._imports.items()):
            lines = groups[module in ("capnet", "msgspec")]
            if names:
                lines.append(f"from {module} import {', '.join(sorted(names))}")
            if any(one in self._inside for one, where in _FROM.items() if where == module):
                lines.append(f"import {module}")
        standard, others = (sorted(lines, key=lambda line: line.startswith("from")) for lines in groups)
        return [*standard, *([""] if standard and others else []), *others]


_FORMS: Final[Mapping[str, Callable[[Source, list[Any], _Scope, Any], str]]] = {
    "list": Source._array,  # noqa: SLF001 - the table is a part of it
    "tuple": Source._tuple,  # noqa: SLF001
    "map": Source._map,  # noqa: SLF001
    "union": Source._union,  # noqa: SLF001
    "literal": Source._literal,  # noqa: SLF001
    "struct": Source._struct,  # noqa: SLF001
    "ref": Source._ref,  # noqa: SLF001
    "cap": Source._capability,  # noqa: SLF001
    "callable": Source._callable,  # noqa: SLF001
    "stream": Source._end,  # noqa: SLF001
    "sink": Source._end,  # noqa: SLF001
}


def _is_word(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not iskeyword(name)


def _names_inside(contracts: Iterable[ContractDescription]) -> Iterator[str]:
    """The names that classes have inside, where they hide those of the module."""
    left: list[Any] = []
    for contract in contracts:
        for method in contract.methods.values():
            yield method.name
            left += [method.result, *(parameter.type for parameter in method.parameters.values())]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            yield from part
            left += part.values()
        elif isinstance(part, list):
            left += part


def _literal(value: Any) -> str:
    """A plain value in Python."""
    if isinstance(value, str) and value.isprintable():
        return json.dumps(value, ensure_ascii=False)
    return ascii(value)


def _quoted(text: str) -> str:
    """On one line, and without an end of what it stands in."""
    return ascii(text).replace('"', "'")


def _tag(fields: Mapping[str, Any]) -> tuple[str, Any] | None:
    """The field that tells a class from others in a union, as its first one."""
    for name, (kind, required) in fields.items():
        if required and kind[0] == "literal" and len(kind) == 2 and type(kind[1]) in (int, str):
            return name, kind[1]
        break
    return None


def _python_names(fields: Iterable[str]) -> dict[str, str]:
    """The fields of a class: how they are called in Python, and on the wire."""
    wires = list(fields)
    names: dict[str, str] = {wire: wire for wire in wires if _is_word(wire) and not wire.startswith("_")}
    for wire in wires:
        if wire not in names:
            word = re.sub(r"\W", "_", wire, flags=re.ASCII).strip("_") or "field"
            word = word if _is_word(word) else f"{word}_" if _is_word(f"{word}_") else f"f_{word}"
            while word in names:
                word += "_"
            names[word] = wire
    return names


def _takes(shape: Any, value: Any) -> bool:
    """Whether a plain value may be written as a default of a type."""
    word = next((word for kind, word in _PLAIN.items() if type(value) is kind), None)
    if isinstance(shape, str):
        return word is not None and (shape in ("any", word) or (shape, word) == ("float", "int"))
    if shape[0] == "union":
        return any(_takes(part, value) for part in shape[1:])
    return shape[0] == "literal" and any(value == one and type(value) is type(one) for one in shape[1:])


def _with_parameters(method: MethodDescription) -> str:
    """The docstring of a method, with what is said of its parameters."""
    about = [f"    {one.name}: {one.doc}" for one in method.parameters.values() if one.doc]
    return "\n".join(filter(None, (method.doc, "\n".join(("\nArgs:", *about)) if about else ""))).strip()


def _docstring(text: str, indent: str) -> list[str]:
    """The lines of a docstring, which it does not leave; none when there is nothing to say."""
    if not text:
        return []
    first, *rest = clean(text).replace("\\", "\\\\").replace('"', '\\"').splitlines()
    rest = [f"{indent}{line}".rstrip() for line in rest]
    return [f'{indent}"""{first}"""'] if not rest else [f'{indent}"""{first}', *rest, f'{indent}"""']
