"""`python -m capnet` is the `capnet` command."""

from __future__ import annotations

import sys

from capnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
