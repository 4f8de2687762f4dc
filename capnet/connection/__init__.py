"""`Connection`: what a user holds of one live link to a peer; it wires the parts in the rooms around together.

Owns: `Connection` and `connect`. Must not know: hosts, plugins, the command.

Open `connection.py` first.
"""
