"""What is to be served: objects of a module, or classes and functions that make them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isabstract, isawaitable
from typing import Any, cast

from capnet import Cap
from capnet.cli.exits import Stop
from capnet.cli.loading import load_object

__all__ = ["implementation", "instance", "named"]


def named(target: str) -> tuple[str | None, Any]:
    """The name to serve it under, None for that of its contract, and what the target names.

    Args:
        target: `MODULE:NAME`, or `SERVED_NAME=MODULE:NAME`.

    Raises:
        Stop: it names nothing that could be served. What the module raises.
    """
    served, equals, rest = target.partition("=")
    found = load_object(rest if equals else target)
    if isinstance(found, type) and isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise Stop(f"{target} is no implementation: it lacks {missing}", hint="a class that has them can be served")
    if not isinstance(found, Cap) and not callable(found):
        raise Stop(f"{target} is no implementation, and nothing that makes one, but {type(found).__name__}")
    return served if equals else None, found


async def implementation(found: Any) -> Any:
    """What is served; what makes it is called, in the loop that it will run in."""
    made = instance(found)
    return await made if isawaitable(made) else made


def instance(found: Any) -> Any | Awaitable[Any]:
    """The same, with what is to be awaited as it is."""
    makes = isinstance(found, type) or (callable(found) and not isinstance(found, Cap))
    return cast("Callable[[], Any]", found)() if makes else found
