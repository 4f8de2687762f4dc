"""The live side of one connection.

Owns: `Connection` (what a user holds), the driver that feeds and drains the engine, dispatch of handlers, proxies and
the calls made on them, what is served (with the host), the built-in capabilities, and `loop/` (what asyncio and trio
each need). Must not know: hosts, plugins, the command.

Data flows in one pass, without an await: transport → `driver` → engine → events → `connection`, which settles the
waiting call (`call`) or starts the handler (`dispatch`). Open `connection.py` first, then `driver.py`.
"""
