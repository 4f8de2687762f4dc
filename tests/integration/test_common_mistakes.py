"""Mistakes of the first hour whose message is not on the page "Find what a message means"."""

from __future__ import annotations

from typing import Any, cast

import pytest

from capnet import Cap, CapnetError, ContractError, Host, Internal, InvalidArgument, Unavailable, call, connect
from capnet.contract import contract_spec
from capnet.testing import connected, pair


class Numbers(Cap, name="first.Numbers"):
    @call
    async def add(self, numbers: list[int]) -> int: ...


class Adder(Numbers):
    async def add(self, numbers: list[int]) -> int:
        return sum(numbers) if numbers else cast("Any", "nothing")


async def test_too_many_values_are_told_with_the_limit_and_what_to_do() -> None:
    async with connected(Adder()) as (_, client):
        numbers = await client.bootstrap(Numbers)
        with pytest.raises(CapnetError, match=r"Limits\.max_items .* is \d+: raise it there, or send them as a stream"):
            await numbers.add([0] * 70_000)


async def test_a_result_of_another_type_is_the_fault_of_the_handler() -> None:
    async with connected(Adder()) as (_, client):
        with pytest.raises(Internal, match=r"[0-9a-f]{32} finds it in the callee's log"):
            await (await client.bootstrap(Numbers)).add([])


async def test_a_class_that_is_no_event_is_told_where_events_are() -> None:
    async with Host() as host:
        with pytest.raises(TypeError, match=r"capnet\.observe\.CallFinished"):
            host.on(cast("Any", str), print)


async def test_a_misspelt_option_is_named_with_those_that_exist() -> None:
    with pytest.raises(InvalidArgument, match="there is no option arg") as refused:
        await cast("Any", connect)("exec:", arg=["x"])
    assert "argv" in refused.value.__notes__[0]


async def test_an_argument_of_another_type_names_the_method_and_the_place() -> None:
    async with pair(Adder(), Numbers) as numbers:
        with pytest.raises(
            InvalidArgument, match=r"first\.Numbers\.add: Expected `int`, got `str` - at `\$\.numbers\[1\]`"
        ):
            await cast("Any", numbers).add([1, "two"])


async def test_a_class_that_lacks_a_method_cannot_be_made() -> None:
    class Half(Numbers): ...

    with pytest.raises(TypeError, match=r"Can't instantiate abstract class Half .* add"):
        cast("Any", Half)()


async def test_a_wrong_result_annotation_is_refused_when_it_is_served() -> None:
    class Wrong(Numbers):
        async def add(self, numbers: list[int]) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
            return "1"

    async with Host() as host:
        with pytest.raises(ContractError, match="method 'add' returns `str`, and the contract says `int`"):
            host.serve(Wrong())


async def test_a_misspelt_method_is_told_with_the_nearest() -> None:
    async with connected(Adder()) as (_, client):
        numbers = cast("Any", await client.bootstrap(Numbers))
        with pytest.raises(AttributeError, match=r"first\.Numbers has no method 'ad'") as refused:
            numbers.ad([1])
        assert refused.value.__notes__ == ["hint: did you mean add?"]
        assert not hasattr(numbers, "_add") and getattr(numbers, "summe", None) is None
        untyped = cast("Any", await client.bootstrap_untyped("first.Numbers"))
        with pytest.raises(AttributeError, match="no contract of this program, and so no method 'add'") as refused:
            untyped.add([1])
        assert "`proxy.call('add', …)`" in refused.value.__notes__[0] and not hasattr(untyped, "_add")


async def test_a_host_that_is_not_open_says_how_to_open_it() -> None:
    with pytest.raises(Unavailable, match="the host is not open") as refused:
        await Host().listen("memory:first")
    assert "async with Host() as host:" in refused.value.__notes__[0]


async def test_a_connect_that_is_neither_entered_nor_awaited_says_what_to_write() -> None:
    with pytest.raises(AttributeError, match="this is no connection yet, so it has no 'bootstrap'") as refused:
        cast("Any", connect("memory:first")).bootstrap(Numbers)
    assert "async with connect(url) as conn:" in refused.value.__notes__[0]


async def test_a_proxy_shows_what_it_is_and_whether_it_lives() -> None:
    async with connected(Adder()) as (_, client):
        numbers = await client.bootstrap(Numbers)
        assert repr(numbers) == "<proxy of first.Numbers #2 live>"
        await client.aclose()
        assert repr(numbers) == "<proxy of first.Numbers #2 broken>"
        with pytest.raises(CapnetError, match=r"connection closed \(local: closed\)"):
            await numbers.add([1])


async def test_an_attribute_of_a_contract_is_told_to_be_none_of_its_methods() -> None:
    class Sized(Cap, name="first.Sized"):
        size = 3

        @call
        async def grow(self) -> None: ...

    class MemSized(Sized):
        async def grow(self) -> None: ...

    async with pair(MemSized(), Sized) as sized:
        with pytest.raises(AttributeError, match=r"'size' of first\.Sized is no method: .* declare a @call"):
            _ = sized.size


async def test_a_proxy_that_was_left_behind_says_that_its_connection_has_closed() -> None:
    async with pair(Adder(), Numbers) as numbers:
        pass
    with pytest.raises(CapnetError, match="was given back, and its connection has closed"):
        await numbers.add([1])


async def test_a_name_that_is_not_known_at_run_time_says_where_to_define_it() -> None:
    """Also of what is defined in a function."""

    async def go(self: object, place: Any) -> None: ...

    go.__annotations__["place"] = "Local"
    contract = type("Places", (Cap,), {"go": call(go), "__module__": __name__}, name="first.Places")

    with pytest.raises(ContractError, match="cannot resolve 'Local'") as refused:
        contract_spec(contract)
    assert "not in a function" in refused.value.__notes__[0]
