"""The room itself: what it gives, and when it is imported."""

from __future__ import annotations

import pytest

import capnet.contract


def test_every_name_of_the_room_is_there() -> None:
    """Those that are imported late are imported when they are asked for."""
    for name in capnet.contract.__all__:
        assert getattr(capnet.contract, name) is not None


def test_other_names_are_not() -> None:
    """A misspelt name fails like in any module."""
    with pytest.raises(AttributeError, match="contract_specs"):
        _ = capnet.contract.contract_specs  # pyright: ignore[reportAttributeAccessIssue]
