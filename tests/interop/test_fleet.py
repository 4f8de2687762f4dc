"""The example of the page on many hosts, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.interop.counterparts import ROOT, program
from tests.interop.nats_servers import free_port


def test_the_example() -> None:
    """One host is killed and one is swapped, and no call fails."""
    program("nats-server")
    fleet = subprocess.run(
        [sys.executable, str(ROOT / "docs/examples/fleet/fleet.py"), str(free_port())],
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        check=True,
    )
    page = (ROOT / "docs/how-to/fleet.md").read_text()
    shown = re.search(r"\$ python fleet.py\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    assert re.sub(r"\d+ calls", "", fleet.stdout) == re.sub(r"\d+ calls", "", shown[1])
