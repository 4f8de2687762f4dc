"""Specs: what `contract_spec` derives, how arguments are bound, and how values are received."""

from __future__ import annotations

import functools
import typing
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capnet.contract import (
    Cap,
    ContractSpec,
    MethodSpec,
    Sink,
    Stream,
    call,
    callable_contract,
    callable_spec,
    contract_spec,
    edition_of,
    implemented_spec,
    options,
    stream,
)
from capnet.errors import ContractError, InvalidArgument

if TYPE_CHECKING:
    from decimal import Decimal

T = TypeVar("T")


@dataclass(frozen=True)
class Msg:
    who: str
    text: str


class Member(Cap, name="test.Member"):
    @call
    async def notify(self, msg: Msg) -> None: ...


class Room(Cap, name="test.Room", version=2):
    @call
    async def post(self, text: str, *, urgent: bool = False) -> int: ...

    @call
    async def join(self, member: Member) -> None: ...

    @call
    async def watch(self, on: Callable[[Msg], Awaitable[None]]) -> None: ...

    @stream
    def history(self, limit: int = 100) -> Stream[Msg]: ...

    @call
    async def upload(self, chunks: AsyncIterable[bytes]) -> int: ...

    @call
    async def place(self, x: int, y: int = 0, z: int = 0, *, label: str, color: str = "red") -> Msg: ...

    @call
    async def anything(self, value: Any) -> Any: ...

    @call
    async def counts(self, by_id: dict[int, int]) -> dict[int, int]: ...

    @call
    async def nothing(self) -> None: ...

    @options(since=2, timeout=5.0, idempotent=True)
    @call
    async def rename(self, title: str) -> None: ...


class BigRoom(Room, name="test.BigRoom"):
    @call
    async def rename(self, title: str, by: str = "") -> None: ...

    @call
    async def rooms(self) -> Mapping[str, Room]: ...


class Topic(Cap, Generic[T], name="test.Topic"):
    @call
    async def publish(self, item: T) -> None: ...

    @stream
    def items(self) -> Stream[T]: ...


class Ticker(Topic[int], name="test.Ticker"):
    @call
    async def tick(self) -> None: ...


class IntTopic(Topic[int]):
    async def publish(self, item: int) -> None: ...

    async def items(self) -> Stream[int]:
        yield 1


class AnyTopic(Topic[T]):
    async def publish(self, item: T) -> None: ...

    async def items(self) -> Stream[T]:
        return
        yield


class Postponed(Cap, name="test.Postponed"):
    @call
    async def post(self, price: Decimal) -> None: ...


def method(name: str, cls: Any = Room) -> MethodSpec:
    return contract_spec(cls).methods[name]


class TestContractSpec:
    def test_a_contract_gives_its_spec(self) -> None:
        """Name, version and methods as declared; cached."""
        spec = contract_spec(Room)
        assert isinstance(spec, ContractSpec)
        assert (spec.cls, spec.name, spec.version) == (Room, "test.Room", 2)
        assert list(spec.methods)[:2] == ["post", "join"]
        assert contract_spec(Room) is spec
        assert "test.Room version 2: post, join" in repr(spec)
        assert not spec.is_callable

    def test_it_has_the_names_of_what_it_inherits(self) -> None:
        """Also through classes that are no contracts, and as one that has type arguments."""

        class Plain(Room): ...

        class Club(Plain, Member, name="test.Club"): ...

        class Of(Club, Generic[T], name="test.Of"): ...

        assert contract_spec(Room).names == contract_spec(Plain).names == {"test.Room"}
        assert contract_spec(Club).names == {"test.Club", "test.Room", "test.Member"}
        assert contract_spec(Of[int]).names == {"test.Of", "test.Club", "test.Room", "test.Member"}
        function = callable_contract(Callable[[int], Awaitable[int]])
        assert contract_spec(function).names == {contract_spec(function).name}

    def test_methods_say_how_they_are_called(self) -> None:
        """Kind and options."""
        rename, history = method("rename"), method("history")
        assert (rename.kind, rename.since, rename.timeout, rename.idempotent) == ("call", 2, 5.0, True)
        assert (history.kind, history.since, history.timeout, history.idempotent) == ("stream", 1, None, False)
        assert repr(rename) == "<MethodSpec test.Room.rename: call>"

    def test_parameters_are_listed_in_order(self) -> None:
        """Names, whether required, whether behind `*`."""
        found = [(p.name, p.required, p.keyword_only) for p in method("place").parameters.values()]
        assert found == [
            ("x", True, False),
            ("y", False, False),
            ("z", False, False),
            ("label", True, True),
            ("color", False, True),
        ]

    def test_an_implementation_has_the_spec_of_its_contract(self) -> None:
        """The first contract among its bases."""

        class Mine(Room): ...

        assert contract_spec(Mine) is contract_spec(Room)

    def test_methods_are_inherited_and_replaced(self) -> None:
        """A contract may inherit from a contract; its own declaration wins."""
        spec = contract_spec(BigRoom)
        assert list(spec.methods) == [*contract_spec(Room).methods, "rooms"]
        assert list(spec.methods["rename"].parameters) == ["title", "by"]
        assert spec.methods["rename"].since == 1

    def test_one_contract_that_inherits_another_is_no_tie(self) -> None:
        """The more derived one is the contract."""

        class Mine(BigRoom, Room): ...

        assert contract_spec(Mine) is contract_spec(BigRoom)

    def test_two_unrelated_contracts_are_refused(self) -> None:
        """Both are named, with a hint."""

        class Both(Room, Member): ...

        with pytest.raises(ContractError, match=r"test\.Room and test\.Member") as caught:
            contract_spec(Both)
        assert "one contract" in caught.value.__notes__[0]

    @pytest.mark.parametrize("wrong", [Cap, int, 5, list[int], "Room", type("Loose", (Cap,), {})])
    def test_other_things_have_no_spec(self, wrong: Any) -> None:
        """Only contracts and their implementations do."""
        with pytest.raises(ContractError):
            contract_spec(wrong)

    def test_a_parametrised_contract_knows_its_types(self) -> None:
        """`Topic[int]` takes and yields int, and is cached by itself."""
        spec = contract_spec(Topic[int])
        assert spec.methods["publish"].parameters["item"].annotation.shape == "int"
        assert spec.methods["items"].result.shape == ["stream", "int"]
        assert contract_spec(Topic[int]) is spec
        assert contract_spec(Topic[str]) is not spec

    def test_implementations_of_a_parametrised_contract_share_its_spec(self) -> None:
        """Type arguments in the class statement count; open ones are Any."""
        assert contract_spec(IntTopic) is contract_spec(Topic[int])
        assert contract_spec(AnyTopic) is contract_spec(Topic[Any])
        assert contract_spec(AnyTopic[str]) is contract_spec(Topic[str])

    def test_a_base_contract_has_the_types_its_implementation_gives(self) -> None:
        """Also when it is asked for as one of several."""
        assert implemented_spec(IntTopic, Topic) is contract_spec(Topic[int])
        assert implemented_spec(Ticker, Topic) is contract_spec(Topic[int])
        assert implemented_spec(BigRoom, Room) is contract_spec(Room)

    def test_a_contract_may_inherit_a_parametrised_one(self) -> None:
        """Inherited methods get the types."""
        assert method("publish", Ticker).parameters["item"].annotation.shape == "int"

    def test_an_open_contract_takes_anything(self) -> None:
        """`Topic` without arguments."""
        assert method("publish", Topic).parameters["item"].annotation.shape == "any"

    def test_a_contract_may_name_itself_wherever_it_is_defined(self) -> None:
        """Also inside of a function, where its name is not a global."""

        class Node(Cap, name="test.Node"):
            @call
            async def next(self) -> Node: ...

        assert method("next", Node).result_contracts == (Node,)

    def test_names_for_the_type_checker_only_are_explained(self) -> None:
        """Annotations are resolved at first use."""
        with pytest.raises(ContractError, match=r"contract test\.Postponed\.post: cannot resolve 'Decimal'") as caught:
            contract_spec(Postponed)
        assert "import it at run time" in caught.value.__notes__[0]

    @pytest.mark.parametrize("text", ["[int]", "(int, str)", "functools.Nowhere", "int |"])
    def test_an_annotation_that_is_no_type_is_refused(self, text: str) -> None:
        """The error names contract and method."""

        class Wrong(Cap, name="test.Wrong"):
            @call
            async def f(self, x: int) -> None: ...

        vars(Wrong)["f"].__annotations__["x"] = text
        with pytest.raises(ContractError, match=r"contract test\.Wrong\.f"):
            contract_spec(Wrong)

    def test_an_annotation_that_cannot_travel_is_refused(self) -> None:
        """The error names contract, method and parameter."""

        class Wrong(Cap, name="test.Wrong"):
            @call
            async def f(self, number: complex) -> None: ...

        with pytest.raises(ContractError, match=r"contract test\.Wrong\.f: parameter 'number': `complex`"):
            contract_spec(Wrong)

    def test_a_stream_returns_a_stream(self) -> None:
        """`@stream` with a plain result is a mistake; other stream types pass at run time."""

        class Wrong(Cap, name="test.Wrong"):
            @stream
            def f(self) -> int: ...

        class Other(Cap, name="test.Other"):
            @stream
            def f(self) -> AsyncIterator[int]: ...

        with pytest.raises(ContractError, match="returns a stream") as caught:
            contract_spec(Wrong)
        assert "Stream[T]" in caught.value.__notes__[0]
        item = method("f", Other).result.item
        assert item is not None and item.shape == "int"

    def test_mentioned_contracts_are_listed(self) -> None:
        """Those of the result, callables included."""
        assert method("rooms", BigRoom).result_contracts == (Room,)
        assert method("post").result_contracts == ()

    def test_each_argument_has_its_position(self) -> None:
        """And so has what stands in a result."""
        assert method("join").arguments_position.inside("member").contract is Member
        watched = method("watch").arguments_position.inside("on")
        assert watched.contract is callable_contract(Callable[[Msg], Awaitable[None]])
        assert method("rooms", BigRoom).result_position.inside("any").contract is Room
        assert method("post").arguments_position.inside("msg").inside("who").contract is None

    @pytest.mark.parametrize(
        ("result", "expected"),
        [
            (Member, True),
            (Member | None, True),
            (Mapping[str, list[Member]], True),
            (Topic[int], True),
            (Callable[[int], Awaitable[None]], True),
            (Any, True),
            (dict[str, Any], True),
            (Msg, False),
            (int, False),
            (None, False),
            (AsyncIterable[Member], False),
            (Sink[Member], False),
        ],
        ids=str,
    )
    def test_what_a_call_may_be_piped_through(self, result: Any, expected: bool) -> None:
        """A capability may stand in the result; the items of a stream come later."""

        class Made(Cap, name="test.Made"):
            @call
            async def f(self) -> int: ...

            @stream
            def s(self) -> Stream[Member]: ...

        vars(Made)["f"].__annotations__["return"] = result
        assert method("f", Made).may_pipe is expected
        assert not method("s", Made).may_pipe

    def test_sinks_are_declared_like_streams(self) -> None:
        """As an argument and as a result of a call; a stream method does not return one."""

        class Log(Cap, name="test.Log"):
            @call
            async def follow(self, into: Sink[Member]) -> None: ...

            @call
            async def writer(self) -> Sink[Msg]: ...

        class Wrong(Cap, name="test.Wrong"):
            @stream
            def f(self) -> Sink[int]: ...

        item = method("follow", Log).parameters["into"].annotation.item
        assert item is not None and item.contracts == (Member,)
        items = method("follow", Log).arguments_position.inside("into").items
        assert items is not None and items.contract is Member
        item = method("writer", Log).result.item
        assert item is not None and item.hint is Msg
        with pytest.raises(ContractError, match="returns a stream"):
            contract_spec(Wrong)

    def test_an_ordered_contract_says_so(self) -> None:
        """So do those that extend it, its implementations and its parametrised forms; its shape does not."""

        class Ordered(Cap, Generic[T], name="test.Ordered", ordered=True):
            @call
            async def put(self, item: T) -> None: ...

        class Unordered(Cap, Generic[T], name="test.Ordered"):
            @call
            async def put(self, item: T) -> None: ...

        class Extended(Ordered[int], name="test.Extended"):
            @call
            async def more(self) -> None: ...

        class Mine(Extended):
            async def put(self, item: int) -> None: ...

            async def more(self) -> None: ...

        for cls in (Ordered, Ordered[int], Extended, Mine):
            assert contract_spec(cls).ordered
        assert implemented_spec(Mine, Ordered).ordered
        assert not contract_spec(Room).ordered and not contract_spec(Unordered).ordered
        assert contract_spec(Ordered[int]).shape == contract_spec(Unordered[int]).shape
        assert not callable_spec(Callable[[int], Awaitable[None]]).ordered

    def test_maps_with_other_keys_are_marked(self) -> None:
        """So that the sender turns the keys to text."""
        (name,) = method("counts").parameters
        assert method("counts").arguments_position.inside(name).text_keys and method("counts").result_position.text_keys
        assert not method("post").arguments_position.text_keys and not method("post").result_position.text_keys

    def test_the_shape_is_made_once(self) -> None:
        """It is plain data of all methods."""
        spec = contract_spec(Member)
        message = ["struct", "Msg", {"who": ["str", True], "text": ["str", True]}]
        assert spec.shape == {"notify": ["call", {"msg": [message, True]}, "none", 1]}
        assert spec.shape is spec.shape

    def test_a_function_has_an_edition_with_a_signature_that_fits(self) -> None:
        """All of them have one name."""
        own: Any = callable_contract(Callable[[int | str], Awaitable[int]])
        kind = type("Double", (own,), {})
        for hint, edition in (
            (typing.Callable[[int | str], Awaitable[int]], own),  # another one that says the same
            (Callable[[int], Awaitable[int]], own),
            (Callable[[bytes], Awaitable[int]], None),
        ):
            spec = callable_spec(hint)
            assert spec.cls is not own and edition_of(spec, kind) is (edition or spec.cls)

    def test_a_callable_has_a_spec(self) -> None:
        """One method `call` with parameters a0, a1, …."""
        spec = callable_spec(Callable[[int, str], Awaitable[bool]])
        assert spec.is_callable
        assert (spec.name, list(spec.methods)) == ("capnet.Callable", ["call"])
        found = spec.methods["call"]
        assert list(found.parameters) == ["a0", "a1"]
        assert found.bind((1, "x"), {}) == {"a0": 1, "a1": "x"}
        assert found.receive_arguments({"a0": 1, "a1": "x"}) == ((1, "x"), {})
        for args, kwargs in [((1,), {}), ((1, "x", 2), {}), ((1, "x"), {"b": 1})]:
            with pytest.raises(TypeError):
                found.bind(args, kwargs)


PLACE_ARGUMENTS = st.dictionaries(
    st.sampled_from(["x", "y", "z", "label", "color", "other"]), st.integers(), max_size=6
)


class TestBind:
    @pytest.mark.parametrize(
        ("name", "args", "kwargs", "expected"),
        [
            ("post", ("hi",), {}, {"text": "hi"}),
            ("post", (), {"text": "hi"}, {"text": "hi"}),
            ("post", ("hi",), {"urgent": True}, {"text": "hi", "urgent": True}),
            ("nothing", (), {}, {}),
            ("history", (), {}, {}),
            ("history", (5,), {}, {"limit": 5}),
            ("place", (1,), {"label": "a", "z": 3}, {"x": 1, "label": "a", "z": 3}),
        ],
    )
    def test_arguments_are_named(self, name: str, args: Any, kwargs: Any, expected: Any) -> None:
        """Defaults that were not given are left out."""
        assert method(name).bind(args, kwargs) == expected

    @pytest.mark.parametrize(
        ("args", "kwargs", "expected"),
        [
            ((), {}, "missing 1 required positional argument: 'text'"),
            ((), {"urgent": True}, "missing 1 required positional argument: 'text'"),
            (("a", "b"), {}, "takes 2 positional arguments but 3 were given"),
            (("a", "b"), {"urgent": True}, "takes 2 positional arguments"),
            (("a",), {"urgnt": True}, "got an unexpected keyword argument 'urgnt'"),
            (("a",), {"text": "b"}, "got multiple values for argument 'text'"),
        ],
    )
    def test_a_misfit_is_told_in_pythons_words(self, args: Any, kwargs: Any, expected: str) -> None:
        """Exactly what calling the function itself would say."""
        with pytest.raises(TypeError) as caught:
            method("post").bind(args, kwargs)
        assert str(caught.value).startswith(f"Room.post() {expected}")

    def test_a_required_keyword_is_missed(self) -> None:
        """Positional arguments alone are not enough."""
        with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'label'"):
            method("place").bind((1,), {})

    def test_streams_are_bound_alike(self) -> None:
        """Their stub is a plain function."""
        with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3 were given"):
            method("history").bind((1, 2), {})

    def test_a_wrapped_stub_is_looked_through(self) -> None:
        """What counts is the innermost signature."""

        def traced(function: Any) -> Any:
            @functools.wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any: ...

            return wrapper

        class Wrapped(Cap, name="test.Wrapped"):
            @traced
            @call
            async def f(self, x: int) -> None: ...

        assert method("f", Wrapped).bind((1,), {}) == {"x": 1}
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
            method("f", Wrapped).bind((), {})

    @given(st.lists(st.integers(), max_size=5), PLACE_ARGUMENTS)
    def test_bind_agrees_with_python(self, args: list[int], kwargs: dict[str, int]) -> None:
        """The fast route takes and refuses what a call of the function does, and names arguments alike."""

        def place(x: int, y: int = -1, z: int = -1, *, label: int, color: int = -1) -> dict[str, int]:
            given = {"x": x, "y": y, "z": z, "label": label, "color": color}
            return {name: value for name, value in given.items() if value != -1}

        kwargs = {name: abs(value) for name, value in kwargs.items()}
        args = [abs(value) for value in args]
        try:
            expected = place(*args, **kwargs)
        except TypeError:
            with pytest.raises(TypeError):
                method("place").bind(tuple(args), kwargs)
        else:
            assert method("place").bind(tuple(args), kwargs) == expected


RECEIVED: list[Any] = [
    ("post", {"text": "a"}, (("a",), {})),
    ("post", {"urgent": True, "text": "a"}, (("a",), {"urgent": True})),
    ("nothing", {}, ((), {})),
    ("history", {}, ((), {})),
    ("history", {"limit": 1}, ((1,), {})),
    ("place", {"x": 1, "label": "a"}, ((1,), {"label": "a"})),
    ("place", {"x": 1, "y": 2, "label": "a"}, ((1, 2), {"label": "a"})),
    ("place", {"x": 1, "z": 3, "label": "a"}, ((1,), {"z": 3, "label": "a"})),
    ("counts", {"by_id": {"1": 2}}, (({1: 2},), {})),
]


class TestReceiveArguments:
    @pytest.mark.parametrize(("name", "args", "expected"), RECEIVED)
    def test_arguments_are_given_as_the_handler_takes_them(self, name: str, args: Any, expected: Any) -> None:
        """By position up to the first gap; what was left out stays out, so the handler's default counts."""
        assert method(name).receive_arguments(args) == expected

    @pytest.mark.parametrize(("name", "args", "received"), RECEIVED[:-1])
    def test_and_can_be_named_again(self, name: str, args: Any, received: Any) -> None:
        """For a guard, which decides by name."""
        assert method(name).arguments_by_name(*received) == args

    def test_values_are_rebuilt(self) -> None:
        """Maps become dataclasses."""
        args, _ = method("notify", Member).receive_arguments({"msg": {"who": "a", "text": "b"}})
        assert args == (Msg("a", "b"),)

    @pytest.mark.parametrize(
        ("args", "expected"),
        [
            ({"text": 1}, "Expected `str`, got `int` - at `$.text`"),
            ({"text": "a", "urgent": 1}, "Expected `bool`, got `int` - at `$.urgent`"),
            ({}, "missing required field `text`"),
            ({"text": "a", "more": 1}, "unknown field `more`"),
            ({"text": "a", 5: 1}, "Expected `str`"),
            (["a"], "Expected `object`, got `array`"),
            (None, "Expected `object`, got `null`"),
        ],
        ids=str,
    )
    def test_what_does_not_fit_is_refused(self, args: Any, expected: str) -> None:
        """The handler is never reached."""
        with pytest.raises(InvalidArgument) as caught:
            method("post").receive_arguments(args)
        assert expected in caught.value.message

    @given(PLACE_ARGUMENTS.map(lambda args: {"x": 1, "label": "a"} | {n: v for n, v in args.items() if n in "yz"}))
    def test_receiving_undoes_binding(self, args: dict[str, Any]) -> None:
        """What was bound arrives as a call with the same meaning."""
        place = method("place")
        positional, keyword = place.receive_arguments(place.bind((), args))
        assert place.bind(tuple(positional), keyword) == args


class TestReceiveResult:
    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("post", 5, 5),
            ("nothing", None, None),
            ("anything", {"a": [1]}, {"a": [1]}),
            ("place", {"who": "a", "text": "b"}, Msg("a", "b")),
            ("counts", {"1": 2}, {1: 2}),
        ],
    )
    def test_results_are_rebuilt(self, name: str, value: Any, expected: Any) -> None:
        """As the result annotation says."""
        assert method(name).receive_result(value) == expected

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("post", True, "Expected `int`, got `bool` - at `$.result`"),
            ("nothing", 0, "Expected `null`, got `int` - at `$.result`"),
            ("place", {"who": "a", "text": 1}, "Expected `str`, got `int` - at `$.result.text`"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, name: str, value: Any, expected: str) -> None:
        """A server that breaks its contract is found out at the client's edge."""
        with pytest.raises(InvalidArgument) as caught:
            method(name).receive_result(value)
        assert caught.value.message == expected

    def test_sequences_of_capabilities_are_checked(self) -> None:
        """Each item."""

        class Lobby(Cap, name="test.Lobby"):
            @call
            async def rooms(self) -> Sequence[Room]: ...

        with pytest.raises(InvalidArgument, match=r"Expected `test\.Room`, got `int` - at `\$\.result\[0\]`"):
            method("rooms", Lobby).receive_result([1])


def test_another_edition_of_a_contract_is_found_by_its_name() -> None:
    """A module that is loaded again brings other classes, which say the same."""

    def loaded() -> type[Cap]:
        class Edition(Cap, name="test.Edition"):
            @call
            async def get(self) -> int: ...

        return Edition

    first, second = loaded(), loaded()
    special: type[Cap] = type("Special", (second,), {})
    assert edition_of(contract_spec(first), first) is first
    assert edition_of(contract_spec(first), special) is second
    assert edition_of(contract_spec(first), Member) is first
    on = contract_spec(callable_contract(Callable[[int], Awaitable[None]]))
    assert edition_of(on, callable_contract(Callable[[str], Awaitable[None]])) is on.cls
