"""Values as they come out of a conversion, or are refused by it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from capnet.contract.annotation import read_annotation
from capnet.contract.conversion import Conversion
from capnet.errors import InvalidArgument

__all__ = ["PRIME", "converted", "refusal"]

PRIME: Final = 2**61 - 1
"""Numbers that differ by it have the same hash."""


def converted(hint: Any, value: Any) -> Any:
    """A value that came, as the annotation wants it."""
    conversion = Conversion("test", [("value", read_annotation(hint, "here"), True)])
    return conversion.convert({"value": value}).value


def refusal(hint: Any, value: Any) -> InvalidArgument:
    """What is said of one that does not fit."""
    with pytest.raises(InvalidArgument) as caught:
        converted(hint, value)
    return caught.value
