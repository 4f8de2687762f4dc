"""What one client may ask of a session. Cap'n Web has no bounds of its own but those of a message."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bounds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds of one session. Sizes are bytes of memory, of messages characters; times are seconds.

    What is called at the host counts against the host's own `Limits` for the connection, too.

    Attributes:
        max_message: longest message, and longest body of a batch; a longer one ends the session.
        max_depth: nesting of an expression; a deeper one ends the session.
        max_values: values in a message; with more the session ends. As many may be put together of results, more
            fail `resource_exhausted/max_values`, and four times as many are looked at for the maps in it.
        work_burst: values that are looked at beside those in messages, at once; after these nothing is read for a
            while.
        work_rate: how many of these in a second after that.
        max_calls: pushes that are being worked on at once, and calls on the client's own objects that are not
            answered; more fail `resource_exhausted/max_calls`.
        max_pending: size of all that is being worked on, in which a call, a property or a reference counts for 4 KiB;
            with more a push fails `resource_exhausted/max_pending`.
        max_answers: results that are kept for a client that has not released them; the oldest one goes, and what is
            asked of it later fails `failed_precondition/released`.
        max_kept: size of all of them together; the oldest go first.
        max_exports: capabilities of the host's that the client holds; with more its call fails
            `resource_exhausted/max_exports`.
        max_stubs: objects, functions and promises of the client's that are held for the host; one more ends the
            session.
        max_streams: streams that are open, both ways together; more fail `resource_exhausted/max_streams`, and one
            more that the client opens ends the session.
        max_stream_bytes: what the client has written into all its streams and nobody has used; with more the stream
            fails `resource_exhausted/max_stream_bytes`.
        max_elements: elements that one `map` goes over.
        max_instructions: instructions that one `map` has; with 1024 values in all of them.
        max_backlog: what is to be sent and the client has not taken; while there is more, nothing is read of it,
            and with four times as much the session ends.
        write_timeout: how long there may be so much until the session ends.
        batch_timeout: how long the results of a batch are waited for.
        max_sessions: sessions of one principal at once, where the host's policy says who that is; one more is
            turned away.
    """

    max_message: int = 4 * 1024 * 1024
    max_depth: int = 64
    max_values: int = 65_536
    work_burst: int = 1_000_000
    work_rate: int = 1_000_000
    max_calls: int = 256
    max_pending: int = 20 * 1024 * 1024
    max_answers: int = 4096
    max_kept: int = 8 * 1024 * 1024
    max_exports: int = 10_000
    max_stubs: int = 1000
    max_streams: int = 128
    max_stream_bytes: int = 4 * 1024 * 1024
    max_elements: int = 1000
    max_instructions: int = 32
    max_backlog: int = 8 * 1024 * 1024
    write_timeout: float = 10.0
    batch_timeout: float = 30.0
    max_sessions: int = 64
