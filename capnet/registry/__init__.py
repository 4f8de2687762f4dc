"""Names to implementations, with generations.

Owns: what is served under which name and by whom, who must be told when that changes, and how long an implementation is
kept open (`Hosted`), and whose turn it is where calls run one at a time (`Turns`).
Must not know: sockets, loops, the wire. Whoever owns a registry runs what needs a task: `on_idle` hands over the
implementations whose close hook is due. Open `registry.py` first.
"""

from .hosted import Hosted
from .registry import Registration, Registry, ServeHandle, Subscriber
from .turns import Turns

__all__ = ["Hosted", "Registration", "Registry", "ServeHandle", "Subscriber", "Turns"]
