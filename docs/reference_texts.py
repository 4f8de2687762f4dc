"""What the pages of docs/reference/ say of each name, made from the code: `python docs/reference_texts.py [--check]`.

A page says with a comment what stands below it, up to the next comment or heading that this has not made:

    <!-- capnet.Host: listen, connect -->    the class with these members; `: *` for all that have a text
    <!-- capnet.Call(): cancel -->           a class that users do not make themselves
    <!-- capnet.NotFound < -->               an error: its base is shown
    <!-- /capnet.Host -->                    where it ends; set by this

With `--check` nothing is written, and the exit code is 1 where a page does not say what the code says.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from sphinx.pycode import ModuleAnalyzer

FOLDER = Path(__file__).parent / "reference"
BLOCK = re.compile(
    r"^<!-- (capnet[\w.]*)(\(\))?( <)?(?:: ([\w, *\n]+))? -->\n(?:.*?^<!-- /\1 -->\n)?", re.MULTILINE | re.DOTALL
)
HEADING = re.compile(r"^(#+) ", re.MULTILINE)
SECTION = re.compile(r"(Args|Attributes|Raises|Returns):$")
ERROR = re.compile(r"(?:^|(?<=\.) )(?=[A-Z]\w+(?:, [A-Z]\w+)*: )")
"""Where one error of a `Raises` section ends and the next one's name begins."""
WIDE = 100
"""Characters of a signature from which each parameter has a line of its own."""
TITLES = {"Args": "Arguments", "Attributes": "Attributes", "Raises": "Raises", "Returns": "Returns"}


def found(path: str) -> Any:
    """What a dotted name stands for."""
    package, *names = path.split(".")
    value: Any = import_module(package)
    at = package
    for name in names:
        at = f"{at}.{name}"
        value = getattr(value, name) if hasattr(value, name) else import_module(at)
    return value


def shown(path: str) -> str:
    """The name as a heading has it: without the package, and with the module where that is needed to import it."""
    return re.sub(r"^capnet\.(testing\.|tokens\.|toolbox\.|observe\.|transport\.|gateways\.\w+\.)?", "", path)


def signature(name: str, value: Any, *, made: bool = True) -> str:
    """`name(…)` as it is declared; long ones with a line for each parameter."""
    if not made:
        return name
    try:
        declared = inspect.signature(value)
    except (TypeError, ValueError):
        return name
    parameters = [
        parameter.replace(annotation=_plain(parameter.annotation), default=_default(parameter.default))
        for parameter in declared.parameters.values()
        if parameter.name not in ("self", "cls")
    ]
    result = "" if declared.return_annotation is declared.empty else f" -> {_word(declared.return_annotation)}"
    if inspect.isclass(value):
        result = ""
        if not parameters:
            return name
    one_line = f"{name}{declared.replace(parameters=parameters, return_annotation=declared.empty)}{result}"
    if len(one_line) <= WIDE:
        return one_line
    return "\n".join([f"{name}(", *(f"    {line}," for line in _lines(parameters)), f"){result}"])


def _lines(parameters: list[inspect.Parameter]) -> Iterator[str]:
    star = False
    for index, parameter in enumerate(parameters):
        if parameter.kind is parameter.VAR_POSITIONAL:
            star = True
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            yield "*"
        yield str(parameter)
        following = parameters[index + 1 : index + 2]
        positional = parameter.kind is parameter.POSITIONAL_ONLY
        if positional and not (following and following[0].kind is parameter.POSITIONAL_ONLY):
            yield "/"


class _Word(str):
    """Shown as it is written."""

    __slots__ = ()
    __repr__ = str.__str__


def _word(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _plain(annotation: Any) -> Any:
    return annotation if annotation is inspect.Parameter.empty else _Word(_word(annotation))


def _default(value: Any) -> Any:
    if value is inspect.Parameter.empty or type(value) in (str, int, float, bool, type(None), tuple):
        return value
    return _Word("...")


def text(docstring: str) -> str:
    """A docstring as Markdown: indented examples as code, sections as lists."""
    out: list[str] = []
    section: str | None = None
    code = False
    for line in inspect.cleandoc(docstring).split("\n"):
        heading = SECTION.match(line)
        if code and line and not line.startswith("    "):
            code = _close(out)
        if heading:
            section = heading[1]
            out += [f"**{TITLES[heading[1]]}**", ""]
        elif section and line.startswith("    "):
            _item(out, section, line.removeprefix("    "))
        elif line.startswith("    ") and not code and (not out or not out[-1]):
            section, code = None, True
            out += ["```py", line[4:]]
        elif code:
            out.append(line[4:])
        else:
            section = section if not line else None
            out.append(line)
    if code:
        _close(out)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def _close(out: list[str]) -> bool:
    while not out[-1]:
        out.pop()
    out += ["```", ""]
    return False


def _item(out: list[str], section: str, line: str) -> None:
    """One line of a section: a new item of its list, or more of the last."""
    if section == "Raises":
        parts = [part.strip() for part in ERROR.split(line) if part.strip()]
        for part in parts:
            name, colon, rest = part.partition(":")
            if colon and ERROR.match(part):
                out.append(f"- {', '.join(f'`{one.strip()}`' for one in name.split(','))}:{rest}")
            else:
                _more(out, part)
    elif (name := re.match(r"(\*{0,2}[\w, *]+): ", line)) and not line.startswith(" "):
        names = ", ".join(f"`{one.strip()}`" for one in name[1].split(","))
        out.append(f"- {names}: {line[name.end() :]}")
    else:
        _more(out, line.strip())


def _more(out: list[str], words: str) -> None:
    if out and out[-1]:
        out[-1] += f" {words}"
    else:
        out.append(f"- {words}")


def attribute_texts(cls: type) -> dict[str, str]:
    """The text under each attribute of a class and of its bases."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("capnet"):
            docs = ModuleAnalyzer.for_module(base.__module__).find_attr_docs()
            texts |= {
                name: " ".join(lines).strip() for (owner, name), lines in docs.items() if owner == base.__qualname__
            }
    return texts


def members(cls: type, wanted: str) -> list[str]:
    """The names of the members to be shown, in the order asked for, or that of the source."""
    if wanted != "*":
        return [name.strip() for name in wanted.split(",")]
    own = [name for name, value in vars(cls).items() if not name.startswith("_") and _has_text(value)]
    texts = attribute_texts(cls)
    annotated = [name for name in inspect.get_annotations(cls) if not name.startswith("_")]
    return [
        *(name for name in annotated if name in texts or _is_event(cls)),
        *(name for name in own if name not in annotated),
    ]


def _is_event(cls: type) -> bool:
    return cls.__module__ == "capnet.observe.events"


def _has_text(value: Any) -> bool:
    value = getattr(value, "__func__", value)
    return bool(getattr(value, "__doc__", None)) and (callable(value) or isinstance(value, property))


def member(cls: type, name: str, texts: dict[str, str]) -> str:
    """One member of a class: its signature and its text."""
    value = inspect.getattr_static(cls, name, None)
    owner = cls.__name__
    if isinstance(value, property) or value is None or not (callable(value) or hasattr(value, "__func__")):
        words = texts.get(name) or (inspect.getdoc(value) if isinstance(value, property) else "") or ""
        kind = _annotation(cls, name, value)
        return f"- `{owner}.{name}`{kind}{': ' if words else ''}{' '.join(text(words).split())}"
    words = inspect.getdoc(getattr(cls, name)) or ""
    function: Any = getattr(value, "__func__", value)
    mark = "async " if inspect.iscoroutinefunction(function) else ""
    return f"#### `{owner}.{name}`\n\n```py\n{mark}{signature(name, function)}\n```\n\n{text(words)}\n"


def _annotation(cls: type, name: str, value: Any) -> str:
    if isinstance(value, property) and value.fget is not None:
        returned = value.fget.__annotations__.get("return")
        return f" (`{_word(returned)}`)" if returned is not None else ""
    for base in cls.__mro__:
        found = inspect.get_annotations(base).get(name)
        if found is not None:
            return f" (`{_word(found)}`)"
    return ""


def entry(path: str, *, made: bool, based: bool, wanted: str | None) -> str:
    """Heading, signature, text and members of one name."""
    value, name = found(path), path.rpartition(".")[2]
    if inspect.isclass(value) and not is_alias(value):
        return _class_entry(path, name, value, made=made, based=based, wanted=wanted)
    if callable(value) and inspect.isroutine(value):
        mark = "async " if inspect.iscoroutinefunction(value) else ""
        return f"### `{shown(path)}`\n\n```py\n{mark}{signature(name, value)}\n```\n\n{text(value.__doc__ or '')}\n"
    return f"### `{shown(path)}`\n\n{text(_data_text(path))}\n"


def is_alias(value: Any) -> bool:
    """Whether a name is another one for a type of somebody else."""
    return not value.__module__.startswith("capnet")


def _class_entry(path: str, name: str, cls: type, *, made: bool, based: bool, wanted: str | None) -> str:
    head = f"class {signature(name, cls, made=made)}"
    if based:
        head = f"class {name}({', '.join(base.__name__ for base in cls.__bases__)})"
    parts = [f"### `{shown(path)}`", f"```py\n{head}\n```", text(cls.__doc__ or "")]
    if wanted is not None:
        texts = attribute_texts(cls)
        entries = [member(cls, one, texts) for one in members(cls, wanted)]
        listed = [one for one in entries if one.startswith("- ")]
        parts += ["\n".join(listed), "\n".join(one for one in entries if not one.startswith("- "))]
    elif not made and is_dataclass(cast("Any", cls)) and "Attributes:" not in (cls.__doc__ or ""):
        texts = attribute_texts(cls)
        named = [one.name for one in fields(cast("Any", cls))]
        parts.append("\n".join(member(cls, name, texts) for name in named if name in texts))
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _data_text(path: str) -> str:
    """The text under a name in the module that has it first."""
    module, _, name = path.rpartition(".")
    for known in sorted(sys.modules):
        if known.startswith(module) and sys.modules[known].__dict__.get(name) is found(path):
            docs = ModuleAnalyzer.for_module(known).find_attr_docs()
            if ("", name) in docs:
                return "\n".join(docs["", name])
    raise SystemExit(f"nothing is said of {path}")


def renewed(page: str) -> str:
    """A page with what is made from the code made anew, each entry one level below the heading that it stands under."""
    out: list[str] = []
    done, level = 0, 1
    for match in BLOCK.finditer(page):
        written = page[done : match.start()]
        out.append(written)
        for heading in HEADING.finditer(written):
            level = len(heading[1])
        path, parens, base, wanted = match.groups()
        made = entry(path, made=not parens, based=bool(base), wanted=wanted and " ".join(wanted.split()))
        deeper = re.sub(r"^###(?=#? `)", "#" * (level + 1), made, flags=re.MULTILINE)
        out.append(f"{match[0].partition('-->')[0]}-->\n\n{deeper}\n<!-- /{path} -->\n")
        done = match.end()
    return "".join([*out, page[done:]])


def main(words: list[str], folder: Path = FOLDER) -> str | None:
    """Do what the command line says; returns what is wrong, or None."""
    if words not in ([], ["--check"]):
        return "usage: python docs/reference_texts.py [--check]"
    stale: list[str] = []
    for path in sorted(folder.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if renewed(page) != page:
            stale.append(path.name)
            if not words:
                path.write_text(renewed(page), encoding="utf-8")
    if words and stale:
        return f"{', '.join(stale)} do not say what the code says: run `python docs/reference_texts.py`"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
