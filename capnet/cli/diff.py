"""`capnet diff`: whether clients of one contract can work with another."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, cast

import typer
from anyio import fail_after

from capnet import CapnetError, ContractDescription, ContractError
from capnet.cli.describe import told_by
from capnet.cli.exits import Exit, Stop
from capnet.cli.loading import load_object
from capnet.cli.output import Output
from capnet.cli.peer import Peer
from capnet.contract import differences
from capnet.nearest import nearest

__all__ = ["diff"]

Contracts: TypeAlias = "Mapping[str, ContractDescription]"
"""By the name that they are served under, or else their own."""

MOST: Final = 1 << 24
"""Bytes of a file with descriptions."""


@dataclass(frozen=True)
class Verdict:
    """What is different between two versions of what has one name.

    Attributes:
        name: what has it.
        breaking: what keeps clients of the old one from working with the new one.
        added: methods that are new.
        old: its version; None when there is none.
        new: the same.
    """

    name: str
    breaking: tuple[str, ...]
    added: tuple[str, ...] = ()
    old: int | None = None
    new: int | None = None

    @property
    def version_is_due(self) -> bool:
        """Whether the version does not tell what was added."""
        return bool(self.added) and not self.breaking and self.old == self.new


async def diff(
    out: Output,
    *,
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="A URL, module:Class, or what describe --json has written.")
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same.")],
    token: Annotated[
        str | None, typer.Option(metavar="TEXT", envvar="CAPNET_TOKEN", help="The secret of listeners that have one.")
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Wait so long for an answer.")] = 10.0,
) -> Exit:
    """Say whether clients of the contracts in OLD can work with those in NEW. Ends with 5 when they cannot.

    Where both have several, those of one name are compared, and a name that is gone is a difference.
    """
    before = await _read(old, token, timeout)
    after = await _read(new, token, timeout)
    verdicts = list(_compare(before, after))
    for verdict in verdicts:
        if out.json:
            fits = {"name": verdict.name, "fits": not verdict.breaking, "differences": list(verdict.breaking)}
            out.value({**fits, "added": list(verdict.added), "old": verdict.old, "new": verdict.new})
        else:
            _print(verdict, out)
    return Exit.MISMATCH if any(verdict.breaking for verdict in verdicts) else Exit.OK


def _print(verdict: Verdict, out: Output) -> None:
    versions = "" if verdict.new in (verdict.old, None) else f", version {verdict.old} → {verdict.new}"
    if verdict.breaking:
        out.line(f"{verdict.name}{versions}: clients cannot go on", "red")
    else:
        out.line(f"{verdict.name}{versions}: clients can go on", "green")
    for each in verdict.breaking:
        out.line(f"  - {each}")
    for each in verdict.added:
        out.line(f"  + method {each}")
    if verdict.version_is_due:
        out.line(f"  its version is still {verdict.new}: count it up, and say since= of what is new")


def _compare(before: Contracts, after: Contracts) -> Iterable[Verdict]:
    """What became of each.

    Raises:
        Stop: they have no name in common.
    """
    if len(before) == 1 == len(after):
        (name, old), (_, new) = *before.items(), *after.items()
        yield _verdict(name, old, new)
        return
    names: Iterable[str] = before
    if len(before) == 1 or len(after) == 1:  # one is compared with the same of many
        (names, others) = (before, after) if len(before) == 1 else (after, before)
        (name,) = names
        if name not in others:
            raise Stop(f"{name} is on one side only", exit_code=Exit.FAILED, hint=nearest(name, others))
    for name in names:
        if name in after:
            yield _verdict(name, before[name], after[name])
        else:
            yield Verdict(name, ("it is gone",), old=before[name].version)


def _verdict(name: str, old: ContractDescription, new: ContractDescription) -> Verdict:
    breaking = differences(old.shape, new.shape, offered_version=new.version)
    if old.name != new.name:
        breaking = [f"it was {old.name}, and is {new.name}", *breaking]
    added = tuple(method for method in new.methods if method not in old.methods)
    return Verdict(name, tuple(breaking), added, old.version, new.version)


async def _read(source: str, token: str | None, timeout: float) -> Contracts:
    """The contracts that a word on the command line stands for.

    Raises:
        Stop: it stands for none.
    """
    if (found := _from_file(source)) is not None:
        return found
    if (found := _from_class(source)) is not None:
        return found
    if ":" not in source:
        raise Stop(
            f"{source!r} is neither a URL, nor module:Class, nor a file", hint="capnet describe URL --json > FILE"
        )
    peer = Peer(source, token=token, timeout=timeout)
    async with peer.open() as connection:
        with fail_after(timeout):
            return await told_by(connection, None, timeout)


def _from_file(name: str) -> Contracts | None:
    """The contracts in a file that `describe --json` has written; None when it is no name of a file."""
    if not (name == "-" or name.endswith(".json") or Path(name).is_file()):
        return None
    try:
        text = sys.stdin.read(MOST) if name == "-" else Path(name).read_text(encoding="utf-8")
        told = [json.loads(line) for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise Stop(f"{name}: {error.strerror}") from error
    except ValueError as error:
        raise Stop(f"{name} is not what describe --json has written: {error}") from error
    contracts: dict[str, ContractDescription] = {}
    for one in told:
        try:
            contract = ContractDescription.from_data(one)
        except CapnetError as error:
            raise Stop(f"{name}: {error.message}", hint="capnet describe URL --json > FILE") from error
        served: object = cast("dict[str, Any]", one).get("name")
        contracts[served if isinstance(served, str) else contract.name] = contract
    if not contracts:
        raise Stop(f"{name} has no contract in it")
    return contracts


def _from_class(target: str) -> Contracts | None:
    """The contract of a class that Python finds; None when it is something else, such as a URL.

    Raises:
        Stop: there is no such class in the module, or it is no contract.
    """
    module, _, names = target.partition(":")
    if not names or not all(part.isidentifier() for part in (*module.split("."), *names.split("."))):
        return None
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        known = find_spec(module) is not None
    except (ImportError, ValueError):  # of a package that is not there, or is none
        known = False
    if not known:
        return None
    try:
        contract = ContractDescription.of(load_object(target))
    except ContractError as error:
        raise Stop(f"{target} is no contract: {error}") from error
    return {contract.name: contract}
