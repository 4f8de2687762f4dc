"""F2 on asyncio's `BufferedProtocol`: the loop reads into one buffer that stays, and that all connections share.

A plain `Protocol` gets bytes of its own for each read, which asyncio allocates at 256 KiB and cuts down: on some
systems that is a third of a small call. All else is F2's.
"""

from __future__ import annotations

import asyncio

from benchmarks.floors import f2

__all__ = ["SUBJECT", "Connection"]

SIZE = 256 * 1024
"""What asyncio reads at once for a plain protocol."""


class Connection(f2.Connection, asyncio.BufferedProtocol):
    """One end; both ends are alike."""

    _read = memoryview(bytearray(SIZE))
    """Free again as soon as `data_received` returns."""

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._read

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._read[:nbytes])


SUBJECT = f2.subject_of(Connection)
