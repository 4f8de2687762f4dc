"""`Failure`: what is told of an exception (P-ERR-2)."""

from __future__ import annotations

import gc
import traceback
from types import FrameType, TracebackType
from typing import Any

from capnet.observe.failure import MAX_TEXT, failure_of, name_of


class Silent(Exception):
    """One that cannot be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def raised(error: BaseException, argument: object = None, depth: int = 0) -> BaseException:
    """It, with a traceback."""
    try:
        if depth:
            raise raised(error, argument, depth - 1)
        raise error
    except BaseException as caught:
        return caught


def reached_from(root: object) -> list[Any]:
    """What it leads to, code and classes left aside."""
    found: list[Any] = []
    rest: list[Any] = [root]
    while rest:
        one = rest.pop()
        if any(one is other for other in found) or isinstance(one, type) or hasattr(one, "co_code"):
            continue
        found.append(one)
        rest.extend(gc.get_referents(one))
    return found


def test_it_says_what_python_says() -> None:
    error = raised(ValueError("no"))
    failure = failure_of(error)
    assert (failure.kind, failure.text, str(failure), failure.cause) == ("ValueError", "no", "ValueError: no", None)
    printed = "".join(traceback.format_exception(error))
    assert [line for line in printed.splitlines() if "^^^" not in line] == failure.traceback.splitlines()
    assert str(failure_of(KeyError())) == "KeyError"
    assert failure_of(ValueError("never raised")).traceback == "ValueError: never raised\n"


def test_it_names_the_class_of_others_with_its_module() -> None:
    failure = failure_of(raised(Silent()))
    assert failure.kind == f"{__name__}.Silent" and failure.text == "<its text cannot be made>"


def test_a_class_that_cannot_be_read() -> None:
    """A metaclass may do that, and a property in the place of the cause."""

    def secret(*_: object) -> Any:
        raise RuntimeError("secret")

    veiled = type("Veiled", (type,), {"__getattribute__": secret})
    for made in (veiled("Odd", (ValueError,), {}), type("Odd", (ValueError,), {"__cause__": property(secret)})):
        failure = failure_of(made("x"))
        assert failure.kind == "<its class cannot be read>" and failure.traceback == f"{failure}\n" and failure.size


def test_names() -> None:
    """Of functions, and of whatever else is called."""

    class Called:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("secret")

        def __repr__(self) -> str:
            raise RuntimeError("secret")

    assert name_of(test_names) == "test_names" and name_of(Silent()) == "Silent"
    assert name_of(Called()) == "<its name cannot be read>"


def test_causes_are_told_three_in_a_row() -> None:
    error: BaseException = ValueError("0")
    for number in range(1, 6):
        try:
            raise ValueError(str(number)) from error
        except ValueError as caught:
            error = caught
    told = failure_of(error).traceback
    assert told.count("direct cause") == 3 and "ValueError: 2" in told and "ValueError: 1" not in told


def test_so_is_what_was_being_handled_unless_that_was_suppressed() -> None:
    for suppressed in (False, True):
        try:
            try:
                raise KeyError("first")
            except KeyError:
                if suppressed:
                    raise ValueError("second") from None
                raise ValueError("second")  # noqa: B904 - that is the point
        except ValueError as caught:
            told = failure_of(caught).traceback
        assert ("During handling" in told and "KeyError: 'first'" in told) is not suppressed


def test_it_is_bounded_and_leads_to_nothing() -> None:
    """Frames hold the arguments of a call: a few bytes of a peer's would stay with each failure, or four megabytes."""
    argument = ["of a peer"]
    failure = failure_of(raised(ValueError("x" * 100_000), argument, depth=200))
    assert len(failure.text) == MAX_TEXT and len(failure._lines) == 20
    reached = reached_from(failure)
    assert not any(isinstance(one, FrameType | TracebackType | BaseException) or one is argument for one in reached)
    assert sum(one.__sizeof__() for one in reached) <= failure.size + 3000
    assert failure.size < 5000
