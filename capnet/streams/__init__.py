"""Streams as objects and tasks: readers and sinks, and the tasks that move items where something here produces them.

Owns: both ends of streams, back-pressure as user code sees it, `channel`. Must not know: proxies.

Open `pump.py` first, then `reader.py` and `sink.py`.
"""
