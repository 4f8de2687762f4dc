"""Values that are built of what a peer sends: by the class, and of no more than it takes; what it says stays here.

The same for arguments, for the results of the peer, and for the items of its streams: a handler that does not expect
these to fail hands the error on to the peer.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import msgspec
import pytest

from capnet import Cap, Stream, call
from capnet.errors import InvalidArgument, NotFound
from capnet.observe import HandlerFailed
from capnet.testing import connected
from capnet.wire.frames import Op
from capnet.wire.references import CapRef, StreamRef
from tests.connection.shop import until
from tests.hostile.attack import Raw, Scene, scene

BOOTSTRAP = 0
CANARY = "canary-7d21"


def look_up(number: str) -> None:
    """What a careless programmer does with a value: errors of looking it up quote what was found."""
    table = {"dsn": CANARY}
    match number:
        case "value":
            int(table["dsn"])
        case "type":
            raise TypeError(f"no password but {table['dsn']}")
        case "other":
            raise OSError(table["dsn"])
        case "path":
            raise ValueError(f"{CANARY} - at `$.{CANARY}`")
        case "conversion":
            msgspec.convert({table["dsn"]: 1}, dict[str, str])
        case "validation":
            raise msgspec.ValidationError(f"{CANARY} - at `$.x`")
        case "assert":
            raise AssertionError(CANARY)
        case "told":
            raise NotFound(f"no account {number}")
        case "careless":
            raise Careless
        case "told by us":
            raise InvalidArgument(f"not {number}") from ValueError(CANARY)
        case _:
            pass


@dataclass
class Account:
    number: str

    def __post_init__(self) -> None:
        look_up(self.number)


class Ledger(msgspec.Struct):
    accounts: list[Account]


@dataclass
class Hidden:
    """A field that cannot be read."""

    number: str

    def __getattribute__(self, name: str) -> Any:
        if name == "number":
            raise TypeError(CANARY)
        return super().__getattribute__(name)


class Bank(Cap, name="test.Bank"):
    """Each method has a way for the value to come in."""

    @call
    async def open(self, account: Account) -> str: ...
    @call
    async def open_all(self, ledger: Ledger) -> str: ...
    @call
    async def by_result(self, other: Bank) -> str: ...
    @call
    async def account(self) -> Account: ...
    @call
    async def by_items(self, accounts: Stream[Account]) -> str: ...
    @call
    async def hidden(self) -> Hidden: ...


class MemBank(Bank):
    async def open(self, account: Account) -> str:
        return account.number

    async def open_all(self, ledger: Ledger) -> str:
        return str(len(ledger.accounts))

    async def by_result(self, other: Bank) -> str:
        return (await other.account()).number

    async def account(self) -> Account:
        return Account("1")

    async def by_items(self, accounts: Stream[Account]) -> str:
        return "".join([account.number async for account in accounts])

    async def hidden(self) -> Hidden:
        return Hidden("1")


async def served(raw: Raw, here: Scene, implementation: Cap, name: str) -> int:
    """The id of what the host serves from now on."""
    here.host.serve(implementation)
    await raw.greet()
    await raw.send([Op.CALL, 1, BOOTSTRAP, "bootstrap", {"name": name}])
    target: int = (await raw.reply())[2].id
    return target


async def sent(raw: Raw, bank: int, way: str, number: str) -> list[Any]:
    """How the host answers when a value comes in by this way."""
    account = {"number": number}
    match way:
        case "argument":
            await raw.send([Op.CALL, 2, bank, "open", {"account": account}])
        case "nested argument":
            accounts = [{"number": "1"}, account]
            await raw.send([Op.CALL, 2, bank, "open_all", {"ledger": {"accounts": accounts}}])
        case "result":
            await raw.send([Op.CALL, 2, bank, "by_result", {"other": CapRef("test.Bank", 1, id=2)}])
            while (frame := await raw.frame())[0] != Op.CALL:
                continue
            await raw.send([Op.RESULT, frame[1], account])
        case _:
            await raw.send([Op.CALL, 2, bank, "by_items", {"accounts": StreamRef("out", None, 1)}])
            await raw.send([Op.ITEMS, 1, [{"number": "1"}, account]], [Op.END, 1])
    while (found := await raw.reply())[1] != 2:
        continue
    return found


WAYS = ["argument", "nested argument", "result", "item"]
REASONS = {
    "argument": "invalid_value",
    "nested argument": "invalid_value",
    "result": "result_type",
    "item": "item_type",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", ["value", "type", "path", "conversion", "validation"])
async def test_words_of_a_class_stay_here(way: str, number: str) -> None:
    """P-ERR-2: the peer is told that its value is invalid, and a word that finds the error in the log."""
    failures: list[HandlerFailed] = []
    async with scene() as here, here.attacker() as raw:
        here.host.on(HandlerFailed, failures.append)
        bank = await served(raw, here, MemBank(), "test.Bank")
        op, _, code, message, details = await sent(raw, bank, way, number)
        assert (op, code, details["reason"]) == (Op.ERROR, "invalid_argument", REASONS[way])
        assert "Invalid value" in message
        await until(lambda: failures)
        assert CANARY.encode() not in raw.bytes
        assert CANARY in str(failures[0].error) or number == "conversion"
        assert details["correlation"] == failures[0].correlation and failures[0].correlation in message
        assert not here.violations


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", ["other", "assert"])
async def test_a_class_that_fails_tells_nothing(way: str, number: str) -> None:
    """P-ERR-2."""
    failures: list[HandlerFailed] = []
    async with scene() as here, here.attacker() as raw:
        here.host.on(HandlerFailed, failures.append)
        bank = await served(raw, here, MemBank(), "test.Bank")
        op, _, code, _, details = await sent(raw, bank, way, number)
        assert (op, code) == (Op.ERROR, "internal" if "argument" in way else "invalid_argument")
        await until(lambda: failures)
        assert details["correlation"] == failures[0].correlation
        assert CANARY.encode() not in raw.bytes and failures[0].error.text == CANARY


class Careless(NotFound):
    """It has none of the fields that an error has."""

    def __init__(self) -> None: ...

    @property
    def message(self) -> str:
        raise RuntimeError(CANARY)

    @message.setter
    def message(self, value: str) -> None: ...  # pyright: ignore[reportIncompatibleVariableOverride]


@pytest.mark.parametrize("way", WAYS)
async def test_an_error_that_is_none_harms_nobody(way: str) -> None:
    """User code is not trusted, also where it means well."""
    async with scene() as here, here.attacker() as raw:
        bank = await served(raw, here, MemBank(), "test.Bank")
        assert (await sent(raw, bank, way, "careless"))[:2] == [Op.ERROR, 2]
        assert CANARY.encode() not in raw.bytes


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("number", "text"), [("told", "no account told"), ("told by us", "not told by us")])
async def test_an_error_for_the_caller_reaches_it(way: str, number: str, text: str) -> None:
    failures: list[HandlerFailed] = []
    async with scene() as here, here.attacker() as raw:
        here.host.on(HandlerFailed, failures.append)
        bank = await served(raw, here, MemBank(), "test.Bank")
        op, _, _, message, *_ = await sent(raw, bank, way, number)
        assert op == Op.ERROR and message.endswith(text)
        assert CANARY.encode() not in raw.bytes and not failures


async def test_words_of_a_value_that_cannot_be_read_stay_here() -> None:
    """On the way out, too: that a result cannot travel is told, and not what its class has said."""
    async with scene() as here, here.attacker() as raw:
        bank = await served(raw, here, MemBank(), "test.Bank")
        await raw.send([Op.CALL, 2, bank, "hidden", {}])
        assert (await raw.reply())[:3] == [Op.ERROR, 2, "internal"]
        assert CANARY.encode() not in raw.bytes


# What a class takes


@dataclass
class User:
    name: str
    admin: bool = field(default=False, init=False)
    size: int = field(init=False)
    roles: list[str] = field(init=False, default_factory=list[str])

    def __post_init__(self) -> None:
        self.size = len(self.name)


@dataclass(init=False)
class Path:
    parts: list[str]

    def __init__(self, parts: list[str]) -> None:
        if ".." in parts:
            raise ValueError("no way up")
        self.parts = parts


class Below(NamedTuple):
    most: int


class Checked(Below):
    def __new__(cls, most: int) -> Self:
        if most > 10:
            raise ValueError("too much")
        return super().__new__(cls, most)


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Door(Cap, name="test.Door"):
    @call
    async def enter(self, user: User) -> str: ...
    @call
    async def enter_all(self, users: dict[str, list[User | None]]) -> str: ...
    @call
    async def go(self, path: Path) -> str: ...
    @call
    async def count(self, below: Checked) -> str: ...
    @call
    async def grant(self, rights: Rights) -> str: ...
    @call
    async def same(self, user: User, path: Path) -> User: ...


class MemDoor(Door):
    async def enter(self, user: User) -> str:
        return repr(user)

    async def enter_all(self, users: dict[str, list[User | None]]) -> str:
        return repr(users["a"])

    async def go(self, path: Path) -> str:
        return "/".join(path.parts)

    async def count(self, below: Checked) -> str:
        return repr(below)

    async def grant(self, rights: Rights) -> str:
        return str(rights.value)

    async def same(self, user: User, path: Path) -> User:
        assert (type(user), type(path)) == (User, Path)
        return user


FORGED = {"name": "eve", "admin": True, "size": 99, "roles": ["admin"]}
HONEST = "User(name='eve', admin=False, size=3, roles=[])"
TAKEN: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "fields of its own": ("enter", {"user": FORGED}, HONEST),
    "fields of its own, deep": ("enter_all", {"users": {"a": [None, FORGED]}}, f"[None, {HONEST}]"),
    "constructor": ("go", {"path": {"parts": ["a", "b"]}}, "a/b"),
    "constructor that refuses": ("go", {"path": {"parts": ["..", "etc"]}}, None),
    "constructor of a tuple": ("count", {"below": [5]}, "Checked(most=5)"),
    "constructor of a tuple that refuses": ("count", {"below": [11]}, None),
    "flags": ("grant", {"rights": 3}, "3"),
    "flags that are not declared": ("grant", {"rights": 2**40}, None),
}


@pytest.mark.parametrize(("method", "arguments", "expected"), TAKEN.values(), ids=TAKEN)
async def test_what_a_class_takes(method: str, arguments: dict[str, Any], expected: str | None) -> None:
    """Nothing comes into an object by another way than a call of its class would let it."""
    async with scene() as here, here.attacker() as raw:
        door = await served(raw, here, MemDoor(), "test.Door")
        await raw.send([Op.CALL, 2, door, method, arguments])
        answer = await raw.reply()
        if expected is None:
            assert answer[:3] == [Op.ERROR, 2, "invalid_argument"]
        else:
            assert answer == [Op.RESULT, 2, expected]


async def test_an_honest_peer_sends_what_the_class_takes() -> None:
    """What it keeps to itself is not sent, and made anew on the other side."""
    async with scene() as here, here.attacker() as raw:
        door = await served(raw, here, MemDoor(), "test.Door")
        await raw.send([Op.CALL, 2, door, "same", {"user": FORGED, "path": {"parts": []}}])
        assert await raw.reply() == [Op.RESULT, 2, {"name": "eve"}]
    async with connected(MemDoor()) as (_, client):
        user = User("eve")
        user.admin = True
        assert await (await client.bootstrap(Door)).same(user, Path(["a"])) == User("eve")
