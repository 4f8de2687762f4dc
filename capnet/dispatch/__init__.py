"""Calls of the peer become running handlers, in the order they arrived.

Owns: the inbox, the tasks that run handlers, and replies. Must not know: names that are served, connections.

Open `dispatcher.py` first.
"""
