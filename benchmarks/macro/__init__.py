"""The workloads on capnet, written as a user of the library writes them: public names only, default settings."""

from __future__ import annotations

from benchmarks.macro import client, server
from benchmarks.subject import Subject

__all__ = ["CAPNET"]

CAPNET = Subject(
    serving=server.serving,
    echo=client.echo,
    callback=client.callback,
    connect=client.connect,
    numbers=client.numbers,
    blob=client.blob,
    chain=client.chain,
)
