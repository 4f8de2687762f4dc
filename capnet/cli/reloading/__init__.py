"""`capnet run --watch`: what is served runs in a process of its own, which another takes the place of on a save.

    clients ──▶ host: names, policy ──▶ program: what the modules say now
                 │                      another one, when a file is saved: loaded, then in one step in its place
                 └─ it stays

Open `reloader.py` first (the host's side), then `program.py` (the process with the modules), `agreed.py` (what the two
say to each other), `passed_on.py` (the contracts of what goes through) and `changes.py` (files).
"""
