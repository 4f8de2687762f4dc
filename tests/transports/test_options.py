"""Options of the transports: what their classes say is what the functions take, and a misspelt one is told as such."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from capnet import Host, InvalidArgument, connect
from capnet_transports import exec as exec_transport
from capnet_transports import memory, options, stdio, tcp, tls, unix, websocket
from tests.loops import ONE_LOOP

pytestmark = ONE_LOOP


def named(function: Callable[..., object], *without: str) -> set[str]:
    """What may be given to it by name only."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name for each in parameters if each.kind is each.KEYWORD_ONLY} - set(without)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (options.ExecOptions, named(exec_transport.spawn, "name") | {"argv"}),
        (options.MemoryOptions, named(memory.connect)),
        (options.StdioOptions, named(stdio.connect)),
        (options.UnixOptions, named(unix.connect)),
        (options.UnixListenOptions, named(unix.listen)),
        (options.TcpOptions, named(tcp.connect)),
        (options.TcpListenOptions, named(tcp.listen)),
        (options.TlsOptions, named(tls.connect)),
        (options.TlsListenOptions, named(tls.listen)),
        (options.WebSocketOptions, named(websocket.connect, "secure")),
        (options.WebSocketListenOptions, named(websocket.listen, "secure")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_class_has_the_options_of_its_function(kind: Any, names: set[str]) -> None:
    assert kind.__optional_keys__ == names


@pytest.mark.parametrize(
    ("url", "option", "hint"),
    [
        ("unix:a.sock", "allow_uid", "did you mean allow_uids?"),
        ("memory:a", "token", "there is attestation"),
        ("memory:a", "attest", "did you mean attestation?"),
        ("tcp:127.0.0.1:1", "tokn", "did you mean token?"),
        ("tls:127.0.0.1:1", "cert", "there is"),
        ("tls:127.0.0.1:1", "certficate", "did you mean certificate?"),
        ("ws://127.0.0.1:1/", "orgin", "did you mean origin?"),
        ("wss://127.0.0.1:1/", "server", "did you mean server_name?"),
        ("exec:", "arg", "did you mean argv?"),
        ("stdio:", "on_exits", "did you mean on_exit?"),
        ("unix:a.sock", "limit", "did you mean limits?"),
        ("memory:a", "polcy", "did you mean policy?"),
    ],
    ids=lambda value: str(value).partition(":")[0],
)
async def test_a_misspelt_option_to_connect(url: str, option: str, hint: str) -> None:
    """Those of `connect` itself are meant as well."""
    with pytest.raises(InvalidArgument, match=rf"{url.partition(':')[0]}: there is no option {option}\n") as refused:
        await cast("Any", connect)(url, **{option: "x"})
    (note,) = refused.value.__notes__
    assert refused.value.reason == "no_option" and note.startswith(f"hint: {hint}")


@pytest.mark.parametrize(
    ("scheme", "option", "hint"),
    [
        ("unix", "allow_uid", "did you mean allow_uids?"),
        ("memory", "backlog", "it takes no options"),
        ("tcp", "backlogs", "did you mean backlog?"),
        ("tls", "certficate", "did you mean certificate?"),
        ("ws", "origin", "did you mean origins?"),
        ("wss", "host", "did you mean hosts?"),
    ],
)
async def test_a_misspelt_option_to_listen(scheme: str, option: str, hint: str, tmp_path: Path) -> None:
    where = {"unix": f"{tmp_path}/a.sock", "memory": "a"}.get(scheme, "127.0.0.1:0")
    async with Host() as host:
        with pytest.raises(InvalidArgument, match=rf"{scheme}: there is no option {option}\n") as refused:
            await cast("Any", host.listen)(f"{scheme}:{where}", **{option: "x"})
    assert refused.value.__notes__ == [f"hint: {hint}"]
