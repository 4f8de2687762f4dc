"""Names to implementations, with generations.

Owns: what is served under which name and by whom, who must be told when that changes, how long an implementation is
kept open (`Hosted`), what stands for it where a peer gives it back (`Facet`), whose turn it is where calls run one at a
time (`Turns`), and who is asked for names that nobody serves (`Fallback`).
Must not know: sockets, loops, the wire. Whoever owns a registry runs what needs a task: `on_idle` hands over the
implementations whose close hook is due. Open `registry.py` first.
"""

from .facet import Facet, facet_of, implementation_of
from .fallback import Fallback
from .hosted import Grants, Hosted
from .registry import Registration, Registry, Replacement, ServeHandle, Subscriber
from .turns import Turns

__all__ = [
    "Facet",
    "Fallback",
    "Grants",
    "Hosted",
    "Registration",
    "Registry",
    "Replacement",
    "ServeHandle",
    "Subscriber",
    "Turns",
    "facet_of",
    "implementation_of",
]
