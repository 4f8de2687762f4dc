"""Tests of one connection, both ends live: every test ends with nothing left behind."""

from __future__ import annotations

from tests.connection.leaks import nothing_left as nothing_left
