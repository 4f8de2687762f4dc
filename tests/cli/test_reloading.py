"""`capnet run --watch`: real processes, files that are saved, and clients that notice nothing, or what they must."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from capnet import Cap, PluginHost, Revoked, Unavailable, call, connect, generation, on_broken
from capnet.cli.exits import Exit, Stop
from capnet.cli.reloading.passed_on import PassedOn
from capnet.contract import contract_spec
from capnet.testing import connected
from tests.cli.processes import ROOT, environment
from tests.connection.office import Clerk, MemClerk
from tests.cost import HANGS
from tests.loops import ONE_LOOP

pytestmark = ONE_LOOP


class Page(Cap, name="reload.Page"):
    @call
    async def word(self) -> str: ...


class Book(Cap, name="reload.Book"):
    @call
    async def word(self) -> str: ...

    @call
    async def page(self) -> Page: ...

    @call
    async def join(self, words: AsyncIterator[str]) -> str: ...

    @call
    async def end(self, code: int) -> None: ...


MODULE = f"""
import os
from collections.abc import AsyncIterator
from capnet import Cap, Stream, call, stream
from words import WORD

{inspect.getsource(Page)}

{inspect.getsource(Book)}

class OnePage(Page):
    async def word(self):
        return WORD

class Printed(Book):
    async def word(self):
        return WORD
    async def page(self):
        return OnePage()
    async def join(self, words):
        return " ".join([word async for word in words] + [WORD])
    async def end(self, code):
        os._exit(code)
"""


class Running:
    """The command, in a folder with two modules: `book.py`, and `words.py` that it imports."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.url = f"unix:{folder}/s"
        self.told: list[str] = []
        (folder / "words.py").write_text("WORD = 'one'\n")
        (folder / "book.py").write_text(MODULE)
        command = [sys.executable, "-m", "capnet", "run", "--watch", *words, "--listen", self.url]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(folder, PYTHONPATH=str(ROOT)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    async def until(self, words: str) -> list[str]:
        """Read what it says until that; the lines before it, with that one."""
        since = len(self.told)
        assert self.process.stdout is not None
        while True:
            line = await to_thread.run_sync(self.process.stdout.readline, abandon_on_cancel=True)
            assert line, self.told
            self.told.append(line.rstrip())
            if words in line:
                return self.told[since:]

    def save(self, text: str, file: str = "words.py") -> None:
        """As editors do: another file takes the place of the one that is there."""
        (self.folder / "saved").write_text(text)
        (self.folder / "saved").replace(self.folder / file)

    async def ended(self) -> int:
        """Tell it to stop; its exit code, once all that it has started has closed its output."""
        self.process.terminate()
        out, _ = await to_thread.run_sync(self.process.communicate)
        self.told += out.splitlines()
        return self.process.returncode


@contextmanager
def running(folder: Path, *words: str) -> Generator[Running]:
    running = Running(folder, *words)
    try:
        with anyio.fail_after(HANGS):
            yield running
    finally:
        running.process.kill()
        running.process.wait()
        assert running.process.stdout is not None
        running.process.stdout.close()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose path is short enough for a socket."""
    return tmp_path_factory.mktemp("r")


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
async def test_what_is_saved_answers_and_what_runs_ends_where_it_runs(folder: Path, loop: str) -> None:
    """The module itself has not changed: what it imports has."""
    with running(folder, "book:Printed", "--loop", loop) as program:
        await program.until("listening on")
        swapped, joined, heard = anyio.Event(), list[str](), set[str]()
        async with connect(program.url) as client, anyio.create_task_group() as tasks:
            book = await client.bootstrap(Book)
            page = await book.page()
            assert [await book.word(), await page.word()] == ["one", "one"]

            async def words() -> AsyncGenerator[str]:
                yield "begun"
                await swapped.wait()
                yield "ended"

            async def join() -> None:
                joined.append(await book.join(words()))

            async def call() -> None:
                while "six" not in heard:
                    heard.add(await book.word())

            tasks.start_soon(join)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(call)
            for number, word in enumerate(("two", "six"), 2):  # in one second, and as long as before
                program.save(f"WORD = {word!r}\n")
                await program.until("words.py was saved: what it says now answers")
                assert (await book.word(), generation(book)) == (word, number)
                swapped.set()  # within the seconds that the old process has
            assert await (await book.page()).word() == "six"
            broken = anyio.Event()
            on_broken(page, lambda _: broken.set())
            await broken.wait()
            with pytest.raises(Revoked):  # its process has ended
                await page.word()
        assert joined == ["begun ended one"] and heard >= {"one", "two"}
        assert await program.ended() == Exit.OK
    assert not any("Traceback" in line for line in program.told)


async def test_what_cannot_be_loaded_changes_nothing(folder: Path) -> None:
    """It is told of once, and the code before answers."""
    with running(folder, "demo=book:Printed") as program:
        await program.until("listening on")
        async with connect(program.url) as client:
            book = await client.bootstrap(Book, name="demo")

            async def fails(text: str, file: str, said: str) -> None:
                program.save(text, file)
                told = await program.until("; what ran before answers on")
                assert sum(said in line for line in told) == 1, told
                assert sum("Traceback" in line for line in told) == ("Error: " in said)
                assert not any("capnet" in line for line in told if line.startswith("  File"))
                assert generation(book) == 0 and await book.word() == "one"

            await fails("WORD = 'two\n", "words.py", "SyntaxError: ")
            await fails("raise RuntimeError('a mistake')\n", "words.py", "RuntimeError: a mistake")
            await fails("import no_such_module\n", "words.py", "ModuleNotFoundError: ")
            await fails("raise SystemExit(3)\n", "words.py", "exited with code 3")
            await fails("import os; os.abort()\n", "words.py", "was ended by SIGABRT")
            await fails("WORDS = 'two'\n", "words.py", "ImportError: ")
            program.save("import time; print('loading', flush=True); time.sleep(3600)\n")
            await program.until("loading")  # who does not want to wait saves another one
            program.save("WORD = 'two'\n")
            await program.until("answers, after")
            assert (await book.word(), generation(book)) == ("two", 2)

            program.save(f"{MODULE}\n    def __init__(self): raise OSError('no disk')\n", "book.py")
            told = await program.until("; what ran before answers on")
            assert sum("OSError: no disk" in line for line in told) == 1
            program.save(MODULE.replace("class Printed", "class Written"), "book.py")
            told = await program.until("hint: ")
            assert any("there is no 'Printed' in book" in line for line in told)
            assert await book.word() == "two"
        assert await program.ended() == Exit.OK


async def test_another_contract_comes_with_another_version(folder: Path) -> None:
    """Who holds a name keeps it if what comes can do as much; and what has ended by itself comes again."""
    with running(folder, "book:Printed", "--json") as program:
        assert "watching" in json.loads((await program.until("watching"))[-1])
        listening = json.loads((await program.until("listening"))[-1])
        assert listening == {"listening": program.url, "pid": program.process.pid}
        async with connect(program.url) as client:
            book = await client.bootstrap(Book)
            wider = MODULE.replace(
                "@call\n    async def end", "@call\n    async def more(self) -> int: ...\n    @call\n    async def end"
            )
            program.save(f"{wider}    async def more(self):\n        return 42\n", "book.py")
            told = json.loads((await program.until("swapped"))[-1])
            assert (told["swapped"], told["files"]) == (["reload.Book"], ["book.py"])
            assert await book.word() == "one"
            untyped = await client.bootstrap_untyped("reload.Book")
            assert await untyped.call("more") == 42

            with pytest.raises(Unavailable):
                await book.end(3)
            assert json.loads((await program.until("ended"))[-1]) == {"ended": "exited with code 3"}
            with pytest.raises(Unavailable) as caught:
                await book.word()
            assert caught.value.reason == "vacant"
            program.save("raise OSError\n")
            told = json.loads((await program.until("failed"))[-1])
            assert told == {"failed": ["words.py"], "answers": False}
            program.save("WORD = 'two'\n")
            await program.until("swapped")
            assert await book.word() == "two"

            program.save(MODULE.replace("def word", "def phrase"), "book.py")
            told = json.loads((await program.until("taken_back"))[-1])
            assert told == {"taken_back": "reload.Book"}
            await program.until("swapped")
            with pytest.raises(Revoked):
                await book.word()
            assert await (await client.bootstrap_untyped("reload.Book")).call("phrase") == "two"
        assert await program.ended() == Exit.OK


async def test_at_first_it_waits_for_what_can_be_mended(folder: Path) -> None:
    """And not for what was named wrongly."""
    (folder / "broken.py").write_text("1 / 0\n")
    with running(folder, "broken:Printed") as program:
        told = await program.until("listening on")
        assert any("ZeroDivisionError" in line for line in told)
        assert any("it is tried again when a file is saved" in line for line in told)
        program.save(MODULE, "broken.py")
        async with connect(program.url) as client:
            book = await client.bootstrap(Book, wait=HANGS)
            assert await book.word() == "one"
        assert await program.ended() == Exit.OK
    with running(folder, "no_such_module:Printed") as program:
        await program.until("hint: ")
        assert any("there is no module 'no_such_module'" in line for line in program.told)
        assert program.process.wait() == Exit.USAGE


async def test_the_page(folder: Path) -> None:
    """What `docs/how-to/reload.md` does, and says that one sees."""
    page = (ROOT / "docs" / "how-to" / "reload.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```py\n# clock.py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (folder / "clock.py").write_text(block)
    with running(folder, "clock:Polite") as program:
        told = await program.until("listening on")
        shown = page.replace("/home/ann/clock", str(folder)).replace("clock.sock", "s")
        assert all(f"{line}\n" in shown for line in told)
        async with connect(program.url) as client:
            clock = await client.bootstrap_untyped("demo.Clock")
            program.save(block.replace("good day", "hello"), "clock.py")
            (line,) = await program.until("was saved")
            assert re.sub(r"\d", "0", line) in re.sub(r"\d", "0", page)
            assert await clock.call("greet", name="Ann") == "hello, Ann"


async def test_contracts_are_made_of_what_is_told() -> None:
    """As it was told in each word that is compared, or not at all."""
    async with connected(MemClerk({})) as (server, client):
        clerk: Any = await client.bootstrap(Clerk)
        made = await PassedOn.of(clerk, None)
        assert contract_spec(type(made.proxy)).shape == contract_spec(Clerk).shape
        again = await PassedOn.of(clerk, made)
        assert type(again.proxy) is type(made.proxy) and not again.lacks(made)
        server.serve(PluginHost().control(), name="plugins")  # its contract has a name that only capnet's own have
        own: Any = await client.bootstrap_untyped("plugins")
        with pytest.raises(Stop):
            await PassedOn.of(own, None)
