"""What the hosts serve, and their clients use."""

from __future__ import annotations

from dataclasses import dataclass

from capnet import Cap, call, options


@dataclass(frozen=True)
class Answer:
    """A greeting, and who has said it."""

    text: str
    host: str
    version: int


class Greeter(Cap, name="fleet.Greeter"):
    @options(idempotent=True)
    @call
    async def greet(self, name: str) -> Answer:
        """Greet somebody. To do so twice does no harm, so a call that a host has not answered is made at another."""
        ...
