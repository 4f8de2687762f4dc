"""Leaving: whether what a handler or a producer has given is what the contract declares.

What leaves has been taken apart for the wire by then (`plain.py`), with a reference where each capability, function or
stream stood; whether that may stand there was looked at by its position. The rest is what the other side would find
when it rebuilds the value (`conversion.py`), but here it is known whose fault it is.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Callable
from functools import lru_cache
from types import NoneType
from typing import Any, Final, get_args, get_origin

from capnet.contract.annotation import Annotation
from capnet.contract.conversion import INVALID_VALUE, Conversion, convert_items, item_conversion
from capnet.contract.unfit import Unfit
from capnet.errors import InvalidArgument
from capnet.limits import HIGHEST_INTEGER, LOWEST_INTEGER

__all__ = ["Leaving", "exact_type", "leaving_item"]

EXACT: Final = frozenset({NoneType, bool, int, float, str, bytes})
"""Values of these types are what they are declared as when they have the type."""
_OPEN: Final[dict[Any, Any]] = {dict: dict, abc.Mapping: dict, list: list, abc.Sequence: list}
"""What may stand for containers in which anything may be."""
_REFERRED: Final = ("cap", "callable", "stream", "sink")
_NONE_HAS_IT: Final = type("_NoneHasIt", (), {})
_PLAIN: Final = EXACT | {list, tuple, dict}
_kind: Callable[[Any], Any] = type
"""`type`, by another name: checkers leave the class alone."""


class Leaving:
    """What is declared for a value that leaves.

    Args:
        annotation: of it.
        name: what it is called in the text of the error.

    Attributes:
        exact: plain data of this type needs no `check`; None when no plain data does.
        as_is: whether a value is plain data of exactly what is declared; None where there is no short way to tell.
    """

    __slots__ = ("_annotation", "_conversion", "_name", "_referred", "as_is", "exact")

    def __init__(self, annotation: Annotation, name: str) -> None:
        self._annotation = annotation
        self._name = name
        self._referred = annotation.shape[0] in _REFERRED
        self._conversion: Conversion | None = None
        self.exact: Any = None if annotation.shape == "any" else exact_type(annotation)
        self.as_is = _short_way(annotation.hint)

    def check(self, value: Any) -> None:
        """Whether a value is what is declared, once it has been taken apart.

        Raises:
            TypeError: it is not; the text names the path. Not an error of ours: it is not for the peer.
        """
        if self.exact is None or _kind(value) is self.exact or (self._referred and _kind(value) not in _PLAIN):
            return
        if self._conversion is None:
            # Most are never needed, and each takes as long to make as some calls.
            self._conversion = Conversion(self._name, [(self._name, self._annotation, True)], _left)
        try:
            self._conversion.convert({self._name: value})
        except Exception as error:
            by_class = type(error) is not InvalidArgument or error.reason == INVALID_VALUE
            if by_class and self._annotation.has_custom:
                return  # it was given stand-ins: only the other side will have what it wants
            raise TypeError(f"the {self._name} is not what is declared: {error}") from error


def exact_type(annotation: Annotation) -> Any:
    """The type of plain data that is what an annotation declares whatever is in it."""
    hint = NoneType if annotation.hint is None else annotation.hint
    if hint in EXACT:
        return hint
    if annotation.shape in (["map", "str", "any"], ["map", "any", "any"], ["list", "any"]):
        return _OPEN.get(get_origin(hint) or hint, _NONE_HAS_IT)
    return _NONE_HAS_IT


@lru_cache(maxsize=1024)
def leaving_item(end: Any) -> Leaving:
    """What is declared for the items of a stream or a sink.

    Args:
        end: as it is declared, such as `Stream[Msg]`.
    """
    conversion = item_conversion(end)
    assert conversion is not None, "only ends have items"
    return Leaving(conversion.annotation, "item")


def _stand_in(kind: Any) -> Any:
    """What msgspec takes for an object of the type that is declared: a reference has been let through in its place."""
    return type("_StandIn", (), {"__slots__": (), "__class__": kind})()


def _left(hint: Any, value: Any) -> Any:
    """The counterpart of `narrow`."""
    if hint is object:
        return value
    origin = get_origin(hint) or hint
    if origin is abc.Iterable:
        return convert_items(hint, value, _left)
    if _kind(value) in _PLAIN:
        raise Unfit(f"Expected `{getattr(origin, '__name__', origin)}`, got `{_kind(value).__name__}`")
    return _stand_in(origin)


def _short_way(hint: Any) -> Callable[[Any], bool] | None:
    """For a tuple with a place for each of some plain values: what producers give most that is more than one value."""
    kinds = get_args(hint)
    if get_origin(hint) is not tuple or not kinds or not EXACT.issuperset(kinds):
        return None
    places = tuple(enumerate(kinds))
    count = len(kinds)

    def is_exact(value: Any) -> bool:
        if _kind(value) is not tuple or len(value) != count:
            return False
        for place, kind in places:
            item = value[place]
            if _kind(item) is not kind or (kind is int and not LOWEST_INTEGER <= item < HIGHEST_INTEGER):
                return False
        return True

    return is_exact
