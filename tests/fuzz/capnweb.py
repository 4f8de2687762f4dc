"""Fuzz target: what a client of Cap'n Web says, to a session and what works out its expressions.

An input decides a script: messages made of expressions that may be wrong or at a bound, or any text at all; and what
this side does meanwhile: it asks the client, reads what was written, and learns what it waited for. Nothing is raised,
all that is sent is a message, no more is given back than was given, the bounds hold at every step, and in the end
nothing is left.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, cast

from capnet.errors import CapnetError, NotFound, Unimplemented
from capnet.gateways.capnweb import Bounds
from capnet.gateways.capnweb.actions import Close, Evaluate, Forget, Give, Question, Send
from capnet.gateways.capnweb.cells import Cell
from capnet.gateways.capnweb.evaluation import Evaluation
from capnet.gateways.capnweb.session import Session
from capnet.gateways.capnweb.streams import Readable
from tests.fuzz.choices import Choices

__all__ = ["one_input"]

_BOUNDS: Final = Bounds(
    max_message=600, max_depth=8, max_values=120, max_calls=6, max_pending=60_000, max_answers=8, max_kept=3000,
    max_exports=3, max_stubs=12, max_streams=3, max_stream_bytes=600, max_elements=6, max_instructions=4,
)  # fmt: skip
_WORDS: Final = (
    "undefined", "inf", "-inf", "nan", "bigint", "date", "bytes", "url", "error", "headers", "request", "response",
    "blob", "export", "promise", "writable", "readable", "import", "pipeline", "remap", "what", "",
)  # fmt: skip
_PLAIN: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 1.5, 1e308, 2**53 + 1, 10**30, "", "x", "12", "-5", "AQ", "\ud800", "\U0001f600", "x" * 200,
    "9" * 30, "Uint8Array", "Float32Array",
)  # fmt: skip
_NUMBERS: Final[tuple[Any, ...]] = (0, 1, 2, 3, 4, 5, -1, -2, -3, 99, -99, 2**70, True, "1", None, 1.0)
_STEPS: Final[tuple[Any, ...]] = (
    "main", "slow", "none", "a", "b", 0, "0", "length", "write", "close", "abort", "__proto__", -1, 2**70, [], None,
)  # fmt: skip
_KEYS: Final = ("a", "b", "toJSON", "__proto__", "code", "reason", "details", "retry", "\ud800")
_RAW: Final = (
    "", "[", "{}", "[1]", '["push",NaN]', '["push",1e999]', '["push",' + "[" * 50,
    '["push",{"a":1,"a":["promise",-1]}]',
    '["release",-1,18446744073709551616]', '["pull",1.0]', '["resolve",1]', "\x00", '["push",' + "9" * 500 + "]",
)  # fmt: skip


def one_input(data: bytes) -> None:
    """Play one input."""
    script = _Play(Choices(data))
    script.play()
    counts = script.session.counts
    del script
    for generation in (0, 2):
        if counts.streams or counts.stream_bytes:
            gc.collect(generation)
    assert (counts.streams, counts.stream_bytes) == (0, 0), "streams are left"


class _Play:
    """A session, what works for it, and both who talk through it; see `Work`."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.session = Session(_BOUNDS, reachable=bool(choices.below(4)))
        self.evaluation = Evaluation(self.session, self, choices.one_of(("main", None)))
        self.slow: Cell | None = None
        self.steps: list[Callable[[], None]] = []
        self.questions: list[Question] = []
        self.given: Counter[int] = Counter()
        self.back: Counter[int] = Counter()
        theirs = self.session.theirs

        def counted(kind: str, number: int) -> Any:
            thing = theirs(kind, number)
            self.given[number] += 1
            return thing

        cast("Any", self.session).theirs = counted

    def play(self) -> None:
        """To the end of the input."""
        while self.choices and not self.session.closed:
            match self.choices.below(8):
                case 5:
                    self.ask()
                case 6:
                    self.learn()
                case 7:
                    self.read()
                case _:
                    self.follow(self.session.feed(self.text()))
            self.follow(self.session.take())
            self.check()
        self.session.close()
        self.follow(self.session.take())
        assert self.session.feed('["push",1]') == []
        assert all(question.done for question in self.questions), "who waits was not told of the end"

    def check(self) -> None:
        """What must hold at every step."""
        answers, counts = self.session._answers, self.session.counts
        assert len(list(answers)) <= _BOUNDS.max_calls + _BOUNDS.max_answers + _BOUNDS.max_streams + 1
        assert 0 <= counts.streams <= _BOUNDS.max_streams
        assert 0 <= counts.stream_bytes <= _BOUNDS.max_stream_bytes
        assert answers.running >= 0 <= answers.pending <= _BOUNDS.max_pending or self.session.closed
        assert all(self.back[number] <= self.given[number] for number in self.back), "more is given back than was given"

    def follow(self, actions: Any) -> None:
        """Do what the session says, and what that leads to."""
        actions = list(actions)
        while actions:
            action = actions.pop(0)
            match action:
                case Send(text):
                    text.encode()
                    word, *rest = json.loads(text)
                    assert isinstance(word, str)
                    if word == "release" and rest[0] < 0:
                        self.back[rest[0]] += rest[1]
                case Evaluate(cell, tree):
                    self.evaluation.begin(cell, tree)
                case Forget(answer):
                    answer.fail(NotFound("it is not waited for"))
                case Give() | Close():
                    pass
                case _:
                    raise AssertionError(action)
            del action
            actions += self.session.take()

    # --- what the client says ---

    def text(self) -> str:
        """A message, or something that is none."""
        if not self.choices.below(10):
            return self.choices.one_of(_RAW)
        text = json.dumps(self.message(), ensure_ascii=self.choices.flag()).encode(errors="replace").decode()
        return text[: self.choices.below(64)] if not self.choices.below(20) else text

    def message(self) -> list[Any]:
        """One that may be."""
        choices = self.choices
        match choices.below(10):
            case 0:
                return ["pull", choices.one_of(_NUMBERS)]
            case 1:
                return [choices.one_of(("resolve", "reject")), choices.one_of(_NUMBERS), self.expression(3)]
            case 2:
                return ["release", choices.one_of(_NUMBERS), choices.below(3)]
            case 3:
                return ["pipe"]
            case 4:
                return ["stream", self.expression(3)]
            case 5:
                return ["pull", choices.below(6) + 1]
            case 6:
                return ["abort", self.expression(1)] if not choices.below(6) else ["push", ["pipeline", 0]]
            case _:
                return ["push", self.expression(4)]

    def expression(self, depth: int) -> Any:
        """A value, a call, or something that is none."""
        choices = self.choices
        match choices.below(10 if depth else 2):
            case 0:
                return choices.one_of(_PLAIN)
            case 1:
                return [choices.one_of(("export", "promise", "writable", "readable")), choices.one_of(_NUMBERS)]
            case 2:
                return [self.several(depth)]
            case 3:
                return {choices.one_of(_KEYS): self.expression(depth - 1) for _ in range(choices.below(3))}
            case 4:
                return [choices.one_of(_WORDS), *self.several(depth)]
            case 5:
                return ["error", "E", "m", None, {choices.one_of(_KEYS): self.expression(depth - 1)}]
            case 6:
                captures = [[choices.one_of(("import", "export")), choices.one_of(_NUMBERS)]]
                steps = self.several(depth)
                return ["remap", choices.one_of(_NUMBERS), self.path(), captures * choices.below(3), steps]
            case 7:
                return ["import", choices.one_of(_NUMBERS), self.path()]
            case _:
                return ["pipeline", choices.one_of(_NUMBERS), self.path(), self.several(depth)]

    def several(self, depth: int) -> list[Any]:
        """A few expressions, seldom many."""
        count = self.choices.below(40)
        return [1] * 100 if count == 39 else [self.expression(depth - 1) for _ in range(count % 4)]

    def path(self) -> list[Any]:
        """One that leads somewhere, perhaps."""
        return [self.choices.one_of(_STEPS) for _ in range(self.choices.below(3))]

    # --- what this side does ---

    def ask(self) -> None:
        """Something of the client, or no longer."""
        if self.questions and self.choices.flag():
            self.session.forget(self.questions[self.choices.below(len(self.questions))])
            return
        values: list[Any] = [1, "x", {"a": [b"\x01", NotFound("no")]}, {"toJSON": 1}, float("nan"), 2**60]
        with suppress(CapnetError):
            given = [self.choices.one_of(values) for _ in range(self.choices.below(3))]
            number, streamed = -1 - self.choices.below(3), not self.choices.below(4)
            self.questions.append(self.session.ask(number, ("a",), given, streamed=streamed))

    def learn(self) -> None:
        """What others wait for."""
        for step in self.steps[:2]:
            self.steps.remove(step)
            self.session.turn.then(step)
        if self.slow is not None and self.choices.flag():
            self.slow.settle([1, {"a": [2, 3]}, None])

    def read(self) -> None:
        """What was written."""
        for answer in self.session._answers:
            if type(answer.value) is Readable:
                with suppress(CapnetError, StopAsyncIteration):
                    answer.value.pipe.read()
                if not self.choices.below(4):
                    answer.value.pipe.stop()

    # --- see `Work` ---

    def served(self, name: str) -> Cell:
        """A value, one that comes later, or nothing."""
        cell = Cell(self.session.turn)
        if name == "slow":
            cell = self.slow = self.slow or cell
        elif name == "main":
            cell.settle({"a": [1, {"a": [[2]]}, None], "b": "text"})
        else:
            cell.fail(NotFound("nothing has this name"))
        return cell

    def run(self, work: Callable[[], Any], cell: Cell, *, forgettable: bool = True) -> None:
        """There is no host that could be called."""
        raise AssertionError("nothing here is a capability of a host's")

    def later(self, step: Callable[[], None]) -> None:
        """When it is their turn."""
        self.steps.append(step)

    def write(self, sink: Any, method: str, arguments: list[Any], answer: Cell) -> None:
        """There is no host that could be written to."""
        raise AssertionError("nothing here is a sink of a host's")

    def lend(self, stub: Any, shape: Any) -> Any:
        """Nothing is."""
        raise Unimplemented("nothing is lent")

    def reader(self, end: Any, item: Any, scope: Mapping[str, Any]) -> Any:
        """Nothing is."""
        raise Unimplemented("nothing is read")

    def sink(self, stub: Any, item: Any, scope: Mapping[str, Any]) -> Any:
        """Nothing is."""
        raise Unimplemented("nothing is written")
