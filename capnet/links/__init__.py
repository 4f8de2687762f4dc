"""Links: one object that outlives its connections, and proxies that do.

Owns: when another connection is tried, which names are asked for again, which capabilities are asked for again when
they are used, and what users are told of it. Which calls are made again is for the slots to decide: all proxies of a
link are those of slots.
Must not know: the engine, and what calls are made of. A link is a host that looks after one connection of its own.

Open `link.py` first (the words of users), then `course.py` (when to try again; no clock of its own), `recovery.py`
(what is done when there is another connection), `healing.py` (the proxies: names, and what their methods have brought).
"""
