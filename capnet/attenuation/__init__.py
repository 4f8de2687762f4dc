"""Giving less than one holds: capabilities that stand in front of others.

Owns: `restrict` (some methods, some arguments, so often, so long), `revocable` (until it is taken back) and `Membrane`
(all that crosses a boundary, until it is cut). What stands in front is an ordinary implementation with the contract of
what is behind it, so it works alike for objects of ours and for proxies, is exported, forwarded and revoked like all
others, and is enforced here, by whoever has made it.
Must not know: hosts, transports. Nothing below knows this room: a capability that stands in front of another tells so
by `__capnet_hosted__` (what keeps it open) and `__capnet_restrictions__` (what is held against it).

(It is not called `restrict`: a module of that name would hide the function in `capnet`.)

Open `wrapper.py` first: how a class is made that has a contract and hands its calls on. `restriction.py` decides,
`gate.py` ends what is under way, `crossing.py` finds capabilities in values.
"""

from .membrane import Crossing, Membrane
from .restriction import Restriction, restrict, restrictions
from .revocable import revocable

__all__ = ["Crossing", "Membrane", "Restriction", "restrict", "restrictions", "revocable"]
