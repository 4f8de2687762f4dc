"""The demo's policy: only the plugin is known, and only what was granted is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from capnet import Admission, Attestation, CallInfo, Denied, Identity, Introduction
from capnet.cli.demo.policy import DERIVED, GRANTED, PRINCIPAL, TokenPolicy

NOBODY = Attestation()


def introduced(auth: Any) -> Identity | Denied:
    return TokenPolicy("token").identify(Introduction(NOBODY, auth, "plugin", frozenset()))


def test_who_has_the_token_is_the_plugin() -> None:
    identity = introduced({"token": "token", "grants": ["demo.Vault"]})
    assert identity == Identity(principal=PRINCIPAL, allowed=GRANTED, grants=DERIVED)


@pytest.mark.parametrize("auth", [None, "token", {}, {"token": ""}, {"token": "Token"}, {"token": b"token"}], ids=repr)
def test_who_has_not_is_nobody(auth: Any) -> None:
    assert introduced(auth) == Denied("no_token")


def test_a_name_is_for_those_who_were_granted_it() -> None:
    policy, known = TokenPolicy("token"), Attestation(grants=GRANTED)
    assert policy.admit(Admission("demo.Folder", None, known, None, "plugin")) is True
    denied = policy.admit(Admission("demo.Vault", None, known, None, "plugin"))
    assert denied == Denied("not_granted", frozenset({"demo.Vault"}), GRANTED)
    assert policy.admit(Admission("demo.Folder", None, NOBODY, None, "plugin")) is not True


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
    known = Attestation(grants=GRANTED | DERIVED)
    verdict = TokenPolicy("token").guard(CallInfo(contract, method, {}, known, "plugin", {}))
    assert (verdict is True) is allowed
