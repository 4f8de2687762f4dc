"""Who the plugin is, and what it may have: a grant is a name, or one method of a contract."""

from __future__ import annotations

import hmac
from typing import Final, cast

from capnet import Admission, CallInfo, Denied, Identity, Introduction
from capnet.cli.demo.contract import Console, Folder
from capnet.contract import contract_spec

__all__ = ["DERIVED", "GRANTED", "PRINCIPAL", "TokenPolicy"]

PRINCIPAL: Final = "searcher"
"""What the host calls the plugin."""
GRANTED: Final = frozenset({contract_spec(Folder).name, contract_spec(Console).name})
"""What it may ask for."""
DERIVED: Final = frozenset({"capnet.Runtime.restrictions"})
"""What it has without asking: to see what is held against it."""


class TokenPolicy:
    """Knows a peer by the token in its hello.

    Args:
        token: the one that is the plugin's.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def identify(self, introduction: Introduction) -> Identity | Denied:
        """See `Policy`."""
        auth = introduction.auth
        token = cast("dict[str, object]", auth).get("token") if isinstance(auth, dict) else None
        if isinstance(token, str) and hmac.compare_digest(token.encode(), self._token):
            return Identity(principal=PRINCIPAL, allowed=GRANTED, grants=DERIVED)
        return Denied("no_token")

    def admit(self, request: Admission, /) -> bool | Denied:
        """See `Policy`: whether the name was granted. It is not looked at whether anybody serves it."""
        return _granted({request.name}, request.attestation.grants)

    def guard(self, call: CallInfo) -> bool | Denied:
        """See `Policy`: whether the contract was granted, or this method of it."""
        return _granted({call.contract, f"{call.contract}.{call.method}"}, call.attestation.grants)


def _granted(required: set[str], grants: frozenset[str]) -> bool | Denied:
    """Whether one of them is there."""
    return bool(required & grants) or Denied("not_granted", frozenset(required), grants)
