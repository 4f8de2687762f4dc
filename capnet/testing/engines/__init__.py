"""Engines without a loop: two of them with a link between, or one against frames written by hand.

Everything that a connection does can be played step by step: deliver a byte, let a minute pass, cut the line. Nothing
runs by itself, so the same steps always give the same end. After each step the invariants of both engines are checked,
and that no reference was lost: what the exporter counts is what the importer owes plus what is still travelling.

>>> pair = EnginePair().open()
>>> call = pair.left.engine.call(pair.left.engine.imports.bootstrap, "hello", {"name": "Ada"}, token="mine")
>>> pair.flush()
>>> answer = pair.right.arrived()
>>> answer.method, answer.arguments
('hello', {'name': 'Ada'})
>>> pair.right.engine.reply(answer, "welcome")
>>> pair.flush()
>>> pair.left.returned().value
'welcome'
>>> pair.finish()
"""

from __future__ import annotations

from .link import Link
from .pair import EnginePair
from .raw import RawPeer
from .references import capability, homeward, made_on, promised, stream_in, stream_out
from .side import EngineSide

__all__ = [
    "EnginePair",
    "EngineSide",
    "Link",
    "RawPeer",
    "capability",
    "homeward",
    "made_on",
    "promised",
    "stream_in",
    "stream_out",
]
