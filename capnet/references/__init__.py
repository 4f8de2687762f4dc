"""Capabilities of the peer as objects, and values with capabilities in them on their way out and in.

Owns: references, proxies, promises, what may stand where in a payload, and what can be done with a
capability that is held. Must not know: handlers, names that are served, policies.

Open `proxy.py` first, then `payload.py`.
"""
