"""`in_thread`: blocking work as a method of an implementation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import isasyncgenfunction, iscoroutinefunction
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar, cast

from anyio.to_thread import run_sync

from capnet.errors import ContractError

__all__ = ["in_thread"]

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(function: Callable[P, T]) -> Callable[P, CoroutineType[Any, Any, T]]:
    """Make an async method of a plain one: each call runs in a worker thread while the loop goes on.

    A call that is cancelled is answered at once, but its slot stays taken until the thread is done: a thread cannot be
    stopped from outside.

    Raises:
        ContractError: it is async already.
    """
    if iscoroutinefunction(function) or isasyncgenfunction(function):
        raise ContractError("@in_thread takes a plain function", hint="what is async runs in the loop: leave it out")

    @wraps(function)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return await run_sync(partial(function, *args, **kwargs))

    return cast("Callable[P, CoroutineType[Any, Any, T]]", run)
