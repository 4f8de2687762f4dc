"""The protocol state of one connection, without any I/O.

Owns: the lifecycle and handshake, the `CapTable` (what we export), imports, calls we made and answers we owe,
deadlines, strikes, the outbox and the events.
Must not know: loops, clocks, logging, user code. `now` is an argument, in seconds of any clock that does not run
backwards.

The engine is a deterministic function of bytes, intents and `now`: the same inputs give the same bytes and events. Peer
faults never raise; they queue an abort and one terminal `Closed` event. Local misuse raises before anything has
changed. Open `engine.py` for the contract with the driver, then `inbound.py`; each table has its own file, named for
what is in it (`calls.py`), and what is done with it another (`calling.py`).

    engine        makes all parts and gives each what stands below it; inputs and drains
    inbound       what the peer says; with handshake, admission, resolving
    exporting, closing, keepalive
    answering     calls of the peer's; with lines, pipelining
    calling       calls of ours; with held_calls, call_frame
    streaming     streams, either way
    importing, ending, conduct
    tables        all that they share: exports, imports, calls, answers, pipelines, streams, lifecycle, timers, turn, …

Each line may use those below it. Nothing leads back up: what has happened is told as an event, and nobody but the
engine knows the engine.
"""
