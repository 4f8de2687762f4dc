"""What all parts of one connection use, and what moves it: bytes in, events out, frames out, its clock.

Owns: the driver between a transport and an engine, the turns of a host's connections, what is published and what is
disclosed of errors, and which capabilities of the peer are held. Must not know: calls, proxies, contracts' methods.

Open `driver.py` first.
"""
