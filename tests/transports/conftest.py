"""Tests of transports: another pump turns on each loop."""

from __future__ import annotations

from tests.loops import on_every_loop as on_every_loop
