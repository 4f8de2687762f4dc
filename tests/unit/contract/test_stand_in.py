"""Stand-ins: classes with a contract whose methods lead elsewhere."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from types import new_class
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, get_type_hints

import pytest

from capnet.contract import Cap, ContractSpec, MethodSpec, Stream, call, contract_spec, stream
from capnet.contract.annotation import read_annotation
from capnet.contract.stand_in import StandIn, stand_in_class
from capnet.errors import ContractError

T = TypeVar("T")


class Room(Cap, Generic[T], name="stand.Room"):
    """A room."""

    title: str = "untitled"
    LIMIT: ClassVar[int] = 3

    @call
    async def post(self, text: T, *, urgent: bool = False) -> int:
        """Say something."""
        ...

    @stream
    def lines(self) -> Stream[str]: ...

    @property
    def size(self) -> int:
        return 0

    def shout(self, text: str) -> str:
        return text.upper()

    @staticmethod
    def plain() -> int:
        return 1


class Other(StandIn):
    _capnet_what: int


def made(contract: Any) -> Any:
    """A stand-in whose methods give their own name."""
    spec: ContractSpec = contract_spec(contract)

    def make(method: MethodSpec) -> Callable[..., Any]:
        def start(self: object, *_: Any, **__: Any) -> str:
            return method.name

        async def run(self: object) -> str:
            return method.name

        return run if method.name == "post" and contract is Room else start

    return object.__new__(stand_in_class("RoomOther", Other, spec, make))


def test_it_has_the_contract_and_its_words() -> None:
    """Names, documentation, signatures and type arguments."""
    room = made(Room[int])
    assert issubclass(type(room), Room) and contract_spec(type(room)) is contract_spec(Room[int])
    assert (type(room).__name__, type(room).__doc__, type(room).__module__) == ("RoomOther", "A room.", __name__)
    assert room.post(1) == "post" and room.lines() == "lines"
    assert room.post.__doc__ == "Say something." and room.post.__qualname__ == "Room.post"
    assert list(inspect.signature(room.post).parameters) == ["text", "urgent"]
    assert get_type_hints(room.post) == {"text": T, "urgent": bool, "return": int}
    assert inspect.iscoroutinefunction(room.post) and not inspect.iscoroutinefunction(room.lines)
    assert inspect.iscoroutinefunction(made(Room).post)


def test_what_else_the_contract_has_says_nothing_of_the_object() -> None:
    """Data and properties are not read; functions, which are the contract's own, run here."""
    room = made(Room)
    for name in ("title", "LIMIT", "size"):
        with pytest.raises(AttributeError, match="no method"):
            getattr(room, name)
    assert room.shout("a") == "A" and room.plain() == 1


def test_nothing_can_be_set() -> None:
    """But what capnet keeps with it."""
    room = made(Room)
    for name in ("title", "tilte", "post", "_own"):
        with pytest.raises(AttributeError, match="no attributes to set"):
            setattr(room, name, 1)
    room._capnet_what = 1
    assert room._capnet_what == 1


async def _items() -> Stream[int]:
    yield 1


async def _close(self: object) -> None: ...


def _count(self: object) -> int: ...  # type: ignore[empty-body]


def _told(self: object) -> int:  # type: ignore[empty-body]
    """Nothing but these words."""


def _wrapped(self: object) -> Any:
    return _close(self)


UNDECLARED: list[Any] = [
    _close,
    _items,
    staticmethod(_items),
    classmethod(_close),
    functools.partialmethod(_close),
    functools.cached_property(_close),
    functools.wraps(_close)(_wrapped),
    _count,
    _told,
]


@pytest.mark.parametrize("method", UNDECLARED, ids=[str(number) for number in range(len(UNDECLARED))])
def test_what_seems_to_be_a_method_and_is_not_declared_is_refused(method: Any) -> None:
    """On a proxy it would run here, and never reach the object; wherever the contract has it from."""
    post = vars(Room)["post"]
    mixin = type("Mixin", (), {"close": method})
    for make in (
        lambda: type("Forgetful", (Cap,), {"post": post, "close": method}),
        lambda: type("Mixed", (mixin, Cap), {"post": post}),
        lambda: type("Extending", (_Fine,), {"post": post, "close": method}),
        lambda: new_class("Named", (_Fine,), {"name": "stand.Named"}, lambda body: body.update(close=method)),
        lambda: type("Grown", (type("Implementation", (_Fine,), {"close": method}),), {"post": post}),
    ):
        with pytest.raises(ContractError, match="'close' is not declared") as caught:
            cast("Any", make)()
        assert "@call" in caught.value.__notes__[0]


async def _declared(self: object) -> int: ...  # type: ignore[empty-body]


async def _told_later(self: object) -> int:  # type: ignore[empty-body]
    """Nothing but these words."""


@pytest.mark.parametrize(("name", "word"), [("fine", "or leave it out"), ("__call__", "without underscores")])
@pytest.mark.parametrize("method", [_declared, _told_later, _count, _told], ids=lambda method: str(method.__name__))
def test_what_only_looks_like_a_declaration_is_refused(name: str, word: str, method: Any) -> None:
    """It would be the method that runs on a proxy, or in an object, and give nothing."""
    with pytest.raises(ContractError, match=f"'{name}' (is|cannot be) declared") as caught:
        new_class("Again", (_Fine,), {"name": "stand.Again"}, lambda body: body.update({name: method}))
    assert word in caught.value.__notes__[0]


class _Fine(Cap, name="stand.Fine"):
    """What it has beside its methods is its own."""

    @call
    async def fine(self) -> None: ...

    async def _own(self) -> None: ...

    async def aclose(self) -> None: ...

    def plain(self) -> None: ...

    def hook(self, given: int): ...  # type: ignore[no-untyped-def]

    def helped(self) -> int:
        return 1

    def word(self) -> str:
        return "word"

    bound = functools.wraps(str)(functools.partial(len))
    kind = str
    rank = 1


def test_what_a_contract_may_have_beside() -> None:
    """Functions that do something here, and names with `_`; methods that a mixin brings for a contract below."""
    assert list(contract_spec(_Fine).methods) == ["fine"]

    class Finished:
        async def fine(self) -> None: ...

        async def __aenter__(self) -> Self: ...  # type: ignore[empty-body]

    class More(Finished, _Fine, name="stand.More"):
        @call
        async def more(self) -> None: ...

        async def __call__(self) -> int:
            return 1

        async def __aenter__(self) -> Self:
            return self

    assert list(contract_spec(More).methods) == ["fine", "more"]


def test_a_contract_is_no_class_of_data() -> None:
    """Its capabilities would be taken for data; and `slots=True` makes another class, without the name."""
    post = vars(Room)["post"]
    for data in (
        dataclasses.dataclass(type("Data", (Cap,), {"post": post})),
        dataclasses.dataclass(slots=True)(type("Data", (Cap,), {"post": post})),
        type("Data", (dataclasses.make_dataclass("Fields", ["count"]), Cap), {"post": post}),
        type("Data", (Cap,), {"post": post, "__attrs_attrs__": ()}),
    ):
        with pytest.raises(ContractError, match="class of data") as caught:
            contract_spec(data)
        assert "implementation" in caught.value.__notes__[0]
        with pytest.raises(ContractError, match="class of data"):
            read_annotation(list[data], "here")  # type: ignore[valid-type]

    @dataclasses.dataclass
    class Implementation(Room[int]):
        count: int = 0

    assert contract_spec(Implementation).name == "stand.Room"


def test_what_is_not_there_is_told_with_the_nearest_that_is() -> None:
    """What looks whether something is there, and private names, get no hint; nor does what has no contract."""

    def silent(_: MethodSpec) -> Callable[..., None]:
        def method(self: object) -> None: ...

        return method

    made = stand_in_class("RoomStandIn", StandIn, contract_spec(Room[str]), silent)
    room = cast("Any", object.__new__(made))
    with pytest.raises(AttributeError, match=r"^stand\.Room has no method 'pots'\n") as refused:
        _ = room.pots
    assert refused.value.__notes__ == ["hint: did you mean post?"]
    for name, said in (("_pots", "stand.Room has no method '_pots'"), ("size", "'size' of stand.Room is no method")):
        with pytest.raises(AttributeError, match=said) as refused:
            getattr(room, name)
        assert not hasattr(refused.value, "__notes__")
    with pytest.raises(AttributeError, match="this capability has no method 'pots'"):
        _ = cast("Any", object.__new__(StandIn)).pots
