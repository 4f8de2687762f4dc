"""What a host's policy is asked: who a peer is, which names it may have, which calls it may make.

Owns: the questions and how answers are taken. Must not know: how calls run, and what is served.

Open `policy.py` first.
"""
