"""Tests of links: every test ends with nothing left behind."""

from __future__ import annotations

from tests.connection.leaks import no_ping_helps as no_ping_helps
from tests.connection.leaks import nothing_left as nothing_left
