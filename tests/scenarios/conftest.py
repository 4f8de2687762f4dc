"""Every scenario ends the same way: everything delivered, every table on both sides empty, both sides closed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from capnet.testing.engines import EnginePair


@pytest.fixture
def pair() -> Iterator[EnginePair]:
    """Two engines that have greeted each other; `finish()` follows the test."""
    pair = EnginePair().open()
    yield pair
    pair.finish()
