"""What each plugin may have: a grant is a name, or one method of a contract."""

from __future__ import annotations

from typing import Final

from capnet import Admission, CallInfo, Denied, Identity, Introduction
from capnet.cli.demo.contract import Folder
from capnet.cli.demo.examples import Sources
from capnet.contract import contract_spec

__all__ = ["GRANTED", "ByName"]

GRANTED: Final = {
    "linter": frozenset({contract_spec(Sources).name}),
    "guest": frozenset({contract_spec(Folder).name, "capnet.Runtime.restrictions"}),
}
"""Plugins to grants; one that is not here gets nothing. The last is to see what is held against it."""


class ByName:
    """Knows a plugin by the name that the host has given it."""

    def identify(self, introduction: Introduction) -> Identity:
        """See `Policy`."""
        plugin = introduction.attestation.principal or ""
        return Identity(principal=plugin, grants=GRANTED.get(plugin, frozenset()))

    def admit(self, request: Admission, /) -> bool | Denied:
        """See `Policy`: whether the name was granted. It is not looked at whether anybody serves it."""
        return _granted({request.name}, request.attestation.grants)

    def guard(self, call: CallInfo) -> bool | Denied:
        """See `Policy`: whether the contract was granted, or this method of it."""
        return _granted({call.contract, f"{call.contract}.{call.method}"}, call.attestation.grants)


def _granted(required: set[str], grants: frozenset[str]) -> bool | Denied:
    """Whether one of them is there."""
    return bool(required & grants) or Denied("not_granted", frozenset(required), grants)
