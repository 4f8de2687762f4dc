"""`capnet call`: one call at a peer, and others on what it brings."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import replace
from typing import Annotated, Any, Final, cast

import typer
from anyio import create_task_group, fail_after

from capnet import Connection, Indeterminate, MethodDescription, Untyped, channel, pipe
from capnet.cli.exits import Exit, Stop, failure_of
from capnet.cli.once import Once
from capnet.cli.output import Output
from capnet.cli.peer import Peer
from capnet.cli.served import contract_of, no_such_method, open_name, split
from capnet.cli.values import as_json, example_of, lines_of_input, value_of
from capnet.nearest import nearest

__all__ = ["call"]

_NAMED: Final = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_HANDLE: Final = re.compile(r"\$[0-9]+")
_ENDS: Final = ("stream", "sink")


async def call(
    peer: Peer,
    out: Output,
    *,
    method: Annotated[str, typer.Argument(metavar="NAME.METHOD", help="Such as chat.Lobby.open.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="JSON, else text; - is standard input.")
    ] = None,
    args: Annotated[str | None, typer.Option("--args", metavar="JSON", help="All arguments, as an object.")] = None,
    then: Annotated[
        list[str] | None,
        typer.Option("--then", metavar="CALL", help="A call on what has come: '$1.post text=hello'; may be repeated."),
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Make the call again when the line is cut; it runs once, as the host keeps answers."
        ),
    ] = False,
) -> None:
    """Call a method at a peer, and print what comes: text as it is, all else as JSON. A stream is printed item by item.

    A capability in a result is printed as $1, $2, … and can be called by --then, or be an argument of it; @NAME is what
    is served under a name. An argument - is the lines of standard input where the method reads a stream, and our output
    where it writes to a sink. Ctrl-C cancels the call.
    """
    operation = Once() if once else None
    while True:
        left = operation.left if operation is not None else 0
        try:
            await _call(peer, out, operation, method, arguments or (), _object(args), then or ())
        except Stop as stop:
            if operation is None or not operation.cut:
                raise
            if operation.left in (0, left):
                error = Indeterminate(f"it may have run or not, and cannot be made again: {failure_of(stop)}")
                raise Stop(exit_code=stop.exit_code, cause=error) from stop
            peer = replace(peer, wait=max(peer.wait or 0.0, peer.timeout))
        else:
            return


async def _call(
    peer: Peer,
    out: Output,
    operation: Once | None,
    method: str,
    arguments: Sequence[str],
    given: Mapping[str, Any],
    then: Sequence[str],
) -> None:
    name, last = split(method)
    async with peer.open() as connection:
        calls = _Calls(connection, peer.timeout, out, keeps=bool(then))
        await calls.make(await open_name(connection, name, method), last, arguments, given, operation)
        for words in map(shlex.split, then):
            handle, last = split(words[0]) if words else ("", "")
            await calls.make(calls.handle(handle), last, words[1:], {})


class _Calls:
    """The calls of one run of the command.

    Args:
        connection: on which they are made.
        timeout: seconds that an answer may take.
        keeps: what has come may still be called.
    """

    def __init__(self, connection: Connection, timeout: float, out: Output, *, keeps: bool) -> None:
        self._connection = connection
        self._timeout = timeout
        self._out = out
        self._keeps = keeps
        self._handles: list[Untyped] = []
        self._came = 0
        self._reads_input = False

    def handle(self, word: str) -> Untyped:
        """The capability that was printed as `$1`.

        Raises:
            Stop: none was.
        """
        number = int(word[1:]) if _HANDLE.fullmatch(word) else 0
        if not 0 < number <= len(self._handles):
            known = ", ".join(f"${one}" for one in range(1, len(self._handles) + 1))
            raise Stop(f"{word!r} is nothing that came", hint=f"there is {known}" if known else "no capability came")
        return self._handles[number - 1]

    async def make(
        self,
        target: Untyped,
        method: str,
        words: Sequence[str],
        given: Mapping[str, Any],
        operation: Once | None = None,
    ) -> None:
        """Make a call, and print what comes of it.

        Args:
            operation: has it run once, however often it is made.

        Raises:
            Stop: there is no such method, or the arguments make no sense. CapnetError: the peer says so.
        """
        contract = await contract_of(target, self._timeout)
        known = None if contract is None else contract.methods.get(method)
        if contract is not None and known is None:
            raise no_such_method(contract, method)
        named = {**given, **self._arguments(method, words, known)}
        if known is not None:
            _check(known, named)
        sinks = [key for key, value in named.items() if value is _OUTPUT]
        streams = known is not None and known.kind == "stream"
        if operation is not None and (sinks or streams or self._reads_input):
            raise Stop(f"--once is for calls that can be made again: {method} has a stream")
        if sinks:
            await self._with_output(target, method, named, sinks)
        elif streams:
            await self._print_items(target.stream(method, **named))
        else:
            with nullcontext() if operation is None else operation.on(self._connection):
                result = await self._result(target, method, named)
            await self._print_result(result)

    def _arguments(self, method: str, words: Sequence[str], known: MethodDescription | None) -> dict[str, Any]:
        """The arguments by name.

        Raises:
            Stop: one has no name, and nobody knows it; there are too many.
        """
        positional = [word for word in words if not _NAMED.fullmatch(word)]
        names: list[str] = []
        if positional and known is None:
            raise Stop(f"the peer does not tell how the arguments of {method} are called", hint="write KEY=VALUE")
        if known is not None:
            taken = {key[1] for word in words if (key := _NAMED.fullmatch(word))}
            names = [one.name for one in known.parameters.values() if one.name not in taken and not one.keyword_only]
            if positional == ["-"]:
                ends = [one.name for one in known.parameters.values() if _end_of(one.type) and one.name not in taken]
                names = ends or names
        if len(positional) > len(names):
            raise Stop(f"{method} takes no argument for {positional[len(names)]!r}", hint=_usage(method, known))
        given: dict[str, Any] = {}
        for word in words:
            match = _NAMED.fullmatch(word)
            name, raw = (names.pop(0), word) if match is None else (match[1], match[2])
            if name in given:
                raise Stop(f"{name} is there twice")
            given[name] = self._value(raw, _shape(known, name))
        return given

    def _value(self, word: str, shape: Any) -> Any:
        if _HANDLE.fullmatch(word) and (_takes_capability(shape) or int(word[1:]) <= len(self._handles)):
            return self.handle(word)
        if word.startswith("@") and _takes_capability(shape):
            return pipe(self._connection.bootstrap_untyped(word[1:]))
        if word == "-" and (shape is None or _end_of(shape)):
            if _end_of(shape) == "sink":
                return _OUTPUT
            if self._reads_input:
                raise Stop("standard input can be read once")
            self._reads_input = True
            return lines_of_input()
        return value_of(word, shape)

    async def _result(self, target: Untyped, method: str, named: dict[str, Any]) -> Any:
        # What is fed takes as long as whoever writes it does.
        feeds = any(isinstance(value, AsyncIterable) for value in named.values())
        with nullcontext() if feeds else fail_after(self._timeout):
            return await target.call(method, **named)

    async def _with_output(self, target: Untyped, method: str, named: dict[str, Any], sinks: Sequence[str]) -> None:
        """A call that writes into sinks of ours; what it writes is printed as it comes."""
        result: Any = None
        try:
            async with create_task_group() as tasks:
                for key in sinks:
                    sink, items = channel(Any)
                    named[key] = sink
                    tasks.start_soon(self._print_items, cast("AsyncIterator[Any]", items))
                result = await target.call(method, **named)
        except BaseExceptionGroup as group:
            first, *others = cast("Sequence[BaseException]", group.exceptions)
            if others:
                raise
            raise first from None  # such as a broken pipe
        await self._print_result(result)

    async def _print_items(self, items: Any) -> None:
        async with aclosing(items):
            async for item in items:
                self._print(item)

    async def _print_result(self, result: Any) -> None:
        if isinstance(result, AsyncIterable):
            await self._print_items(result)
        elif result is not None or self._out.json:
            self._print(result)

    def _print(self, value: Any) -> None:
        shown = as_json(value, self._reference)
        if self._out.json:
            self._out.value(shown)
        else:
            self._out.line(shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False))

    def _reference(self, capability: Untyped) -> Any:
        self._came += 1
        if self._keeps:  # a stream may bring more of them than anybody could hold
            self._handles.append(capability)
        handle = f"${self._came}"
        contract = capability.contract_name
        return {"handle": handle, "contract": contract} if self._out.json else f"{handle} {contract}"


_OUTPUT: Final = object()
"""Stands for an argument into which the peer writes what is printed."""


def _object(text: str | None) -> dict[str, Any]:
    """What `--args` has.

    Raises:
        Stop: it is no object.
    """
    try:
        value: object = {} if text is None else json.loads(text)
    except ValueError as error:
        raise Stop(f"--args is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Stop("--args is not a JSON object", hint="""--args '{"topic": "tea"}'""")
    return cast("dict[str, Any]", value)


def _check(known: MethodDescription, named: Mapping[str, Any]) -> None:
    """Whether all arguments are there, and no others.

    Raises:
        Stop: with a hint which one was meant, or how a missing one is written.
    """
    for key in named:
        if key not in known.parameters:
            hint = nearest(key, known.parameters) or _usage(known.name, known)
            raise Stop(f"{known.name} takes no argument {key!r}", exit_code=Exit.USAGE, hint=hint)
    missing = [one.name for one in known.parameters.values() if one.required and one.name not in named]
    if missing:
        raise Stop(f"{known.name} needs {', '.join(missing)}", hint=_usage(known.name, known))


def _usage(method: str, known: MethodDescription | None) -> str | None:
    """How a call of a method is written."""
    if known is None:
        return None
    words = [
        word if one.required else f"[{word}]"
        for one in known.parameters.values()
        for word in (f"{one.name}={example_of(one.type)}",)
    ]
    return " ".join((method, *words))


def _shape(known: MethodDescription | None, key: str) -> Any:
    parameter = None if known is None else known.parameters.get(key)
    return None if parameter is None else parameter.type


def _takes_capability(shape: Any) -> bool:
    """Whether a capability is taken, perhaps beside None."""
    if shape is None or isinstance(shape, str):
        return False
    return bool(shape[0] == "cap" or (shape[0] == "union" and any(_takes_capability(part) for part in shape[1:])))


def _end_of(shape: Any) -> str | None:
    """`stream` or `sink` where one of these is taken, perhaps beside None."""
    if shape is None or isinstance(shape, str):
        return None
    if shape[0] == "union":
        return next((end for part in shape[1:] if (end := _end_of(part))), None)
    return shape[0] if shape[0] in _ENDS else None
