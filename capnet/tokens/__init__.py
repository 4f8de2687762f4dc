"""Delegation tokens: who has a right passes a part of it on, without asking anybody.

A token is a chain of links. The first is signed by a key that the host trusts, each other one by the key to which the
link before it delegates. Every link can only take away: what holds is what all of them say. Verifying one needs no
server and no state.

    capnet1.LINK.SIGNATURE.LINK.SIGNATURE…        base64 without padding; a link is JSON

A signature is over all that stands before it, so no link can be taken out, put elsewhere, or used in another chain.
Needs the extra `tokens` (the package `cryptography`).

Owns: how tokens are made, narrowed and verified, and the restrictions in them as data.
Must not know: hosts, connections and what is served; who has a token shows it to a policy.

Open `delegation.py` first; what links may say is in `claims.py`, how they are written and signed in `chain.py`.
"""

from __future__ import annotations

from .chain import new_key, public_key
from .delegation import Delegation, delegate, identity_of, issue, restricted, verify

__all__ = ["Delegation", "delegate", "identity_of", "issue", "new_key", "public_key", "restricted", "verify"]
