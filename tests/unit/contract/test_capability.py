"""Declaring contracts: what is kept, and what is refused with a hint when the class is created."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import anyio
import pytest

from capnet.contract import INJECT, CallContext, Cap, Stream, call, options, stream
from capnet.contract.declaration import declaration_of, options_of
from capnet.errors import ContractError
from capnet.registry import Hosted

T = TypeVar("T")


class Room(Cap, name="chat.Room", version=2):
    @call
    async def post(self, text: str) -> int: ...

    @options(since=2, timeout=5, idempotent=True)
    @stream
    def history(self) -> Stream[str]: ...


class MemRoom(Room):
    async def post(self, text: str) -> int:
        return len(text)

    async def history(self) -> Stream[str]:
        yield "hi"


def create(body: dict[str, Any], **keywords: Any) -> Any:
    """A subclass of Cap with this body, made by class keywords the checkers would refuse."""
    make: Any = type(Cap)
    return make("Made", (Cap,), {"__module__": __name__, **body}, **keywords)


def test_a_contract_keeps_name_version_and_methods() -> None:
    """Class keywords and decorated methods are the declaration."""
    declared = declaration_of(Room)
    assert declared is not None
    assert (declared.name, declared.version, list(declared.methods)) == ("chat.Room", 2, ["post", "history"])


def test_options_are_kept_with_the_method() -> None:
    """`@options` adds to what `@call` or `@stream` said."""
    post, history = options_of(vars(Room)["post"]), options_of(vars(Room)["history"])
    assert post is not None and history is not None
    assert (post.kind, post.since, post.timeout, post.idempotent) == ("call", 1, None, False)
    assert (history.kind, history.since, history.timeout, history.idempotent) == ("stream", 2, 5, True)


def test_the_name_defaults_to_module_and_class() -> None:
    """Without `name=` the contract is named for where it is, version 1."""

    class Local(Cap):
        @call
        async def f(self) -> None: ...

    declared = declaration_of(Local)
    assert declared is not None
    assert declared.name == f"{__name__}:{Local.__qualname__}"
    assert declared.version == 1


def test_a_subclass_without_declarations_is_an_implementation() -> None:
    """Filling methods in declares nothing."""
    assert declaration_of(MemRoom) is None
    assert declaration_of(Cap) is None


def test_a_name_alone_makes_a_contract() -> None:
    """A contract may be empty, as a marker."""

    class Marker(Cap, name="test.Marker"): ...

    declared = declaration_of(Marker)
    assert declared is not None and declared.methods == {}


def test_an_incomplete_implementation_cannot_be_instantiated() -> None:
    """Declared methods are abstract."""

    class Half(Room):
        async def post(self, text: str) -> int:
            return 0

    with pytest.raises(TypeError, match="history"):
        Half()  # type: ignore[abstract] # pyright: ignore[reportAbstractUsage]


def test_generic_contracts_keep_their_parameters() -> None:
    """`Generic` beside `Cap` works as in any class."""

    class Topic(Cap, Generic[T], name="test.Topic"):
        @call
        async def get(self) -> T: ...

    assert Topic[int].__origin__ is Topic  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def test_an_unknown_class_keyword_is_refused() -> None:
    """A misspelt `name=` does not pass silently."""
    with pytest.raises(TypeError, match="nmae"):
        create({}, nmae="x")


async def test_cap_is_a_context_manager_that_closes() -> None:
    """`async with` gives the object itself and calls `aclose` at its end."""

    class Closing(MemRoom):
        closed = False

        async def aclose(self) -> None:
            await anyio.lowlevel.checkpoint()
            self.closed = True

    async with Closing() as room:
        assert not room.closed
    assert room.closed


async def test_aclose_does_nothing_by_default() -> None:
    """An implementation without a hook can be closed."""
    await MemRoom().aclose()


class TestNames:
    """Contract names that are refused."""

    @pytest.mark.parametrize(
        "name",
        ["", "a\nb", "a\x7fb", "a\ud800b", "a\u2066b", "u\u0308", "x" * 257, "ü" * 129, "capnet.Mine", 5],
    )
    def test_refused(self, name: object) -> None:
        """Empty, control characters, surrogates, what is not printable, not NFC, too long, reserved, not text."""
        with pytest.raises(ContractError):
            create({}, name=name)

    @pytest.mark.parametrize("name", ["ü" * 128, "capnetic.Mine", "chat/room v2"])
    def test_taken(self, name: str) -> None:
        """Up to 256 bytes of any other text."""
        assert declaration_of(create({}, name=name)) is not None

    def test_reserved_names_are_for_capnet(self) -> None:
        """A module of capnet itself may use the prefix."""
        made = create({"__module__": "capnet.anything"}, name="capnet.Mine")
        assert declaration_of(made) is not None


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", 2**63])
def test_a_version_counts_from_one(version: object) -> None:
    """Other values are refused."""
    with pytest.raises(ContractError, match="version"):
        create({}, name="test.X", version=version)


def test_a_version_needs_a_contract() -> None:
    """`version=` on an implementation is a mistake."""
    with pytest.raises(ContractError) as caught:
        create({}, version=2)
    assert "hint" in caught.value.__notes__[0]


def test_a_contract_is_ordered_when_it_says_so() -> None:
    """Or when one it extends does; the others are not."""

    class Ordered(Cap, name="test.Ordered", ordered=True):
        @call
        async def f(self) -> None: ...

    class Extended(Ordered, name="test.Extended"): ...

    class Again(Ordered, name="test.Again", ordered=True): ...

    class Mixed(Room, Extended, name="test.Mixed"): ...

    class Side(Room, name="test.Side", ordered=False): ...

    def ordered(cls: type[Cap]) -> bool:
        declared = declaration_of(cls)
        assert declared is not None
        return declared.ordered

    assert [ordered(cls) for cls in (Ordered, Extended, Again, Mixed)] == [True] * 4
    assert not ordered(Room) and not ordered(Side)


@pytest.mark.parametrize("ordered", [1, 0, "yes"])
def test_ordered_is_a_bool(ordered: object) -> None:
    """Nothing that merely looks true."""
    with pytest.raises(ContractError, match="ordered") as caught:
        create({}, name="test.X", ordered=ordered)
    assert "hint" in caught.value.__notes__[0]


@pytest.mark.parametrize("ordered", [True, False])
def test_ordered_needs_a_contract(ordered: bool) -> None:
    """`ordered=` on an implementation is a mistake: the contract says it."""
    make: Any = type(Cap)
    for bases in [(Cap,), (Room,)]:
        with pytest.raises(ContractError, match="ordered") as caught:
            make("Made", bases, {"__module__": __name__}, ordered=ordered)
        assert "hint" in caught.value.__notes__[0]


def test_order_that_was_promised_is_not_taken_back() -> None:
    """Who holds the object as the base contract relies on it."""

    class Ordered(Cap, name="test.Ordered", ordered=True): ...

    make: Any = type(Cap)
    with pytest.raises(ContractError, match="ordered") as caught:
        make("Loose", (Ordered,), {}, name="test.Loose", ordered=False)
    assert "hint" in caught.value.__notes__[0]


async def good(self: Any) -> None: ...


async def positional(self: Any, x: int, /) -> None: ...


async def starred(self: Any, *x: int) -> None: ...


async def double_starred(self: Any, **x: int) -> None: ...


async def bare(self: Any, x) -> None: ...  # type: ignore[no-untyped-def] # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]


async def resultless(self: Any): ...  # type: ignore[no-untyped-def]


async def selfless() -> None: ...


async def starred_self(*self: Any) -> None: ...


async def context(self: Any, ctx: CallContext = INJECT) -> None: ...


def plain_def(self: Any) -> None: ...


async def async_generator(self: Any) -> Stream[int]:
    yield 1


WRONG: list[tuple[str, Callable[..., Any], str]] = [
    ("call", positional, "positional-only"),
    ("call", starred, "args"),
    ("call", double_starred, "kwargs"),
    ("call", bare, "no annotation"),
    ("call", resultless, "return annotation"),
    ("call", selfless, "self"),
    ("call", starred_self, "self"),
    ("call", context, "context"),
    ("call", plain_def, "async def"),
    ("call", async_generator, "async def"),
    ("stream", good, "plain `def`"),
    ("stream", async_generator, "plain `def`"),
]


def copied(function: Callable[..., Any]) -> Any:
    """The same function as a new object, so that marks do not pile up."""
    code: Any = function
    copy = type(code)(code.__code__, code.__globals__, code.__name__)
    copy.__annotations__, copy.__defaults__ = code.__annotations__, code.__defaults__
    return copy


def declare(kind: str) -> Any:
    return {"call": call, "stream": stream}[kind]


@pytest.mark.parametrize(("kind", "function", "words"), WRONG)
def test_a_method_of_the_wrong_form_is_refused(kind: str, function: Callable[..., Any], words: str) -> None:
    """The class is not created, and the text names the method."""
    with pytest.raises(ContractError, match=words) as caught:
        create({"method": declare(kind)(copied(function))}, name="test.Wrong")
    assert "contract test.Wrong: method 'method'" in str(caught.value)


@pytest.mark.parametrize("name", ["_hidden", "__call__", "aclose"])
def test_reserved_method_names_are_refused(name: str) -> None:
    """`aclose` and names that begin with `_` stay local."""
    with pytest.raises(ContractError, match="reserved"):
        create({name: declare("call")(copied(good))})


@pytest.mark.parametrize("wrap", [staticmethod, classmethod, property])
def test_a_declared_method_is_a_plain_one(wrap: Any) -> None:
    """No staticmethod, classmethod or property around a declared function."""
    with pytest.raises(ContractError, match="plain method"):
        create({"method": wrap(declare("call")(copied(good)))})


@pytest.mark.parametrize("wrap", [staticmethod, classmethod, property])
def test_only_functions_are_declared(wrap: Any) -> None:
    """… nor inside of it."""
    with pytest.raises(ContractError, match="plain method"):
        declare("call")(wrap(copied(good)))


def test_a_wrapped_function_keeps_its_declaration() -> None:
    """A decorator that uses functools.wraps may stand above `@call`."""
    declared = declare("call")(copied(good))

    @functools.wraps(declared)
    def wrapper(*args: Any) -> Any:
        return declared(*args)

    found = declaration_of(create({"method": wrapper}))
    assert found is not None and list(found.methods) == ["method"]


@pytest.mark.parametrize("kind", ["call", "stream"])
def test_decorators_take_no_arguments(kind: str) -> None:
    """`@call()` and `@call(since=2)` say to use @options."""
    for arguments, keywords in [((), {}), ((), {"since": 2}), ((good, good), {})]:
        with pytest.raises(ContractError, match="no arguments") as caught:
            declare(kind)(*arguments, **keywords)
        assert "@options" in caught.value.__notes__[0]


def test_a_method_is_declared_once() -> None:
    """`@call` above `@stream` is a mistake."""
    with pytest.raises(ContractError, match="twice"):
        call(stream(copied(good)))


def test_options_go_above_the_declaration() -> None:
    """`@options` on something undeclared is refused."""
    with pytest.raises(ContractError, match="not declared"):
        options(since=2)(good)


@pytest.mark.parametrize(
    "wrong",
    [
        {"since": 0},
        {"timeout": 0},
        {"timeout": -1.0},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"timeout": True},
        {"timeout": "5"},
        {"idempotent": 1},
        {"resume": 5, "idempotent": True},
        {"resume": "", "idempotent": True},
        {"resume": "after"},
        {"position": "at", "idempotent": True},
        {"position": 5, "resume": "after", "idempotent": True},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """since from 1, timeout in seconds above 0, idempotent a bool."""
    with pytest.raises(ContractError, match=next(iter(wrong))):
        options(**wrong)


def test_a_method_is_not_newer_than_its_contract() -> None:
    """`since` above the version would never be reachable."""
    with pytest.raises(ContractError, match="since 2"):
        create({"method": options(since=2)(declare("call")(copied(good)))}, name="test.New")


def test_annotations_are_not_evaluated_at_declaration() -> None:
    """A contract may name types that do not exist yet."""

    class Early(Cap, name="test.Early"):
        @call
        async def f(self, x: Later) -> Later: ...  # type: ignore[name-defined] # pyright: ignore[reportUndefinedVariable] # noqa: F821

    assert inspect.isabstract(Early)


class KeptRoom(MemRoom):
    """An implementation with state, which is pickled."""

    def __init__(self) -> None:
        self.topic = "tea"


class SlottedRoom(MemRoom):
    __slots__ = ("topic",)

    def __init__(self) -> None:
        self.topic = "tea"


class BareRoom(MemRoom):
    """One without any state."""


@pytest.mark.parametrize("kind", [KeptRoom, SlottedRoom])
def test_an_implementation_that_is_served_can_be_pickled_and_copied(kind: Any) -> None:
    """What comes of it has the state of the program, and nothing of what is held of the original."""
    room = kind()
    hosted = Hosted.of(room)
    for other in (pickle.loads(pickle.dumps(room)), copy.copy(room), copy.deepcopy(room)):
        assert other.topic == "tea"
        assert Hosted.of(other) is not hosted and Hosted.of(room) is hosted


def test_one_without_state_can_be_pickled_too() -> None:
    assert type(pickle.loads(pickle.dumps(BareRoom()))) is BareRoom


def test_a_stream_may_say_where_it_goes_on() -> None:
    """The parameter that takes a position, and the field that is one. Calls take none."""

    class News(Cap, name="unit.News"):
        @options(idempotent=True, resume="after", position="number")
        @stream
        def since(self, after: int = 0) -> Stream[dict[str, int]]: ...

    marks = options_of(News.since)
    assert marks is not None and (marks.resume, marks.position) == ("after", "number")

    def other(self: object) -> Stream[int]:
        raise NotImplementedError

    async def once(self: object, after: int) -> int:
        raise NotImplementedError

    wrong: list[tuple[Any, Any]] = [(stream, other), (call, once)]
    for declare_it, function in wrong:
        marked = options(idempotent=True, resume="after")(declare_it(function))
        with pytest.raises(ContractError, match="resume"):
            type("Wrong", (Cap,), {function.__name__: marked})
