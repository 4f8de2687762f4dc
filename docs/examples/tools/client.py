"""An agent, without `async`: `python client.py URL`."""

from __future__ import annotations

import sys

from capnet import PermissionDenied, blocking
from contracts import Approver, Desk


class Person(Approver):
    async def approve(self, what: str) -> bool:
        print("may it?", what)
        return "draft" in what


async def progress(text: str) -> None:
    print(text)


with blocking.connect(sys.argv[1], wait=30, auth={"token": "a-secret"}) as conn:
    desk = conn.bootstrap(Desk)
    print([about.name for about in conn.call(desk.search, "text")])
    search = conn.call(desk.tool, "search")
    print(conn.call(search.run, {"text": "tea"}, progress))
    print(list(conn.iterate(conn.call(desk.tool, "tail").follow, {"count": 2})))
    delete = conn.call(desk.tool, "delete", Person())
    for path in ("draft.txt", "book.txt"):
        try:
            print(conn.call(delete.run, {"path": path}))
        except PermissionDenied as error:
            print(error.reason)
with blocking.connect(sys.argv[1], auth={"token": "b-secret"}) as conn:
    try:
        conn.call(conn.bootstrap(Desk).tool, "delete")
    except PermissionDenied as error:
        print(error.message)
