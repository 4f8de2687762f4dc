"""Tests of what stands in front of capabilities: every test ends with nothing left behind."""

from __future__ import annotations

from tests.connection.leaks import nothing_left as nothing_left
