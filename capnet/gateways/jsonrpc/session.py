"""The protocol of one session, without input and output: `feed` takes a message and says what is to be done.

Both sides ask and answer. What the client says is bounded here (`Bounds`), and what it does not understand as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeGuard, cast

from capnet import CallCancelled, CapnetError, ResourceExhausted, Unavailable
from capnet.gateways.actions import Close, Send
from capnet.gateways.bounds import Bounds, Share
from capnet.gateways.reading import Unreadable, spelled, weighed

from .dialect import PLAIN, Dialect
from .failures import INTERNAL, INVALID, PARAMS, PARSE, as_error, as_failure
from .pending import Load, Pending
from .texts import Key, Once, Params, dumped, failure_text, id_of, message_text, params_of

__all__ = ["Action", "Answered", "Asked", "Begin", "Cancel", "Close", "Dropped", "Request", "Send", "Session"]

MAX_METHOD: Final = 1024
"""Characters in the name of a method."""

Json: TypeAlias = "dict[str, Any]"


@dataclass(eq=False, slots=True)
class _Batch:
    """Requests that came together are answered together."""

    left: int = 0
    answers: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What the client wants to be done.

    Attributes:
        id: as the client wrote it, in JSON; None for a notification, which gets no answer.
        method: as the client has it.
        params: by name or by place.
        load: the message that it came in.
        key: by which it can be given up.
        batch: it came in.
    """

    id: str | None
    method: str
    params: Params
    load: Load
    key: Key | None = None
    batch: _Batch | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What we want to be done, and have no answer to yet."""

    id: str


@dataclass(frozen=True, slots=True)
class Begin:
    """Do this, and tell `Session.answer`, `refuse` or, of a notification, `done`."""

    request: Request


@dataclass(frozen=True, slots=True)
class Cancel:
    """Give up what was begun; nothing more is to be told of it."""

    request: Request


@dataclass(frozen=True, slots=True)
class Answered:
    """The client has answered: with a result, or with an error."""

    asked: Asked
    result: Any
    error: CapnetError | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """The client has said something that gets no answer and leads to nothing."""

    why: str


Action: TypeAlias = "Send | Begin | Cancel | Answered | Dropped | Close"
"""When the client has taken a message that was to be sent, tell `Session.taken`."""


class Session:
    """What one client has said, and what is waited for on both sides.

    Args:
        dialect: what the client speaks.
        bounds: of this session.
        share: what its principal has; that of this session alone when there is none.
    """

    def __init__(self, dialect: Dialect = PLAIN, *, bounds: Bounds | None = None, share: Share | None = None) -> None:
        self.dialect = dialect
        self.bounds = bounds or Bounds()
        self._share = share or Share()
        self._pending = Pending(self.bounds, self._share)
        self._open: set[Request] = set()
        self._by_id: dict[Key, Request] = {}
        self._asked: dict[str, Asked] = {}
        self._last = 0
        self._output = 0
        self._closed = False

    @property
    def crowded(self) -> bool:
        """So much waits for the client that nothing should be read from it."""
        return self._output > self.bounds.max_output // 16

    # What the client says

    def feed(self, text: str | bytes) -> Sequence[Action]:
        """Take a message of the client's.

        Args:
            text: one JSON text. Blank ones are passed over.
        """
        if len(text) > self.bounds.max_message:
            return self.too_long()
        if self._closed or not text.strip():
            return ()
        try:
            message, weight = weighed(text, self.bounds)
        except Unreadable as error:
            return self._sent([failure_text("null", INVALID if error.too_much else PARSE, str(error))])
        load = Load(weight)
        if _is_array(message):
            return self._batch(message, text, load)
        return self._message(message, lambda: spelled(text), load, None)

    def too_long(self) -> Sequence[Action]:
        """A message was too long to be kept, and was passed over."""
        text = f"a message has at most {self.bounds.max_message} bytes"
        return () if self._closed else self._sent([failure_text("null", INVALID, text)])

    def taken(self, text: str) -> None:
        """The client has taken what was to be sent."""
        self._count(-len(text))

    def end(self, why: str = "the client has gone") -> Sequence[Action]:
        """There is no client any more: what it has asked for is given up, and what was asked of it fails."""
        self._closed = True
        actions: list[Action] = [Cancel(request) for request in self._open]
        actions += [Answered(one, None, Unavailable(why, reason="gone")) for one in self._asked.values()]
        self._pending.clear()
        self._open.clear()
        self._by_id.clear()
        self._asked.clear()
        self._count(-self._output)
        return actions

    # What we say

    def answer(self, request: Request, result: Any) -> Sequence[Action]:
        """Answer a request.

        Args:
            result: JSON.
        """
        return self._close(request, "result", result)

    def refuse(self, request: Request, error: CapnetError, details: Any = None) -> Sequence[Action]:
        """Answer a request with an error.

        Args:
            details: of the error, as JSON has them.
        """
        return self._close(request, "error", as_failure(error, self.dialect, details))

    def done(self, request: Request) -> None:
        """A notification was worked on."""
        self._drop(request)

    def ask(self, method: str, params: Params | None) -> tuple[Asked, Sequence[Action]]:
        """Ask the client for something; `Answered` follows.

        Raises:
            ResourceExhausted: `max_asked`. Unavailable: it has gone.
        """
        self._check_open()
        if len(self._asked) >= self.bounds.max_asked:
            raise ResourceExhausted(f"{self.bounds.max_asked} requests are not answered yet", reason="max_asked")
        self._last += 1
        asked = Asked(f"capnet-{self._last}")
        told = {"id": asked.id, "method": method, **params_of(params)}
        self._asked[asked.id] = asked
        return asked, self._sent([message_text(told)])

    def tell(self, method: str, params: Params | None) -> Sequence[Action]:
        """Send the client a notification.

        Raises:
            Unavailable: it has gone.
        """
        self._check_open()
        return self._sent([message_text({"method": method, **params_of(params)})])

    def withdraw(self, asked: Asked) -> Sequence[Action]:
        """Nobody waits for this answer any more."""
        how = self.dialect.cancelling
        if self._asked.pop(asked.id, None) is None or how is None or self._closed:
            return ()
        return self._sent([message_text({"method": how.method, "params": {how.parameter: asked.id}})])

    # One message

    def _batch(self, messages: list[Any], text: str | bytes, load: Load) -> Sequence[Action]:
        if not self.dialect.batches:
            return self._sent([failure_text("null", INVALID, "a message is one object: there are no batches here")])
        if not 0 < len(messages) <= self.bounds.max_batch:
            return self._sent([failure_text("null", INVALID, f"a batch has 1 to {self.bounds.max_batch} messages")])
        batch, again, actions = _Batch(left=1), Once(text), list[Action]()
        for place, message in enumerate(messages):
            actions += self._message(message, lambda place=place: again.value()[place], load, batch)
        return actions + list(self._reply(batch, None))

    def _message(self, message: Any, as_written: Any, load: Load, batch: _Batch | None) -> Sequence[Action]:
        if not isinstance(message, dict):
            return self._failed(batch, "null", INVALID, "a message is an object")
        told = cast("Json", message)
        method, params = told.get("method"), told.get("params")
        if "method" not in told and ("result" in told or "error" in told):
            return self._answered(told)
        key: Key | None = None
        number: str | None = None
        if "id" in told:
            key, number = id_of(told["id"], as_written)
            if number is None:
                return self._failed(batch, "null", INVALID, "an id is a short text, a number or null")
        if told.get("jsonrpc") != "2.0" or not isinstance(method, str) or len(method) > MAX_METHOD:
            return self._failed(batch, number or "null", INVALID, "this is no request of JSON-RPC 2.0")
        if not isinstance(params, dict | list | None):
            return self._failed(batch, number, PARAMS, "params is an object or an array")
        request = Request(number, method, cast("Params | None", params) or {}, load, key, batch)
        return self._requested(request)

    def _requested(self, request: Request) -> Sequence[Action]:
        how = self.dialect.cancelling
        if how is not None and request.id is None and request.method == how.method:
            return self._given_up(request, how.parameter)
        if request.key in self._by_id:
            return self._failed(request.batch, request.id, INVALID, "a request with this id is not answered yet")
        refusal = self._pending.refusal(request.load)
        if refusal is not None:
            told = as_failure(refusal, self.dialect)
            return self._failed(request.batch, request.id, INTERNAL, told["message"], told["data"])
        self._pending.add(request.load)
        self._open.add(request)
        if request.key is not None:
            self._by_id[request.key] = request
        if request.batch is not None and request.id is not None:
            request.batch.left += 1
        return [Begin(request)]

    def _given_up(self, notice: Request, parameter: str) -> Sequence[Action]:
        wanted = notice.params.get(parameter) if isinstance(notice.params, dict) else None
        key, _ = id_of(wanted, lambda: {"id": "0"})
        request = None if key is None else self._by_id.get(key)
        if request is None:
            return [Dropped("a request was given up that is not worked on")]
        assert self.dialect.cancelling is not None
        if not self.dialect.cancelling.answered:
            self._drop(request)
            return [Cancel(request), *self._reply(request.batch, None)]
        told = as_failure(CallCancelled("the client has given it up"), self.dialect)
        return [Cancel(request), *self._close(request, "error", told)]

    def _answered(self, told: Json) -> Sequence[Action]:
        number = told.get("id")
        asked = self._asked.pop(number, None) if isinstance(number, str) else None
        if asked is None:
            return [Dropped("an answer to nothing that was asked")]
        if "error" in told:
            return [Answered(asked, None, as_error(told["error"]))]
        return [Answered(asked, told["result"])]

    # What leaves

    def _failed(
        self, batch: _Batch | None, number: str | None, code: int, message: str, data: Any = None
    ) -> Sequence[Action]:
        """Refuse what has not begun."""
        if number is None:
            return [Dropped(f"a notification: {message}")]
        if batch is not None:
            batch.left += 1
        return self._reply(batch, failure_text(number, code, message, data))

    def _close(self, request: Request, word: str, value: Any) -> Sequence[Action]:
        text = f'{{"jsonrpc":"2.0","id":{request.id},"{word}":{dumped(value)}}}'
        if not self._drop(request) or request.id is None:
            return ()
        return self._reply(request.batch, text)

    def _reply(self, batch: _Batch | None, text: str | None) -> Sequence[Action]:
        """An answer, or that there is none to one of a batch."""
        if batch is None:
            return () if text is None else self._sent([text])
        batch.left -= 1
        if text is not None:
            self._count(len(text))
            batch.answers.append(text)
        if batch.left:
            return self._judged()
        self._count(-sum(map(len, batch.answers)))
        return self._sent([f"[{','.join(batch.answers)}]"] if batch.answers else [])

    def _drop(self, request: Request) -> bool:
        """Whether it was still open."""
        if request not in self._open:
            return False
        self._open.remove(request)
        self._pending.remove(request.load)
        if request.key is not None:
            del self._by_id[request.key]
        return True

    def _sent(self, texts: Iterable[str]) -> Sequence[Action]:
        actions: list[Action] = [Send(text) for text in texts]
        self._count(sum(len(cast("Send", one).text) for one in actions))
        return [*actions, *self._judged()]

    def _count(self, size: int) -> None:
        size = max(size, -self._output)  # what is taken after the end was given back there
        self._output += size
        self._share.output += size

    def _judged(self) -> Sequence[Action]:
        over = self._output > self.bounds.max_output or self._share.output > self.bounds.max_shared_output
        if self._closed or not over:
            return ()
        self._closed = True
        return [Close("the client does not take what it is sent")]

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the client has gone", reason="gone")


def _is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
