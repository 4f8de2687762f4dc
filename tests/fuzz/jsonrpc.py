"""Fuzz target: what a client of JSON-RPC says, to a whole session behind its framing.

An input decides what the client speaks, and a script: messages made of parts that may be there, be wrong or be at a
bound, or any bytes at all, cut in any places; and what this side does meanwhile, answering, asking, giving up. Nothing
is raised, all that is sent is JSON, a request is answered once, the bounds hold at every step, and in the end nothing
is left of what the principal has.
"""

from __future__ import annotations

import json
from typing import Any, Final

from capnet.errors import CapnetError, NotFound, ResourceExhausted
from capnet.gateways.bounds import Bounds, Share
from capnet.gateways.framing import Broken, Framing, Headers, Lines
from capnet.gateways.jsonrpc import ACP, LSP, MCP, PLAIN, Dialect, Session
from capnet.gateways.jsonrpc.session import Action, Answered, Asked, Begin, Cancel, Close, Dropped, Request, Send
from tests.fuzz.choices import Choices

__all__ = ["one_input"]

_BOUNDS: Final = Bounds(
    max_message=400, max_depth=8, max_values=32, max_batch=4, max_calls=4, max_asked=3, max_output=2000,
    max_pending=4000, max_shared_calls=5, max_shared_pending=5000, max_shared_output=3000,
)  # fmt: skip
_DIALECTS: Final = (PLAIN, LSP, ACP, MCP, Dialect(), Dialect(cancelling=MCP.cancelling, batches=True))
_IDS: Final = (
    "0", "1", "1.0", "-0", "1e400", '"1"', '"a"', "null", "true", "[]", '"capnet-1"', '"capnet-2"', '"capnet-3"',
    "9" * 300, '"' + "x" * 257 + '"', '"\\ud800"',
)  # fmt: skip
_METHODS: Final = (
    '"a.b"', '"$/cancelRequest"', '"$/cancel_request"', '"notifications/cancelled"', "1", "null", '""', '"\\u0000"',
)  # fmt: skip
_VALUES: Final = (
    "{}", "[]", "null", "1", '"x"', "NaN", '{"id": 1}', '{"requestId": 1}', '{"id": "a"}', '{"requestId": null}',
    '{"code": -32602, "message": "no", "data": {"code": "not_found"}}', '{"code": [], "data": {"code": []}}',
    "[" * 8 + "]" * 8, "[" * 9 + "]" * 9, "[" + "1," * 32 + "1]", '"' + "[,{" * 20 + '"', "1" * 5000, '"\\ud800"',
    '{"code": 1, "data": {"code": "internal", "reason": "\\ud800", "details": {"reason": 1, "retry": [], "a": 1e400}}}',
)  # fmt: skip
_VERSIONS: Final = ('"2.0"', '"2.0"', '"2.0"', '"1.0"', "2.0")
_KEYS: Final = ("id", "method", "params", "result", "error", "more")


def one_input(data: bytes) -> None:
    """Play one input."""
    _Play(Choices(data)).run()


class _Play:
    """A session, and both who talk through it."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.share = Share()
        self.share.calls = choices.below(3)  # of other sessions of the principal
        self.others = self.share.calls
        self.session = Session(choices.one_of(_DIALECTS), bounds=_BOUNDS, share=self.share)
        self.framing: Framing = (Headers if choices.flag() else Lines)(_BOUNDS.max_message)
        self.open: list[Request] = []
        self.asked: list[Asked] = []
        self.unsent: list[str] = []
        self.closed = False

    def run(self) -> None:
        """To the end of the input."""
        while self.choices and not self.closed:
            match self.choices.below(8):
                case 0 | 1 | 2 | 3:
                    self.say()
                case 4:
                    self.answer()
                case 5:
                    self.ask()
                case 6:
                    self.withdraw()
                case _:
                    self.take()
            self.check()
        left = {one.asked for one in self.session.end() if isinstance(one, Answered)}
        assert left == set(self.asked), "who waits for an answer was not told of the end"
        left_over = (self.share.calls, self.share.pending, self.share.output)
        assert left_over == (self.others, 0, 0), "something is left"
        assert not self.session.feed('{"jsonrpc": "2.0", "id": 1, "method": "a.b"}')

    def check(self) -> None:
        """What must hold at every step."""
        assert self.share.calls == self.others + len(self.open) <= max(_BOUNDS.max_shared_calls, self.others)
        weight = self.share.pending
        assert (weight > 0) is bool(self.open)
        assert weight <= _BOUNDS.max_pending
        assert len(self.open) <= _BOUNDS.max_calls and len(self.asked) <= _BOUNDS.max_asked
        waiting = sum(map(len, self.unsent))
        assert waiting <= self.share.output
        assert self.closed or self.share.output <= _BOUNDS.max_output

    def follow(self, actions: Any) -> None:
        """Do what the session says."""
        for action in actions:
            self.one(action)

    def one(self, action: Action) -> None:
        """One of these."""
        match action:
            case Send(text):
                json.loads(text)
                assert text.isascii() and "\n" not in text
                self.unsent.append(text)
            case Begin(request):
                self.open.append(request)
            case Cancel(request):
                self.open.remove(request)
            case Answered(asked, _, error):
                self.asked.remove(asked)
                assert error is None or isinstance(error, CapnetError)
            case Close():
                self.closed = True
            case Dropped(why):
                assert len(why) < 200

    def say(self) -> None:
        """Something of the client's, in pieces."""
        text = self.message() if self.choices.flag() else ""
        match self.choices.below(8):
            case 0:
                text = f"[{','.join(self.message() for _ in range(self.choices.below(6)))}]"
            case 1:
                text = self.choices.take(self.choices.below(64)).decode("latin-1")
            case 2:
                text = text[: self.choices.below(64)]
            case _:
                pass
        data = text.encode("latin-1")
        if self.choices.below(8):
            data = self.framing.framed(text) if text.isascii() else data + b"\n"
        while data:
            size = self.choices.below(64) + 1 if self.choices.below(4) == 0 else len(data)
            try:
                messages = list(self.framing.feed(data[:size]))
            except Broken:
                self.framing = Lines(_BOUNDS.max_message)
                return
            for message in messages:
                self.follow(self.session.too_long() if message is None else self.session.feed(message))
            data = data[size:]

    def message(self) -> str:
        """One that may be."""
        choices = self.choices
        parts = [f'"jsonrpc": {choices.one_of(_VERSIONS)}']
        kind = choices.below(4)
        keys = (("id", "method"), ("method",), ("id", "result"), ("id", "error"))[kind]
        for key in (*keys, *(choices.one_of(_KEYS) for _ in range(choices.below(3)))):
            values = _IDS if key == "id" else _METHODS if key == "method" else _VALUES
            parts.append(f'"{key}": {choices.one_of(values)}')
        return "{" + ", ".join(parts) + "}"

    def answer(self) -> None:
        """One of the requests, perhaps twice."""
        if not self.open:
            return
        request = self.open.pop(self.choices.below(len(self.open)))
        value = "x" * self.choices.below(256)
        match self.choices.below(3):
            case 0:
                self.follow(self.session.answer(request, value))
            case 1:
                self.follow(self.session.refuse(request, NotFound(value), {"a": 1}))
            case _:
                self.session.done(request)
        assert not self.session.answer(request, value), "it was answered twice"

    def ask(self) -> None:
        """The client for something."""
        try:
            asked, actions = self.session.ask("c.d", ["x" * self.choices.below(256)])
        except ResourceExhausted:
            assert len(self.asked) == _BOUNDS.max_asked
            return
        self.asked.append(asked)
        self.follow(actions)

    def withdraw(self) -> None:
        """What was asked."""
        if self.asked:
            self.follow(self.session.withdraw(self.asked.pop(self.choices.below(len(self.asked)))))

    def take(self) -> None:
        """Some of what was sent."""
        for _ in range(min(len(self.unsent), self.choices.below(4))):
            self.session.taken(self.unsent.pop(0))
