"""Tests of one connection, both ends live: every test ends with nothing left behind."""

from __future__ import annotations

from tests.connection.balance import every_start_has_its_end as every_start_has_its_end
from tests.connection.leaks import nothing_left as nothing_left
