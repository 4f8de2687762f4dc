"""What the host and the process with the modules say to each other."""

from __future__ import annotations

from typing import Final

from capnet import Cap, call

__all__ = ["FRONT", "Front"]

FRONT: Final = "front"


class Front(Cap, name="capnet.Front"):
    """Under the name `front` the host has this for the process that it has started."""

    @call
    async def ready(self, served: dict[str, Cap], files: list[str]) -> None:
        """All is loaded.

        Args:
            served: what is to be served, by name.
            files: of the modules that were loaded, without those that are installed.
        """
        ...

    @call
    async def failed(self, files: list[str], message: str = "", hint: str | None = None) -> None:
        """It could not be loaded.

        Args:
            files: as above.
            message: what the user has named wrongly; empty when the terminal has shown a traceback.
            hint: what to do about it.
        """
        ...
