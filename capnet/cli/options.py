"""Options that several commands have, each group of them a dataclass.

A command names a group as the type of a parameter, and gets an object of it:

    async def watch(peer: Peer, out: Output, *, errors: Annotated[bool, typer.Option()] = False) -> None: ...

`flat` makes of it what typer understands, a function that has the fields of the groups as parameters of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

import typer

__all__ = ["flat"]


def flat(command: Callable[..., object], call: Callable[[Mapping[str, Any]], object]) -> Callable[..., object]:
    """A function with the parameters of a command, and the fields of its groups in the place of those.

    Args:
        command: whose parameters they are.
        call: is given the command's arguments, and says what comes of it.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if is_dataclass(kind) and isinstance(kind, type):
            groups[name] = kind
            parameters += _parameters(kind)
        else:
            parameters.append(parameter.replace(annotation=kind, kind=parameter.KEYWORD_ONLY))

    def function(**arguments: Any) -> object:
        for name, kind in groups.items():
            arguments[name] = kind(**{field.name: arguments.pop(field.name) for field in fields(kind)})
        return call(arguments)

    vars(function).update(
        __name__=command.__name__,
        __doc__=command.__doc__,
        __signature__=inspect.Signature(parameters),
        __annotations__={parameter.name: parameter.annotation for parameter in parameters},
    )
    function.__doc__ = command.__doc__
    return function


def _parameters(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, localns={"typer": typer}, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
