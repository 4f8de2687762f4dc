"""Methods as tools: their names, their schemas, and which of them are shown."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias, cast

from capnet import ContractDescription, MethodDescription

__all__ = ["NEXT", "Names", "Tool", "hidden", "is_name", "output_schema", "spelled", "tools_of"]

Names: TypeAlias = Literal["dotted", "underscore"]
"""How the names of tools are written: as they are, or for hosts of models that take neither dots nor long names."""

NEXT: Final = "capnet.next"
"""The tool that reads on in a stream."""
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SHORT: Final = 64
"""Letters of a name without dots."""
_ANSWERS: Final = [{"required": ["result"]}, {"required": ["code"]}]
"""What is in an answer: a result, or an error. Clients hold both to the schema."""
_HANDLE: Final = {"type": "string", "format": "capnet-handle"}


@dataclass(frozen=True, slots=True)
class Tool:
    """A method that can be called.

    Attributes:
        name: as clients have it.
        method: what is called; its parameters are those that JSON can carry.
        target: the served name that it is called on; None when that is a handle.
        handle: the parameter that has the handle; it may be left out where there is a served name as well.
    """

    name: str
    method: MethodDescription
    target: str | None
    handle: str = ""

    def data(self) -> dict[str, Any]:
        """As `tools/list` has it."""
        taken = self.method.parameters_schema()
        if self.handle:
            doc = f"The handle of a {self.name.rpartition('.')[0]}, from an earlier result."
            taken["properties"] = {self.handle: {**_HANDLE, "description": doc}, **taken["properties"]}
            if self.target is None:
                taken["required"] = [self.handle, *taken["required"]]
        told: dict[str, Any] = {
            "name": self.name,
            "inputSchema": taken,
            "outputSchema": output_schema(self.method.result_schema(), streams=self.streams),
        }
        if self.method.doc:
            told["description"] = self.method.doc
        if self.method.idempotent:
            told["annotations"] = {"idempotentHint": True}
        return told

    @property
    def streams(self) -> bool:
        """It gives a stream."""
        shape = self.method.result
        return self.method.kind == "stream" or (not isinstance(shape, str) and shape[0] == "stream")


def output_schema(result: dict[str, Any], *, streams: bool = False, pages: bool = False) -> dict[str, Any]:
    """The schema of an answer: an object that has the result.

    Args:
        result: schema of what is given.
        streams: it is a stream; the schema is that of an array, or of one item.
        pages: it is one page.
    """
    top: dict[str, Any] = {key: result.pop(key) for key in ("$schema", "$defs") if key in result}
    if "$defs" in top:
        top["$defs"] = {name: _with_handles(one) for name, one in top["$defs"].items()}
    properties: dict[str, Any] = {"result": _with_handles(result)}
    if streams:
        rest = {**_HANDLE, "description": "There are more: the tool that reads on in a stream gives them."}
        items = _with_handles(result.get("items", result))
        properties = {"result": {"type": "array", "items": items}, "next": rest}
    elif pages:
        properties["next"] = {"type": "string", "description": "There are more: call it again with this as `cursor`."}
    return {**top, "type": "object", "properties": properties, "anyOf": _ANSWERS}


def is_name(name: str) -> bool:
    """Whether a tool may have a name."""
    return _NAME.fullmatch(name) is not None


def spelled(names: Collection[str]) -> dict[str, str]:
    """Names with underscores in place of dots, and what each stands for.

    Where several would be the same, or one is too long, each has a mark that is made of what it stands for: none is
    ever that of another tool.
    """
    known: dict[str, list[str]] = {}
    for name in names:
        known.setdefault(name.replace(".", "_"), []).append(name)
    told: dict[str, str] = {}
    for short, meant in known.items():
        if len(meant) == 1 and len(short) <= _SHORT:
            told[short] = meant[0]
        else:
            for name in meant:
                mark = sha256(name.encode()).hexdigest()[:8]
                fits = len(short) + 1 + len(mark) <= _SHORT
                told[f"{short}_{mark}" if fits else f"{short[:16]}_{mark}_{short[-38:]}"] = name
    return told


def hidden(contract: ContractDescription, method: str) -> str | None:
    """Why a method is no tool; None when there is none, or it is one."""
    if method not in contract.methods or any(tool.method.name == method for tool in tools_of(contract, "_")):
        return None
    return "it needs a function or a sink, or has a name that no tool may have"


def tools_of(contract: ContractDescription, target: str | None) -> Iterator[Tool]:
    """The methods of a contract that a client can call.

    Left out are those that need a function or a sink, which JSON cannot carry, and those whose names no tool may have.

    Args:
        target: the name that it is served under; None for the contract of handles.
    """
    for method in contract.methods.values():
        name = f"{target or contract.name}.{method.name}"
        shown = {one.name: one for one in method.parameters.values() if not _holds(one.type, ("callable", "sink"))}
        if not is_name(name) or any(one.required and one.name not in shown for one in method.parameters.values()):
            continue
        handle = "" if target is not None else "cap"
        while handle in shown:
            handle += "_"
        yield Tool(name, replace(method, parameters=shown), target, handle)


def _holds(shape: Any, forms: Collection[str]) -> bool:
    if isinstance(shape, str):
        return False
    form, *parts = shape
    if form in forms:
        return True
    if form in ("literal", "cap", "ref"):
        return False
    if form == "struct":
        return any(_holds(kind, forms) for kind, _ in parts[1].values())
    return any(_holds(part, forms) for part in parts)


def _with_handles(schema: Any) -> Any:
    """A schema in which a stream is the handle that stands for it."""
    if isinstance(schema, list):
        return [_with_handles(one) for one in cast("Any", schema)]
    if not isinstance(schema, dict):
        return schema
    told = cast("dict[str, Any]", schema)
    if told.get("x-capnet") == {"stream": True}:
        return {
            **_HANDLE,
            "x-capnet": {"stream": True},
            "description": "The tool that reads on in a stream gives what is in it.",
        }
    return {key: value if key in ("enum", "default") else _with_handles(value) for key, value in told.items()}
