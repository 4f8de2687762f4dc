"""One source, many readers: what a host needs when every `@stream` handler hands out a subscription.

Owns: `Broadcast` (items, with a policy for readers that fall behind), `State` (a value and its changes) and the one
`Subscription` that both give out, which is a stream as contracts have it.
Must not know: connections, the engine, the wire. Nothing here has a task, a lock or a thread; everything is called from
the thread of one loop, asyncio's or trio's. Only finalisers may run elsewhere, and they are written for it.

Each reader has a bounded buffer of its own. Open `inbox.py` first: who waits for whom is decided there.
"""

from .broadcast import Broadcast
from .inbox import BufferPolicy
from .state import State
from .subscription import Subscription

__all__ = ["Broadcast", "BufferPolicy", "State", "Subscription"]
