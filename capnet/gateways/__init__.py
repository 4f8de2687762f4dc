"""The room of gateways: clients that speak another protocol reach what a capnet host serves.

It owns one folder a protocol, and uses the library as any program would, through `import capnet`: nothing here knows an
engine, a frame or a session of capnet's. Every foreign session is one capnet connection of its own, so policy, limits,
restrictions, revocation and events hold for it as for any peer. Read `mcp/session.py` first.

    mcp/    the Model Context Protocol: methods of what is served are tools
"""
