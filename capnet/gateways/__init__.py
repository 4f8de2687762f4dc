"""The room of gateways: clients that speak another protocol reach what a capnet host serves.

It owns one folder a protocol, and uses the library as any program would, through `import capnet`: nothing here knows an
engine, a frame or a session of capnet's. Every foreign session is one capnet connection of its own, so policy, limits,
restrictions, revocation and events hold for it as for any peer. Read `jsonrpc/session.py` first.

    acp/            the Agent Client Protocol: editors and agents
    capnweb/        Cap'n Web: programs and pages in JavaScript call objects, and are called
    jsonrpc/        JSON-RPC 2.0, both ways
    mcp/            the Model Context Protocol: methods of what is served are tools
    sessions.py     a connection for each client, with what is proven about it
    actions.py      what a session says is to be done
    bounds.py       what a client may have, and all of one principal
    reading.py      JSON texts of anybody
    framing.py      where a message ends, in bytes
    values.py       values as JSON has them, and back; handles
    collecting.py   streams for those who have none
    stdio.py        standard input and output
    tasks.py        tasks that end with a block
    finding.py      gateways by name, those that packages add among them
"""
