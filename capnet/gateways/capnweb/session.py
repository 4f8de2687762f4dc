"""The protocol of one session, without input and output: `feed` takes a message and says what is to be done.

Each side numbers what it has asked of the other from 1 up, and what it has given to the other from -1 down; 0 is what
each offers from the start. What the client asks for is an `Answer` here, what we ask it for a `Question`.
"""

from __future__ import annotations

from typing import Any, Final

from capnet import CapnetError, FailedPrecondition, Internal, ResourceExhausted, Unavailable
from capnet.gateways.reading import weight_of

from .actions import MAIN, Action, Answer, Close, Evaluate, Forget, Question, Send, Stub, Writable
from .answers import Answers
from .bounds import Bounds
from .cells import Cell, Turn
from .exports import GONE, Counts, Exports
from .expressions import Reader, Thrown, Use
from .messages import BadMessage, decode, encode
from .streams import Pipe, Readable

__all__ = ["Session"]

_REASON: Final = 123
"""Bytes of the reason with which a WebSocket is closed."""
_NODE: Final = 4096
"""What a call, a property or a reference in an expression counts for beside its letters: memory, and time as well."""


class Session:
    """What one client has asked for and holds, and what is held of it.

    Args:
        bounds: of the session.
        reachable: whether the client can be asked for something; in a batch it cannot.

    Attributes:
        bounds: of the session.
        counts: what its parts count together.
        turn: what goes on when something becomes known.
        closed: it has ended.
    """

    def __init__(self, bounds: Bounds | None = None, *, reachable: bool = True) -> None:
        self.bounds = bounds or Bounds()
        self.counts = Counts(self.bounds, reachable=reachable)
        self.turn = Turn()
        self.closed = False
        self._actions: list[Action] = []
        self._answers = Answers(self.turn, self.counts)
        self._exports = Exports(self.counts)
        self._questions: dict[int, Question] = {}
        self._promises: dict[int, Cell] = {}
        self._stubs = 0

    def feed(self, text: str) -> list[Action]:
        """Take a message of the client's; when the session has ended, nothing comes of any."""
        if not self.closed:
            try:
                self._message(decode(text, self.bounds), weight_of(text))
            except BadMessage as error:
                self.abort(str(error))
        return self.take()

    def take(self) -> list[Action]:
        """What is to be done beside what `feed` has given: after a cell was settled, or the client was asked."""
        actions, self._actions = self._actions, []
        return actions

    def abort(self, words: str) -> None:
        """End the session, and tell the client why."""
        self._send("abort", ["error", "Error", words])
        self.close(words)

    def close(self, words: str = "") -> None:
        """End the session: what was asked of the client fails, and nothing is sent any more."""
        if self.closed:
            return
        self.closed = True
        self._actions.append(Close(words.encode()[:_REASON].decode(errors="ignore")))
        for cell in [*self._questions.values(), *self._promises.values()]:
            cell.fail(_ENDED)
        for answer in self._answers:
            self._discard(answer)
        self._actions += self._exports.clear()

    @property
    def waited_for(self) -> bool:
        """Whether the client waits for something that is not there."""
        return not self.closed and any(answer.pulled and not answer.done for answer in self._answers)

    # --- what is asked of the client ---

    def ask(self, number: int, path: tuple[Any, ...], arguments: list[Any], *, streamed: bool = False) -> Question:
        """Call something of the client's.

        Args:
            number: of the stub, or of the pipe.
            path: leads to the method; empty for the function itself.
            arguments: values.
            streamed: it is written into; nothing comes back but whether it was.

        Raises:
            CapnetError: it cannot leave.
        """
        if self.closed:
            raise _ENDED.again()
        if not self.counts.reachable:
            raise Unavailable("in a batch the client cannot be called", reason="batch")
        if len(self._questions) >= self.bounds.max_calls and not streamed:
            raise ResourceExhausted("the client has too many calls to answer", reason="max_calls")
        (written,), before = self._exports.write(arguments)
        self._actions += before
        self.counts.asked += 1
        question = Question(self.turn, self.counts.asked, streamed)
        self._questions[question.number] = question
        self._send("stream" if streamed else "push", ["pipeline", number, list(path), written])
        if not streamed:
            self._send("pull", question.number)
        return question

    def forget(self, question: Question) -> None:
        """Nobody waits for it any more. Idempotent."""
        if self._questions.pop(question.number, None) is not None:
            if not question.streamed:
                self._send("release", question.number, 1)
            question.fail(_ENDED)

    def give_back(self, number: int) -> None:
        """Something of the client's is used by nobody any more: a stub or a promise, and above 0 a pipe.

        The collector calls this, too, wherever it runs: it leaves an action, and does nothing.
        """
        self._stubs -= number < 0
        self._send("release", number, 1)

    def _send(self, *parts: Any) -> None:
        if not self.closed:
            self._actions.append(Send(encode(*parts)))

    # --- messages ---

    def _message(self, parts: list[Any], weight: int) -> None:
        match parts:
            case ["push" | "stream", expression]:
                self._pushed(expression, weight, parts[0] == "stream")
            case ["pull", int(number)]:
                self._pulled(number)
            case ["pipe"]:
                if self.counts.streams >= self.bounds.max_streams:
                    raise BadMessage(f"a session has at most {self.bounds.max_streams} streams")
                self._new(0, False).settle(Pipe(self.counts))
            case ["resolve" | "reject", int(number), expression]:
                self._resolved(number, self._reader().read(expression), parts[0] == "reject")
            case ["release", int(number), int(count)] if count > 0:
                self._released(number, count)
            case ["abort", _]:
                self.close("the client has ended the session")
            case _:
                raise BadMessage("there is no such message")

    def _reader(self) -> Reader:
        return Reader(self, self.bounds.max_depth)

    def _pushed(self, expression: Any, weight: int, streamed: bool) -> None:
        reader = self._reader()
        tree = reader.read(expression)
        answer = self._new(weight + _NODE * reader.nodes, streamed)
        if self._answers.running > self.bounds.max_calls and not _writes(tree):
            answer.fail(ResourceExhausted("too many pushes are being worked on", reason="max_calls"))
        elif self._answers.pending > self.bounds.max_pending:
            answer.fail(ResourceExhausted("too much is being worked on", reason="max_pending"))
        else:
            self._actions.append(Evaluate(answer, tree))

    def _new(self, weight: int, streamed: bool) -> Answer:
        answer = self._answers.new(weight, streamed)
        answer.when_done(lambda: self._answered(answer))
        return answer

    def _pulled(self, number: int) -> None:
        answer = self._answers.find(number)
        if answer is None:
            self._send("reject", number, self._exports.error(GONE))
        elif not answer.pulled:
            answer.pulled = True
            if answer.done:
                self._tell(answer)

    def _resolved(self, number: int, tree: Any, rejected: bool) -> None:
        cells: dict[int, Any] = self._questions if number > 0 else self._promises
        cell = cells.pop(number, None)
        if cell is None:
            return  # it was forgotten; what is in the tree is given back when that goes
        if not (isinstance(cell, Question) and cell.streamed):
            self.give_back(number)
        if not rejected:
            self._actions.append(Evaluate(cell, tree))
        else:
            cell.fail(tree.error if isinstance(tree, Thrown) else Internal(str(tree)[:200]))

    def _released(self, number: int, count: int) -> None:
        if number < 0:
            self._actions += self._exports.release(number, count)
            return
        answer = self._answers.find(number)
        if count != 1:
            raise BadMessage("more is given back than was given")
        if answer is not None:
            self._discard(answer)

    # --- answers ---

    def _answered(self, answer: Answer) -> None:
        if answer.pulled and not answer.released:
            self._tell(answer)
        self._answers.is_there(answer)

    def _tell(self, answer: Answer) -> None:
        """Send what has become of an answer, once."""
        error = answer.error
        if error is None:
            try:
                written, before = self._exports.write(answer.value)
                self._actions += before
                self._send("resolve", answer.number, written)
            except CapnetError as refused:
                error = refused
        if error is not None:
            self._send("reject", answer.number, self._exports.error(error))
        if answer.streamed:
            self._answers.remove(answer)

    def _discard(self, answer: Answer) -> None:
        answer.released = True
        self._answers.remove(answer)
        if not answer.done:
            self._actions.append(Forget(answer))
        elif type(answer.value) is Pipe:
            answer.value.break_off()

    # --- what numbers stand for: see `Numbers` ---

    def ours(self, number: int) -> Cell:
        """See `Numbers`."""
        if number > 0:
            return self._answers.find(number) or self._cell(None, GONE)
        if number == 0:
            return self._cell(MAIN)
        try:
            return self._cell(self._exports.thing(number))
        except FailedPrecondition as error:
            return self._cell(None, error)

    def theirs(self, kind: str, number: int) -> Any:
        """See `Numbers`."""
        if number >= 0:
            raise BadMessage("what a client gives has a number below 0")
        if self._stubs >= self.bounds.max_stubs:
            raise BadMessage(f"of a client at most {self.bounds.max_stubs} objects are held")
        if kind == "promise":
            if number in self._promises:
                raise BadMessage("this was promised before")
            self._stubs += 1
            cell = self._promises[number] = Cell(self.turn)
            return Use(cell, ())
        self._stubs += 1
        stub = Stub(self, number)
        if kind == "capture":
            return self._cell(stub)
        return Writable(stub) if kind == "writable" else stub

    def readable(self, number: int) -> Readable:
        """See `Numbers`."""
        answer = self._answers.find(number)
        pipe = None if answer is None else answer.value
        if type(pipe) is not Pipe or pipe.taken:
            raise BadMessage("this is no pipe, or its readable end was taken")
        return Readable(pipe)

    def _cell(self, value: Any, error: CapnetError | None = None) -> Cell:
        cell = Cell(self.turn)
        if error is not None:
            cell.fail(error)
        else:
            cell.settle(value)
        return cell


def _writes(tree: Any) -> bool:
    """Whether something is written into a pipe: that has a bound of its own."""
    return isinstance(tree, Use) and tree.source.done and type(tree.source.value) is Pipe


_ENDED: Final = Unavailable("the client's session has ended", reason="session")
