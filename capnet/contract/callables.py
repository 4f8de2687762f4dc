"""Functions as capabilities: `Callable[[A, B], Awaitable[R]]` is a contract with one method, `call`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from functools import lru_cache
from types import new_class
from typing import Any, Final, get_args, get_origin

from capnet.contract.capability import Cap, call
from capnet.errors import ContractError

__all__ = ["CALLABLE_NAME", "CallableCap", "callable_contract", "callable_parts"]

CALLABLE_NAME: Final = "capnet.Callable"
"""The wire name of every such contract; what it takes and gives is known from the annotation it came from."""


class CallableCap(Cap):
    """Base of the contracts made here: a proxy of one is called like the function behind it."""

    def __call__(self, *arguments: Any) -> Any:
        """Call the function: the same as `call(*arguments)`."""
        me: Any = self
        return me.call(*arguments)


def callable_parts(hint: Any) -> tuple[list[Any], Any] | None:
    """Argument types and awaited result of `Callable[[A, B], Awaitable[R]]`, or None when `hint` is another form."""
    match get_args(hint):
        case ([*arguments], awaitable) if get_origin(awaitable) in (Awaitable, Coroutine):
            return arguments, get_args(awaitable)[-1]
        case _:
            return None


@lru_cache(maxsize=256)
def callable_contract(hint: Any) -> type[CallableCap]:
    """The contract of `hint`, a `Callable[[A, B], Awaitable[R]]`; its parameters are named `a0`, `a1`, ….

    Raises:
        ContractError: the arguments are left open (`...`), or the result is not awaitable.
    """
    parts = callable_parts(hint)
    if parts is None:
        raise ContractError(f"`{hint}` is not a capability", hint="write Callable[[A, B], Awaitable[R]]")
    arguments, result = parts
    annotations = {f"a{index}": argument for index, argument in enumerate(arguments)}
    stub = call(_stub(annotations | {"return": result}))
    body = {"call": stub, "__module__": __name__, "__signature__": _signature(annotations, result)}
    return new_class("Callable", (CallableCap,), {"name": CALLABLE_NAME}, lambda namespace: namespace.update(body))


def _signature(annotations: dict[str, Any], result: Any) -> inspect.Signature:
    """What calling a proxy takes and gives."""
    kind = inspect.Parameter.POSITIONAL_ONLY
    parameters = [inspect.Parameter(name, kind, annotation=annotation) for name, annotation in annotations.items()]
    return inspect.Signature(parameters, return_annotation=result)


def _stub(annotations: dict[str, Any]) -> Callable[..., Any]:
    """An `async def call(self, a0, a1, …)` with these annotations."""

    async def call(*_: Any) -> Any: ...

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = ["self", *(name for name in annotations if name != "return")]
    parameters = [inspect.Parameter(name, kind, annotation=annotations.get(name, Any)) for name in names]
    signature = inspect.Signature(parameters, return_annotation=annotations["return"])
    call.__dict__["__signature__"] = signature
    call.__annotations__ = annotations
    return call
