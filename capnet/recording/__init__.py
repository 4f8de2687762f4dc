"""The room of recordings: what connections said, in a file, to be looked at later.

Owns: the layer that listens in on a transport, the file, and what of a frame goes into it. Without `record=` there is
no such layer. Must not know: engines, connections, loops.

    recorder.py   the file: what is written, and how much of it
    tap.py        the layer between a transport and its receiver
    entries.py    a frame as plain data, with its values or without
    reading.py    the file, read again

Open `recorder.py` first. A recording is text, one JSON object a line: the first with `recording`, `form`, `began` and
`values`, then one for each connection that is opened or closed, and one for each frame, as `entries.py` makes it.
"""

from .reading import Entry, read
from .recorder import DEFAULT_LIMIT, Recorder

__all__ = ["DEFAULT_LIMIT", "Entry", "Recorder", "read"]
