"""A server with tools for agents, which a plugin has: `python server.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
from capnet import INJECT, Admission, CallContext, Denied, Host, Identity, Introduction, PermissionDenied, PluginHost
from capnet import PluginSpec, Stream
from capnet.observe import CallFinished
from contracts import About, Approver, Desk, Progress, Tool, Toolbox

CLIENTS = {"a-secret": ("alice", {"search", "delete", "tail", "wrap"}), "b-secret": ("bob", {"wrap"})}


class Tokens:
    """A token says who somebody is, and which tools that is."""

    def identify(self, introduction: Introduction) -> Identity | Denied:
        name, tools = CLIENTS.get(introduction.token or "", ("", set[str]()))
        return Identity(principal=name, grants=frozenset(tools)) if name else Denied("no_token")

    def admit(self, request: Admission) -> bool:
        return True


class OfPlugin(Tool):
    def __init__(self, box: Toolbox, about: About, approver: Approver | None) -> None:
        self.box, self.about, self.approver = box, about, approver

    async def run(self, arguments: dict[str, Any], progress: Progress | None = None) -> Any:
        said = f"{self.about.name} {arguments}"
        if self.about.dangerous and (self.approver is None or not await self.approver.approve(said)):
            raise PermissionDenied(f"{said} was not approved", reason="not_approved")
        return await self.box.run(self.about.name, arguments, progress)

    def follow(self, arguments: dict[str, Any]) -> Stream[str]:
        return self.box.follow(self.about.name, arguments)


class Tools(Desk):
    def __init__(self, box: Toolbox) -> None:
        self.box = box

    async def search(self, words: str, ctx: CallContext = INJECT) -> list[About]:
        mine = [about for about in await self.box.tools() if about.name in ctx.attestation.grants]
        return [about for about in mine if all(word in about.text.lower() for word in words.lower().split())]

    async def tool(self, name: str, approver: Approver | None = None, ctx: CallContext = INJECT) -> Tool:
        for about in await self.search("", ctx):
            if about.name == name:
                return OfPlugin(self.box, about, approver)
        raise PermissionDenied(f"{ctx.principal} may not use {name}", reason="not_granted")


def audit(event: CallFinished) -> None:
    if event.contract == "tools.Tool" and event.direction == "in":
        print(event.principal, event.method, event.result, flush=True)


async def main() -> None:
    async with PluginHost() as plugins, Host(policy=Tokens()) as host:
        cwd = Path(__file__).parent
        box = await plugins.load(PluginSpec("toolbox", run="toolbox.py", contract=Toolbox, cwd=cwd))
        host.serve(Tools(box.slot))
        host.on(CallFinished, audit)
        await host.listen(sys.argv[1])
        await host.serve_forever(announce=True)


anyio.run(main)
