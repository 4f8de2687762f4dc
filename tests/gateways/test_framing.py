"""Messages out of bytes that come in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capnet.gateways.framing import Broken, Framing, Headers, Lines

PIECES = st.lists(st.integers(1, 40), max_size=30)


def cut(framing: Framing, data: bytes, pieces: list[int]) -> list[bytes | None]:
    """All messages of what comes in pieces of these sizes."""
    messages: list[bytes | None] = []
    for size in [*pieces, len(data) + 1]:
        piece, data = data[:size], data[size:]
        messages += framing.feed(piece)
    return [*messages, *framing.end()]


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n\r \t\x0b\x0c"), min_size=1)), PIECES)
def test_lines_and_headers_come_out_as_they_went_in(texts: list[str], pieces: list[int]) -> None:
    for framing in (Lines(1000), Headers(1000)):
        data = b"".join(framing.framed(text) for text in texts)
        assert cut(framing, data, pieces) == [text.encode() for text in texts]


@given(PIECES)
def test_blank_lines_are_passed_over_and_the_last_needs_no_end(pieces: list[int]) -> None:
    assert cut(Lines(10), b'\n  \r\n{"a":1}\r\n\n{}', pieces) == [b'{"a":1}\r', b"{}"]


@given(PIECES)
def test_what_is_too_long_is_told_and_not_kept(pieces: list[int]) -> None:
    assert cut(Lines(10), b"1\n" + b"x" * 50 + b"\n2\n" + b"y" * 11, pieces) == [b"1", None, b"2", None]
    framing = Headers(10)
    data = b"".join(map(framing.framed, ("1", "x" * 50, "2", "z" * 10, "y" * 11)))
    assert cut(framing, data, pieces) == [b"1", None, b"2", b"z" * 10, None]


@given(PIECES)
def test_headers_beside_the_length_are_passed_over(pieces: list[int]) -> None:
    data = (
        b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\ncontent-LENGTH:  2 \r\n\r\n{}"
        b"Content-Length: 0\r\n\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n[]Content-Length: 9\r\n\r\n{"
    )
    assert cut(Headers(10), data, pieces) == [b"{}", b"", b"[]"]


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"{}\r\n\r\n",
        b"Content-Type: x\r\n\r\n",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 1_0\r\n\r\n",
        b"Content-Length: \xb2\r\n\r\n",
        b"Content-Length: " + b"9" * 16 + b"\r\n\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"Content-Length: 1\r\nnothing\r\n\r\n",
        b"x" * 5000,
    ],
)
@given(pieces=PIECES)
def test_headers_that_are_none_end_it(data: bytes, pieces: list[int]) -> None:
    with pytest.raises(Broken):
        cut(Headers(10), data, pieces)


def test_nothing_is_kept_of_what_is_too_long() -> None:
    lines, headers = Lines(100), Headers(100)
    assert list(headers.feed(b"Content-Length: 999999999999\r\n\r\n")) == []
    for framing in (lines, headers):
        for _ in range(100):
            assert list(framing.feed(b"x" * 1000)) == []
            assert len(framing._rest) <= 100
