"""Virtual connections: connections inside of a connection, each a transport like any other to what runs on it.

Owns: the transport that a channel of the engine is, who decides about those that a peer opens, and what a connection
knows of those inside of it. Must not know: names, contracts, calls, and what is said on them.

Open `inside.py` first, then `transport.py`.
"""
