"""What a main function says of its plugin: its parameters are what it needs, its result is what it gives."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

from capnet.contract import ContractSpec, contract_spec
from capnet.contract.hints import meant_by, resolved_hints
from capnet.errors import ContractError

__all__ = ["Context", "Declared", "Main", "Need", "declared"]

Main: TypeAlias = Callable[..., Awaitable[Any]]
_FORM: Final = "async def main(host: HostApi) -> Speller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a plugin is told of itself, when its main function has a parameter of this type.

    Attributes:
        plugin: what the host calls it.
        generation: 1, and one more with each start and swap.
        settings: plain data, from the host's configuration.
        secrets: by name.
        log_level: the least level that the host wants to see, in words of `logging`.
        host_version: the version of capnet at the host.
    """

    plugin: str
    generation: int
    settings: Mapping[str, Any]
    secrets: Mapping[str, str] = field(repr=False)
    log_level: str
    host_version: str


@dataclass(frozen=True, slots=True)
class Need:
    """A capability that a main function wants of the host.

    Attributes:
        parameter: its name there.
        contract: as it is written, `Topic[int]` for instance.
        spec: the same, read.
        optional: whether it takes None when the host has none.
    """

    parameter: str
    contract: Any
    spec: ContractSpec
    optional: bool


@dataclass(frozen=True, slots=True)
class Declared:
    """What the annotations of a main function say.

    Attributes:
        needs: of the host, in the order of the parameters.
        context: the parameter that takes the `Context`, if there is one.
        provides: what it gives.
    """

    needs: tuple[Need, ...]
    context: str | None
    provides: ContractSpec


def declared(main: Main) -> Declared:
    """Read them.

    Raises:
        ContractError: it is no coroutine function, or a parameter or the result is neither of these.
    """
    where = getattr(main, "__qualname__", repr(main))
    if not inspect.iscoroutinefunction(main):
        raise ContractError(f"{where}: the main function of a plugin is `async def`", hint=f"write `{_FORM}`")
    hints = resolved_hints(main, where)
    if "return" not in hints or hints["return"] in (None, NoneType):
        raise ContractError(f"{where}: its result says what the plugin gives, and it says nothing", hint=_FORM)
    needs: list[Need] = []
    context: str | None = None
    for parameter in inspect.signature(main).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ContractError(f"{where}: parameter {parameter.name!r} cannot be given by name")
        hint = hints.get(parameter.name)
        if hint is Context:
            context = parameter.name
            continue
        contract, optional = _without_none(hint)
        spec = _spec(contract, f"{where}: parameter {parameter.name!r}")
        needs.append(Need(parameter.name, contract, spec, optional))
    return Declared(tuple(needs), context, _spec(hints["return"], f"{where}: its result"))


def _spec(hint: Any, where: str) -> ContractSpec:
    try:
        return contract_spec(meant_by(hint))
    except ContractError as error:
        raise ContractError(
            f"{where}: {error}", hint=f"a contract, or `capnet.plugin.Context` for a parameter: {_FORM}"
        ) from error


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, UnionType):
        members = [member for member in get_args(hint) if member is not NoneType]
        if len(members) == 1 and len(get_args(hint)) == 2:
            return members[0], True
    return hint, False
