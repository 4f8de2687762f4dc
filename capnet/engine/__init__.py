"""The protocol state of one connection, without any I/O.

Owns: the lifecycle and handshake, the `CapTable` (what we export), imports, calls we made and answers we owe,
deadlines, strikes, the outbox and the events.
Must not know: loops, clocks, logging, user code. `now` is an argument, in seconds of any clock that does not run
backwards.

The engine is a deterministic function of bytes, intents and `now`: the same inputs give the same bytes and events. Peer
faults never raise; they queue an abort and one terminal `Closed` event. Local misuse raises before anything has
changed. Open `engine.py` for the contract with the driver, then `inbound.py`; each table has its own file.
"""
