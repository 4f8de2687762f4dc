"""Whether the two sides fit, and in which words it is said that they do not."""

from __future__ import annotations

import pytest

from capnet import Cap, VersionMismatch, call, options
from capnet.contract import contract_spec
from capnet.plugin.control import Interface, Manifest
from capnet.plugins.verdict import check_manifest, verdict


class Speller(Cap, name="verdict.Speller", version=2):
    @call
    async def check(self, word: str) -> bool: ...

    @options(since=2)
    @call
    async def learn(self, word: str) -> None: ...


class Before(Cap, name="verdict.Speller"):
    @call
    async def check(self, word: str) -> bool: ...


class Changed(Cap, name="verdict.Speller"):
    @call
    async def check(self, word: int) -> bool: ...


class Other(Cap, name="verdict.Other"):
    @call
    async def check(self, word: str) -> bool: ...


def manifest(provides: type[Cap], *needs: type[Cap], optional: bool = False) -> Manifest:
    return Manifest(
        capnet="0.1.0",
        python="3.11",
        pid=1,
        import_seconds=0.0,
        needs=[Interface.of(contract_spec(need), optional=optional) for need in needs],
        provides=Interface.of(contract_spec(provides)),
    )


def said(manifest: Manifest, wanted: type[Cap], *offered: type[Cap]) -> list[str]:
    specs = {contract_spec(contract).name: contract_spec(contract) for contract in offered}
    return verdict(manifest, contract_spec(wanted), specs)


def test_what_fits() -> None:
    assert said(manifest(Speller), Speller) == []
    assert said(manifest(Speller), Before) == []  # it can do more
    assert said(manifest(Before), Speller) == []  # a method that is newer than it fails when it is called
    assert said(manifest(Speller, Other), Speller, Other) == []
    assert said(manifest(Speller, Other, optional=True), Speller) == []


@pytest.mark.parametrize(
    ("provides", "needs", "offers", "words"),
    [
        (Other, [], [], ["verdict.Other", "verdict.Speller"]),
        (Changed, [], [], ["verdict.Speller", "version 2", "version 1", "'word'", "int", "str"]),
        (Speller, [Other], [], ["it needs", "verdict.Other"]),
        (Speller, [Changed], [Speller], ["it knows version 1", "the host gives version 2", "'word'"]),
    ],
    ids=["contract", "method", "nothing", "need"],
)
def test_what_does_not_fit_is_said(
    provides: type[Cap], needs: list[type[Cap]], offers: list[type[Cap]], words: list[str]
) -> None:
    (sentence,) = said(manifest(provides, *needs), Speller, *offers)
    assert [word for word in words if word not in sentence] == []


def test_an_optional_need_must_fit_too() -> None:
    assert len(said(manifest(Speller, Changed, optional=True), Speller, Speller)) == 1


def test_the_error_has_all_of_it() -> None:
    with pytest.raises(VersionMismatch) as caught:
        check_manifest("spell", manifest(Changed, Other), contract_spec(Speller), {})
    assert len(caught.value.details["differences"]) == 2
    assert "0.1.0" in caught.value.__notes__[0]
