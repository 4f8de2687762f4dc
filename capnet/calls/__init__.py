"""Calls of ours: from bound arguments to a frame, and from the answer back to whoever waits.

Owns: `Call` (what calling a method gives), calls that wait for the results of others, one-way calls. Must not know:
proxies, and how values become references: it is given something that does that.

Open `outgoing.py` first.
"""
