"""What helps to test programs and transports that use capnet."""

from __future__ import annotations
