"""What tests of pipelines and forwarders share: a tree of nodes to walk, chains of peers, and a look at the frames."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import anyio
from anyio.lowlevel import checkpoint

from capnet import INJECT, CallContext, Cap, Connection, Limits, NotFound, Sink, Stream, call, stream
from capnet.engine.inspect import check_invariants
from capnet.testing import assert_no_leaks, connected
from capnet.transport import Receiver, Transport
from capnet.wire.frames import Op
from tests.connection.shop import Gate


class Pair(NamedTuple):
    """Travels as an array."""

    weight: int
    node: Node


@dataclass
class Branch:
    """A capability at every kind of place."""

    node: Node
    by_name: dict[str, Node]
    by_number: dict[int, Node]
    row: list[Node]
    both: tuple[str, Node]
    pair: Pair
    word: str
    none: Node | None = None
    deeper: dict[str, list[Pair]] = field(default_factory=dict[str, list[Pair]])


class Node(Cap, name="test.Node"):
    """Something that leads to others of its kind."""

    @call
    async def child(self, name: str) -> Node:
        """The node below; it begins with the call."""
        ...

    @call
    async def late_child(self, name: str) -> Node:
        """The same behind the gate."""
        ...

    @call
    async def branch(self) -> Branch: ...
    @call
    async def maybe(self) -> Node | None: ...
    @call
    async def anything(self, value: Any) -> Any: ...
    @call
    async def say(self, text: str) -> str:
        """Is written into the log."""
        ...

    @call
    async def late_word(self, text: str) -> str:
        """The same text, behind the gate."""
        ...

    @call
    async def spell(self, words: list[str]) -> str: ...
    @call
    async def meet(self, other: Node) -> str:
        """Tells the path of the other, which must be a node of this tree itself."""
        ...

    @call
    async def ask(self, other: Node, text: str) -> str:
        """What the other says, whoever hosts it."""
        ...

    @call
    async def hand(self, other: Node) -> Node:
        """The other, at once."""
        ...

    @call
    async def late_hand(self, other: Node) -> Node:
        """The other, behind the gate."""
        ...

    @call
    async def refuse(self, reason: str) -> Node:
        """Fails, behind the gate."""
        ...

    @call
    async def crash(self) -> Node: ...
    @call
    async def context(self) -> dict[str, Any]: ...

    @stream
    def count(self, to: int) -> Stream[int]: ...
    @stream
    def children(self, names: list[str]) -> Stream[Node]: ...
    @call
    async def total(self, numbers: AsyncIterable[int]) -> int: ...
    @stream
    def double(self, numbers: AsyncIterable[int]) -> Stream[int]: ...
    @call
    async def feed(self, into: Sink[int], to: int) -> None: ...


class Tree:
    """What all nodes of a tree share."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.log: list[str] = []
        self.nodes: dict[str, MemNode] = {}
        self.produced = 0
        """Items that its streams have given."""
        self.consumed = 0
        """Items that it has read."""
        self.ended: list[str] = []
        """Streams that have ended there, and how."""
        self.root = MemNode(self, "")

    @property
    def closed(self) -> dict[str, int]:
        """How often each close hook ran."""
        return {path: node.closed for path, node in self.nodes.items()}


class MemNode(Node):
    """A node in memory."""

    def __init__(self, tree: Tree, path: str) -> None:
        self.tree = tree
        self.path = path
        self.closed = 0
        tree.nodes[path] = self

    async def child(self, name: str) -> Node:
        return MemNode(self.tree, f"{self.path}/{name}")

    async def late_child(self, name: str) -> Node:
        await self.tree.gate.pass_through(name)
        return MemNode(self.tree, f"{self.path}/{name}")

    async def branch(self) -> Branch:
        def node(name: str) -> MemNode:
            return MemNode(self.tree, f"{self.path}/{name}")

        return Branch(
            node("field"),
            {"tea": node("named")},
            {7: node("numbered")},
            [node("first"), node("second")],
            ("text", node("tuple")),
            Pair(1, node("pair")),
            "leaf",
            None,
            {"x": [Pair(0, node("wrong")), Pair(2, node("deep"))]},
        )

    async def maybe(self) -> Node | None:
        return None

    async def anything(self, value: Any) -> Any:
        return value

    async def say(self, text: str) -> str:
        self.tree.log.append(text)
        return f"{self.path}:{text}"

    async def late_word(self, text: str) -> str:
        await self.tree.gate.pass_through(text)
        return text

    async def spell(self, words: list[str]) -> str:
        return "-".join(words)

    async def meet(self, other: Node) -> str:
        return other.path if isinstance(other, MemNode) else "a stranger"

    async def ask(self, other: Node, text: str) -> str:
        return await other.say(text)

    async def hand(self, other: Node) -> Node:
        return other

    async def late_hand(self, other: Node) -> Node:
        await self.tree.gate.pass_through("hand")
        return other

    async def refuse(self, reason: str) -> Node:
        await self.tree.gate.pass_through(reason)
        raise NotFound("there is none", reason=reason, details={"path": self.path}, retry="never")

    async def crash(self) -> Node:
        raise RuntimeError("secret")

    async def context(self, ctx: CallContext = INJECT) -> dict[str, Any]:
        return {"left": ctx.deadline, "context": dict(ctx.metadata)}

    async def count(self, to: int) -> Stream[int]:
        try:
            for number in range(to):
                self.tree.produced += 1
                yield number
        finally:
            self.tree.ended.append("count")

    async def children(self, names: list[str]) -> Stream[Node]:
        for name in names:
            yield await self.child(name)

    async def total(self, numbers: AsyncIterable[int]) -> int:
        total = 0
        async for number in numbers:
            self.tree.consumed += 1
            total += number
            if self.tree.consumed == 100 and self.path == "/stalls":
                await self.tree.gate.pass_through("total")
        return total

    async def double(self, numbers: AsyncIterable[int]) -> Stream[int]:
        async for number in numbers:
            yield number * 2

    async def feed(self, into: Sink[int], to: int) -> None:
        async with into:
            for number in range(to):
                self.tree.produced += 1
                await into.send(number)

    async def aclose(self) -> None:
        self.closed += 1


class Hub(Cap, name="test.Hub"):
    """Where one peer leaves a node for the next."""

    @call
    async def get(self) -> Node: ...
    @call
    async def put(self, node: Node) -> None: ...


class MemHub(Hub):
    def __init__(self, node: Node | None = None) -> None:
        self.node = node

    async def get(self) -> Node:
        assert self.node is not None
        return self.node

    async def put(self, node: Node) -> None:
        self.node = node


class Chain:
    """Peers in a row, the first of which hosts a tree; the last holds its root through all of them.

    Attributes:
        node: the root, as the last peer has it.
        hops: both ends of each connection, the one to the host of the tree first.
        hubs: where each peer but the last has left the root for the next.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.hops: list[tuple[Connection, Connection]] = []
        self.hubs: list[MemHub] = []
        self.node: Any = tree.root

    @property
    def last(self) -> Connection:
        """The connection of the last peer."""
        return self.hops[-1][1]

    @property
    def connections(self) -> list[Connection]:
        """All ends."""
        return [end for hop in self.hops for end in hop]

    def forget(self) -> None:
        """Let go of the root everywhere but at its host."""
        self.node = None
        for hub in self.hubs:
            hub.node = None


@asynccontextmanager
async def chain(peers: int, limits: Limits | None = None) -> AsyncGenerator[Chain]:
    """So many peers in a row, all with the same limits."""
    made = Chain(Tree())
    async with AsyncExitStack() as stack:
        for _ in range(peers - 1):
            hub = MemHub(made.node)
            hop = await stack.enter_async_context(connected(hub, limits=limits, client_limits=limits))
            made.hubs.append(hub)
            made.hops.append(hop)
            made.node = await (await hop[1].bootstrap(Hub)).get()
        yield made


class Tap(Transport):
    """Stands between a driver and its transport: what has left, in which write."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.attestation = inner.attestation
        self.writes: list[list[int]] = []
        """Op codes of the frames in each write."""
        self.payloads: list[bytes] = []

    @classmethod
    def on(cls, connection: Connection) -> Tap:
        """From now on."""
        tap = connection._session.driver.transport = cls(connection._session.driver.transport)
        return tap

    @property
    def frames(self) -> list[int]:
        """Op codes of all frames that have left."""
        return [op for write in self.writes for op in write]

    def send(self, chunks: Sequence[bytes]) -> None:
        data, ops = b"".join(chunks), list[int]()
        while data:
            size = int.from_bytes(data[:4], "big")
            payload, data = data[4 : 4 + size], data[4 + size :]
            self.payloads.append(payload)
            ops.append(payload[1])  # after the head of the array; every op code is one byte
        self.writes.append(ops)
        self.inner.send(chunks)

    def start(self, receiver: Receiver) -> None:
        raise AssertionError("it was started before")

    @property
    def backlog(self) -> int:
        return self.inner.backlog

    def pause(self) -> None:
        self.inner.pause()

    def resume(self) -> None:
        self.inner.resume()

    def close(self) -> None:
        self.inner.close()

    def abort(self) -> None:
        self.inner.abort()


CALL, RESULT, FINISH, DROP = int(Op.CALL), int(Op.RESULT), int(Op.FINISH), int(Op.DROP)


async def assert_nothing_left(*connections: Connection) -> None:
    """No reference, no call, nothing kept, nothing that waits, no stream, and no strike counted."""
    await assert_no_leaks(*connections)
    with anyio.move_on_after(60):
        while any(map(_left, connections)):
            await checkpoint()
    for connection in connections:
        assert not _left(connection), (connection, _left(connection))
        assert not connection._parts.calls.dependent.lines
        check_invariants(connection._session.engine)


def _left(connection: Connection) -> dict[str, int]:
    stats = connection.stats()
    keys = ("answers_kept", "answers_waiting", "streams", "strikes")
    return {key: stats[key] for key in keys if stats[key]}


async def settled(of: Callable[[], int], turns: int = 200) -> int:
    """What a count has come to when it has not changed for so many turns of the loop."""
    last, same = of(), 0
    while same < turns:
        await checkpoint()
        same = same + 1 if of() == last else 0
        last = of()
    return last
