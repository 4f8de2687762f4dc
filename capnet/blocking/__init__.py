"""capnet for programs without an event loop: scripts, notebooks, tests of such programs.

    from capnet import blocking

    with blocking.connect("unix:chat.sock") as conn:
        room = conn.bootstrap(Room)
        print(conn.call(room.post, "hello"))
        for line in conn.iterate(room.lines):
            print(line)

One thread runs the event loop of all blocking connections, so a capability of one may be passed on over another. It is
there as long as one of them is open. What runs in that thread: functions and objects that are passed as arguments, when
the peer calls them, and whatever is given to `call`. They must not block it; `capnet.in_thread` is for those that do.

Each method here may be called by any thread but that one, also by several at once. Ctrl-C in one that waits cancels
what it waits for.

Owns: the thread with the loop, and what of connections and links other threads use.
Must not know: hosts, the engine, what calls are made of.

Open `connection.py` first, then `opened.py`, which has what connections and `links.py` share; the thread, and what
others have it do, is `background.py`.
"""

from __future__ import annotations

from .connection import BlockingConnection, connect
from .links import BlockingLink, link
from .opened import BlockingStream

__all__ = ["BlockingConnection", "BlockingLink", "BlockingStream", "connect", "link"]
