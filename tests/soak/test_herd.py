"""Ten thousand links whose host is killed: all come back, a few times each, and whoever works meanwhile is answered."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.soak.herd import measure
from tests.soak.many import allow_descriptors
from tests.soak.test_connections import SPARE, WANTED

LINKS = int(os.environ.get("CAPNET_LINKS", str(WANTED)))


@pytest.mark.timeout(1500)
def test_ten_thousand_links_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the host does for them is bounded, and it does not do that alone."""
    count = min(LINKS, allow_descriptors() - SPARE)
    back = measure(count, tmp_path)
    with capsys.disabled():
        sys.stdout.write(f"\n{back}\n")
    assert (back.links, back.lost) == (count, 0)
    assert back.opened <= 3 * count, "who is turned away comes again, and not all the time"
    assert back.attempts <= 20 * count
    assert back.worked >= 10, "somebody works while they come"
    assert back.between <= count / 4, "and does not wait until all have been let in"
