"""A connection to a plugin: in a process of its own, whose output is read, or in this one."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from anyio import CancelScope, to_thread
from anyio import Event as Signal

from capnet.connection.connect import begin, find_scheme, memory_ends
from capnet.connection.connection import Connection
from capnet.connection.options import DEVELOPMENT
from capnet.errors import ResourceExhausted, Unavailable
from capnet.host import Host
from capnet.plugin.manifest import Main, declared
from capnet.plugin.running import found
from capnet.plugin.service import serve
from capnet.plugins.confinement import check_pins, confined
from capnet.plugins.instance import Instance
from capnet.plugins.output import Channel, Output
from capnet.plugins.spec import PluginSpec
from capnet.transport import Transport

__all__ = ["begun"]

C = TypeVar("C")
Begin = Callable[[Callable[[], Awaitable[object]]], object]


async def begun(host: Host, begin_task: Begin, spec: PluginSpec[C], generation: int, output: Output) -> Instance[C]:
    """Start a plugin's process, or its place in this one; nothing has been said yet.

    Args:
        host: has the connection.
        begin_task: runs what goes on beside it, until the host closes.
        spec: of the plugin.
        generation: of the process.
        output: what it writes goes there.
    """
    written = Signal()
    if spec.isolation == "inprocess":
        written.set()
        ours = _in_this_process(host, begin_task, spec)
    else:
        if spec.sha256:
            await to_thread.run_sync(check_pins, spec)
        # The plugin's own code finds it there, and so may say otherwise.
        env = {DEVELOPMENT: "1"} if host._development else {}  # noqa: SLF001 - no word of users
        ours = await _in_its_own(begin_task, spec, generation, output, written, env)
    ours.attestation = replace(ours.attestation, principal=spec.name)
    try:
        connection = host.accept(ours)
    except BaseException:
        ours.abort()
        raise
    return Instance(spec, generation, connection, written)


async def _in_its_own(
    begin_task: Begin, spec: PluginSpec[C], generation: int, output: Output, written: Signal, env: Mapping[str, str]
) -> Transport:
    command = confined(spec)
    pipes: dict[Channel, int] = {}
    theirs: list[int] = []
    try:
        for channel in _CHANNELS:
            pipes[channel], end = _pipe(spec.name)
            theirs.append(end)
        options: dict[str, Any] = {
            "argv": command,
            "env": {"PYTHONUNBUFFERED": "1", **env, **spec.env},  # a line is there when it was written
            "cwd": spec.cwd,
            "stdout": theirs[0],
            "stderr": theirs[1],
            "start_timeout": spec.start_timeout,
        }
        scheme, rest = find_scheme("exec:")
        transport = await scheme.connect(rest, **options)
    except BaseException:
        for ours in pipes.values():
            os.close(ours)
        raise
    finally:
        for end in theirs:
            os.close(end)
    left = len(pipes)

    async def read(channel: Channel, descriptor: int) -> None:
        nonlocal left
        try:
            await output.read(generation, channel, descriptor, spec.max_output)
        finally:
            left -= 1
            if not left:
                written.set()

    try:
        for channel in _CHANNELS:
            begin_task(partial(read, channel, pipes[channel]))
            del pipes[channel]
    except BaseException:  # the host is closing
        transport.abort()
        for ours in pipes.values():
            os.close(ours)
        raise
    return transport


def _pipe(plugin: str) -> tuple[int, int]:
    try:
        return os.pipe()
    except OSError as error:
        reason = errno.errorcode.get(error.errno or 0, "unknown").lower()
        raise ResourceExhausted(f"plugin {plugin} cannot be started: {error.strerror}", reason=reason) from error


_CHANNELS: tuple[Channel, ...] = ("stdout", "stderr")


def _in_this_process(host: Host, begin_task: Begin, spec: PluginSpec[C]) -> Transport:
    main = _main_of(spec)
    declared(main)
    ours, theirs = memory_ends()
    begin_task(partial(_be_plugin, host, main, spec.name, theirs))
    return ours


async def _be_plugin(host: Host, main: Main, name: str, transport: Transport) -> None:
    development = host._development  # noqa: SLF001 - as above
    connection: Connection = begin(host._running(), transport, name=name, development=development)  # noqa: SLF001
    try:
        await serve(main, connection)
    finally:
        with CancelScope(shield=True):
            await connection.aclose(grace=0)
            parts = connection._parts  # noqa: SLF001 - which are over with it
            await parts.hooks.ended()
            parts.session.bus.attach(None)


def _main_of(spec: PluginSpec[C]) -> Main:
    if spec.run is None or not isinstance(spec.run, str):
        assert spec.run is not None
        return spec.run
    try:
        return found(spec.run)
    except ImportError as error:
        raise Unavailable(f"plugin {spec.name} did not start: {error}", reason="not_started") from error
