"""The two capabilities the workloads use."""

from __future__ import annotations

from typing import Any

from capnet import Cap, call

__all__ = ["Callback", "Echo"]


class Callback(Cap, name="bench.Callback"):
    """What the client passes in and the server calls back."""

    @call
    async def back(self, value: dict[str, Any]) -> dict[str, Any]:
        """The value as it came."""


class Echo(Cap, name="bench.Echo"):
    """What the server serves."""

    @call
    async def echo(self, value: dict[str, Any]) -> dict[str, Any]:
        """The value as it came."""

    @call
    async def callback(self, target: Callback, value: dict[str, Any]) -> dict[str, Any]:
        """The value as `target` gave it back, called before this call answers."""
