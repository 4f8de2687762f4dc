"""Cap'n Web: what a host serves, for programs in JavaScript.

session.py      the protocol, without input and output: messages in, what is to be done out
messages.py     JSON texts; expressions.py, values.py: what is written in them
cells.py        values that will be there
streams.py      pipes: what a client writes; moving.py: who moves the items
evaluation.py   what expressions stand for; mapping.py: `map`
shapes.py       values by the contract; lending.py: objects of the client's as capabilities
bridge.py       one session in front of one connection
app.py          the ASGI application; door.py: who comes in
bounds.py       how much a client may ask for
"""

from __future__ import annotations

from .app import Capnweb, capnweb
from .bounds import Bounds

__all__ = ["Bounds", "Capnweb", "capnweb"]
