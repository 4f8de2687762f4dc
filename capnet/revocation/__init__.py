"""Where each capability that was handed out came from, so that taking one back takes all that came of it.

Owns: the lineage of exports and streams, across connections. Must not know: calls and proxies.

Open `lineage.py` first; what a program calls is in `capnet/references/revoke.py`.
"""
