"""Slots: a capability that stays while what is behind it comes, goes, and comes again.

Owns: the proxy that users keep, what is behind it now and what was before, who waits while there is nothing, and which
calls are made again. What a slot gives out is an ordinary implementation, so it is served, passed on and restricted
like all others.
Must not know: hosts, transports, and where what is behind comes from: whoever looks after that says `set` and `clear`.

Open `slot.py` first (the words of users), then `occupant.py` (what is behind, and what its break means for a call).
"""

from .occupant import Occupant
from .slot import Slot

__all__ = ["Occupant", "Slot"]
