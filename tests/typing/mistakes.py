"""Twenty mistakes that a type checker must find, each on the line that is marked."""

from __future__ import annotations

from contract import Lobby, Member, Msg, Room

from capnet import Cap, Stream, call, channel, link, notify, pipe
from capnet import connect as reach
from capnet.blocking import connect
from capnet.contract import Sink


class Misnamed(Cap, nmae="chat.Misnamed"):  # mistake: unknown class keyword
    @call
    async def ping(self) -> None: ...


class WrongArgument(Member):
    async def notify(self, msg: int) -> None: ...  # mistake: override with another argument type


class Chatty(Cap, name="chat.Chatty"):
    @call
    async def say(self, text: str, *, loud: bool = False) -> None: ...


class Quiet(Chatty):
    async def say(self, text: str) -> None: ...  # mistake: the keyword argument is dropped


class WrongYield(Room):
    async def history(self, limit: int = 100) -> Stream[Msg]:
        yield "text"  # mistake: yields something else


class Half(Member): ...


Half()  # mistake: the implementation is incomplete


async def write(numbers: Sink[int]) -> None:
    await numbers.send("x")  # mistake: the reader gets numbers
    anything: Sink[object] = numbers  # mistake: what takes numbers does not take everything
    print(anything)


async def main(lobby: Lobby, room: Room, member: Member) -> None:
    await room.post(5)  # mistake: wrong argument
    await room.post("hi", urgnt=True)  # mistake: misspelt keyword
    text: str = await room.post("hi")  # mistake: wrong result type
    number: int = room.post("hi")  # mistake: forgotten await
    async for msg in room.history():
        print(msg.sender)  # mistake: the item has no such attribute
    await room.join(room)  # mistake: wrong kind of capability
    await lobby.opne("x")  # mistake: unknown method
    await pipe(lobby.open("x")).post(5)  # mistake: wrong argument on a promise
    await pipe(lobby.rooms()).post("x")  # mistake: a promise of rooms is no room
    notify(room.post)(5)  # mistake: wrong argument of a one-way call
    await write(channel(str)[0])  # mistake: a channel of another type
    print(text, number, member)


async def options() -> None:
    await Host().connect("exec:", arg=["lint.py"])  # mistake: misspelt option of a transport
    await Host().listen("unix:chat.sock", backlog="many")  # mistake: an option of another type
    await reach("exec:", on_exit=lambda code: code.bit_length())  # mistake: it may be None


async def stay() -> None:
    async with link("unix:chat.sock") as desk:
        room = await desk.bootstrap(Room)
        await room.post(5)  # mistake: wrong argument on what heals
        await desk.bootstrap(Room, waits=5)  # mistake: misspelt keyword of a link


def without_a_loop(room: Room) -> None:
    conn = connect("unix:chat.sock")
    conn.call(room.post, 5)  # mistake: wrong argument
    text: str = conn.call(room.post, "hi")  # mistake: wrong result type
    print(text)
