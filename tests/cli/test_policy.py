"""The demo's policy: a plugin is known by its name, and only what was granted to that is allowed."""

from __future__ import annotations

import pytest

from capnet import Admission, Attestation, CallInfo, Denied, Identity, Introduction
from capnet.cli.demo.policy import GRANTED, ByName

NOBODY = Attestation()


@pytest.mark.parametrize("plugin", [None, "index", "linter", "guest"])
def test_a_plugin_has_what_its_name_was_granted(plugin: str | None) -> None:
    introduction = Introduction(Attestation(principal=plugin), {"grants": ["demo.Vault"]}, "linter", frozenset())
    granted = GRANTED.get(plugin or "", frozenset())
    assert ByName().identify(introduction) == Identity(principal=plugin or "", grants=granted)


def test_a_name_is_for_those_who_were_granted_it() -> None:
    policy, known = ByName(), Attestation(grants=GRANTED["guest"])
    assert policy.admit(Admission("demo.Folder", None, known, None, "guest")) is True
    denied = policy.admit(Admission("demo.Vault", None, known, None, "guest"))
    assert denied == Denied("not_granted", frozenset({"demo.Vault"}), GRANTED["guest"])
    assert policy.admit(Admission("demo.Folder", None, NOBODY, None, "guest")) is not True


@pytest.mark.parametrize(
    ("contract", "method", "allowed"),
    [
        ("demo.Folder", "read", True),
        ("demo.Vault", "secret", False),
        ("capnet.Runtime", "restrictions", True),
        ("capnet.Runtime", "describe", False),
    ],
)
def test_a_call_is_for_those_who_were_granted_the_contract_or_the_method(
    contract: str, method: str, allowed: bool
) -> None:
    known = Attestation(grants=GRANTED["guest"])
    verdict = ByName().guard(CallInfo(contract, method, {}, known, "guest", {}))
    assert (verdict is True) is allowed
