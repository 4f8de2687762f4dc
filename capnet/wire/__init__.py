"""Bytes to frames and back.

Owns: the 4-byte framing, the pre-scan of large frames, the CBOR codec with its safe options, the shape of every frame,
references as they travel, and the hello. It is the only room that imports cbor2.
Must not know: what a frame means for a connection (that is `engine`), loops, clocks, contracts.

Everything that arrives is hostile until `Codec.decode` and `frames.check` have let it through; whatever they refuse is
a `ProtocolViolation` that names the clause. Open `codec.py` first, then `frames.py`; the text of record is
`docs/reference/wire.md`.
"""
