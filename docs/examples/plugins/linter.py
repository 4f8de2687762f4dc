"""A plugin that lints: it reads the folder of its host as a stream, and answers with a stream."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import capnet.plugin
from capnet import Stream
from contracts import Folder, Linter, Remark, Source

LONGEST = 100


class PythonLinter(Linter):
    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    async def lint(self) -> Stream[Remark]:
        async for source in self.folder.sources(".py"):
            for remark in remarks(source):
                yield remark


def remarks(source: Source) -> Iterator[Remark]:
    """About one file, by line."""
    try:
        tree = ast.parse(source.text)
    except SyntaxError as error:
        yield Remark(source.path, error.lineno or 1, f"cannot be read: {error.msg}")
        return
    found = [*long_lines(source), *unused_imports(source, tree), *bare_excepts(source, tree)]
    yield from sorted(found, key=lambda remark: remark.line)


def long_lines(source: Source) -> Iterator[Remark]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if len(line) > LONGEST:
            yield Remark(source.path, number, f"{len(line)} characters")


def unused_imports(source: Source, tree: ast.Module) -> Iterator[Remark]:
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in node.names:
                known_as = (name.asname or name.name).partition(".")[0]
                if known_as not in used and getattr(node, "module", "") != "__future__":
                    yield Remark(source.path, node.lineno, f"{known_as} is imported and not used")


def bare_excepts(source: Source, tree: ast.Module) -> Iterator[Remark]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield Remark(source.path, node.lineno, "`except:` catches also what ends the program")


async def main(folder: Folder) -> Linter:
    return PythonLinter(folder)


if __name__ == "__main__":
    capnet.plugin.run(main, started_by="host.py")
