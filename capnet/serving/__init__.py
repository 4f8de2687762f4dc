"""What a host or connection serves: names, scopes, swaps, and the two capabilities that every peer has.

Owns: bootstrap and runtime, handlers for names that nobody serves, replacing with and without a check, what ends
together. Must not know: connections and hosts.

Open `serving.py` first.
"""
