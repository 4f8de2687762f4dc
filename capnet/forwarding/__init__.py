"""What stands on one connection for a capability of another, and passes its calls on.

Owns: forwarders. Must not know: handlers, names that are served, policies.

Open `forwarder.py` first.
"""
