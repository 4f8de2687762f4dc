"""The transports that come with capnet: one file each; `capnet.connection.connect` has the table.

    memory.py       two ends in one process                        memory:NAME
    unix.py         a socket file, peers known by uid and pid      unix:PATH
    exec.py         a program started for it, over a socket pair   exec:COMMAND LINE
    inherited.py    the other end of that, in the program          fd:
    stdio.py        the same over its standard input and output    stdio:COMMAND LINE; stdio: in that program
    tcp.py          over the network, or a port of this machine    tcp:HOST:PORT
    tls.py          the same, encrypted, peers known by their key  tls:HOST:PORT
    tls_codec.py    … as a codec; tls_context.py: who each side is, and whom it trusts
    websocket.py    through HTTP, and to pages; extra `ws`         ws://HOST:PORT/PATH, wss:
    websocket_codec.py  … as a codec
    asgi.py         the same clients, in a web application         asgi:
    asgi_transport.py  … and what moves the bytes of each
    nats.py         by way of a NATS server; extra `nats`          nats://HOST:PORT/SERVICE

    sockets.py      what they share: a connected socket as a `Transport`
    attach.py       … the one for the running loop: asyncio_sockets.py, trio_sockets.py
    pipes.py        two descriptors in the place of a socket
    listeners.py    and a bound one as a `Listener`, after a handshake where there is one
    handshakes.py   how a handshake is run
    tokens.py       that of two sides with the same secret
    web.py          whom ws: and the ASGI mount let in
    lifespan.py     how an application lives with its ASGI server
    layers.py       a codec between a transport and its receiver
    sessions.py     streams of bytes in messages of a broker
    nats_access.py  who may say what at a NATS server, and its configuration
    nats_link.py    a connection to it
    nats_transport.py, nats_listener.py   a session there, and who lets peers in
    inet.py         addresses of the network
    certificates.py made on the spot
    starting.py     how a program is started
    process.py      how it lives and ends
    guard.py        who ends it when we are gone
    words.py        what it writes to its standard error
    credentials.py  who the system says is at the other end of a socket
    failures.py     what an `OSError` becomes
    loops.py        which loop runs, and how to reach it

This package knows the interface `capnet.transport` and the errors, never frames, calls or contracts. Open `sockets.py`
first. Importing any of it imports neither trio nor capnet's other rooms.
"""

from __future__ import annotations
