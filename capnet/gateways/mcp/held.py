"""What one client has between its requests: handles, what is known of what it can call, and news of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from capnet import Connection, ContractDescription
from capnet.gateways.values import MAX_HANDLES, Handles

from .news import Box, News

if TYPE_CHECKING:
    from .boxes import Boxes

__all__ = ["Held", "Served"]

UNUSED: Final = 15 * 60.0
"""Seconds that a handle is good for without being used."""


@dataclass(frozen=True, slots=True)
class Served:
    """What is known of a name.

    Attributes:
        told: what the host tells of it in few words; when it tells something else there is something else.
        contract: of what is served.
    """

    told: Mapping[str, Any]
    contract: ContractDescription


class Held:
    """What one client has.

    Args:
        connection: of this client alone.
        most: handles that it has at a time.

    Attributes:
        handles: of what it was given.
        served: what is known of what is served, by name.
        contracts: those of handles, by name; their methods are tools.
        boxes: toolboxes that are served; None when there never was one.
    """

    def __init__(self, connection: Connection, most: int = MAX_HANDLES) -> None:
        self.connection = connection
        self.handles = Handles(most, unused=UNUSED)
        self.served: dict[str, Served] = {}
        self.contracts: dict[str, ContractDescription] = {}
        self.boxes: Boxes | None = None
        self.news = News(connection)

    async def toolboxes(self, served: frozenset[Box]) -> None:
        """These are toolboxes; what there is about them is loaded with the first."""
        if self.boxes is None and served:
            from .boxes import Boxes

            self.boxes = Boxes(self.connection, self.news)
        if self.boxes is not None:
            await self.boxes.serve(served)
